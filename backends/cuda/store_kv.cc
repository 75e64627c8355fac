#include "backends/cuda/store_kv.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/cuda/attention_params.h"
#include "backends/cuda/kernels/params/store_kv.h"

namespace tandem::cuda {

absl::Status SupportsStoreKv(const StoreKvArgs& args) {
  const TensorView contiguous = MakeView(nullptr, args.cache.dtype, args.cache.shape);
  if (args.cache.strides[1] == contiguous.strides[1] &&
      args.cache.strides[2] == contiguous.strides[2]) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError("pages of the cache are not contiguous");
}

std::vector<Launch> LowerStoreKv(const StoreKvArgs& args) {
  constexpr int64_t kFloat = sizeof(float);
  const StoreKvParams params = {.x = static_cast<const float*>(args.x.data),
                                .x_token = args.x.strides[0] / kFloat,
                                .x_head = args.x.strides[1] / kFloat,
                                .slots = static_cast<const i32*>(args.slots.data),
                                .cache = static_cast<u8*>(args.cache.data),
                                .page = args.cache.strides[0],
                                .pages = args.cache.dim(0),
                                .rows = static_cast<i32>(args.x.dim(0)),
                                .heads = static_cast<i32>(args.x.dim(1)),
                                .width = static_cast<i32>(args.x.dim(2)),
                                .live = args.live_rows};
  const std::string name =
      absl::StrCat("tandem::cuda::StoreKv<", KvArg(ToKv(args.cache.dtype)), ">");
  const Dim3 grid = {static_cast<unsigned>(params.rows), static_cast<unsigned>(params.heads)};
  const auto threads = static_cast<unsigned>(std::clamp((params.width + 31) / 32 * 32, 32, 256));
  return {MakeLaunch({"store_kv.cuh", name}, grid, {threads}, 0, params)};
}

}  // namespace tandem::cuda
