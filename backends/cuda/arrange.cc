#include "backends/cuda/arrange.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/cuda/kernels/params/rearrange.h"
#include "backends/cuda/views.h"
#include "backends/device/tiles.h"

namespace tandem::cuda {
namespace {

constexpr unsigned kThreads = 256;  // kRearrangeThreads of the kernel
constexpr int64_t kTilesOfBlock = kThreads / 32;

}  // namespace

absl::StatusOr<Launch> LowerArrange(const void* from, const TensorView& to, const Target& target) {
  if (to.layout != WeightLayout::kTiles || !CanTile(to)) {
    return absl::UnimplementedError("the GPU arranges weights as tiles alone");
  }
  const DTypeInfo& type = GetDTypeInfo(to.dtype);
  const RearrangeParams params = {.from = static_cast<const u8*>(from),
                                  .to = static_cast<u8*>(to.data),
                                  .panels = to.shape.rows() / kTileRows,
                                  .units = static_cast<i32>(to.shape.back() / type.block_size)};
  const int64_t tiles = params.panels * (to.shape.back() / kTileElements);
  const int64_t blocks = std::clamp<int64_t>(tiles / kTilesOfBlock, 1, int64_t{16} * target.sms);
  Launch launch = MakeLaunch(
      {"rearrange.cuh", absl::StrCat("tandem::cuda::RearrangeToTiles<", TypeArg(to.dtype), ">")},
      {static_cast<unsigned>(blocks)}, {kThreads}, 0, params);
  launch.label = "arrange";
  return launch;
}

}  // namespace tandem::cuda
