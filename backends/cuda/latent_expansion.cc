#include "backends/cuda/latent_expansion.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "backends/cuda/product_tiles.h"
#include "backends/cuda/workspace_parts.h"
#include "backends/device/status.h"
#include "backends/device/tiles.h"

namespace tandem::cuda {
namespace {

constexpr unsigned kConvertThreads = 256;  // of convert_rows.cuh

// Sizes and the weights of one of the two products.
struct Product {
  TensorView w;
  bool transposed;
  ProductSize size;

  bool by_f16_tiles() const { return transposed || w.layout != WeightLayout::kTiles; }
};

struct Sizes {
  int64_t rows, heads, latent, rope;
  Product k, v;

  explicit Sizes(const ExpansionCall& call)
      : rows(call.k.dim(0)),
        heads(call.k.dim(1)),
        latent(call.weights.v_up.dim(2)),
        rope(call.cache.dim(3) - latent),
        k{call.weights.k_up, call.weights.k_transposed, SizeOf(call.weights.k_up, call.k.dim(2) - rope)},
        v{call.weights.v_up, false, SizeOf(call.weights.v_up, call.v.dim(2))} {}

  ProductSize SizeOf(const TensorView& w, int64_t outputs) const {
    return {.type = w.dtype, .outputs = outputs, .inputs = latent, .tokens = rows, .groups = heads};
  }
};

struct Parts {
  u8* latents;
  float* scales;
  i32* count;
  u8 *k_weights, *v_weights;  // tiles of f16 numbers, where needed

  Parts(WorkspaceParts& memory, const Sizes& n)
      : latents(memory.Take<u8>(n.rows * ((n.latent + 63) / 64 * 64) * 2)),
        scales(memory.Take<float>(n.rows)),
        count(memory.Take<i32>(1)),
        k_weights(TakeWeights(memory, n.k)),
        v_weights(TakeWeights(memory, n.v)) {}

  static u8* TakeWeights(WorkspaceParts& memory, const Product& product) {
    const ProductSize& n = product.size;
    return product.by_f16_tiles() ? memory.Take<u8>(n.groups * n.outputs * n.inputs * 2) : nullptr;
  }
};

const char* KvArg(DType type) {
  switch (type) {
    case DType::kF32:
      return "kF32";
    case DType::kBF16:
      return "kBF16";
    case DType::kQ8_0:
      return "kQ8_0";
    case DType::kQ4_0:
      return "kQ4_0";
    default:
      return "kF16";
  }
}

Launch LowerRead(const ExpansionCall& call, const Sizes& n, const Parts& parts) {
  const ReadLatentsParams params = {.cache = static_cast<const u8*>(call.cache.data),
                                    .page_table = static_cast<const i32*>(call.batch.page_table.data),
                                    .kv_len = static_cast<const i32*>(call.batch.kv_len.data),
                                    .live_seqs = call.batch.live_seqs,
                                    .out = parts.latents,
                                    .scales = parts.scales,
                                    .k = static_cast<u8*>(call.k.data),
                                    .count = parts.count,
                                    .page_bytes = call.cache.strides[0],
                                    .page_table_row = call.batch.page_table.strides[0] / 4,
                                    .k_row_bytes = call.k.strides[0],
                                    .k_head_bytes = call.k.strides[1],
                                    .latent = static_cast<i32>(n.latent),
                                    .rope = static_cast<i32>(n.rope),
                                    .heads = static_cast<i32>(n.heads),
                                    .k_head = static_cast<i32>(call.k.dim(2)),
                                    .rows = static_cast<i32>(n.rows),
                                    .sequence = static_cast<i32>(call.sequence),
                                    .begin = static_cast<i32>(call.begin)};
  const std::string name = absl::StrCat("tandem::cuda::ReadLatents<tandem::cuda::Kv::",
                                        KvArg(call.cache.dtype), ">");
  return MakeLaunch({"latent_expansion.cuh", name}, {static_cast<unsigned>(n.rows)},
                    {kConvertThreads}, 0, params);
}

// Appends the product for K or V, and before it what makes its weights.
absl::Status AddProduct(const Product& product, u8* f16_tiles, const TensorView& out,
                        const Parts& parts, const Lowering& lowering,
                        std::vector<Launch>& launches) {
  ProductSize size = product.size;
  const void* weights = product.w.data;
  if (product.by_f16_tiles()) {
    launches.push_back(LowerF16Tiles(product.w, product.transposed, size, f16_tiles));
    weights = f16_tiles;
    size.type = DType::kF16;
  }
  const Operand latents = {parts.latents, parts.scales, size.tokens, /*group_rows=*/0};
  TANDEM_ASSIGN_OR_RETURN(Launch launch, LowerTileProduct(size, weights, latents, nullptr, out,
                                                          parts.count, lowering));
  launches.push_back(std::move(launch));
  return absl::OkStatus();
}

}  // namespace

absl::Status SupportsExpansion(const ExpansionCall& call) {
  const Sizes n(call);
  for (const Product* product : {&n.k, &n.v}) {
    if (product->size.outputs % kTileRows != 0 || n.latent % kTileElements != 0) {
      return absl::UnimplementedError(absl::StrCat("latents of ", n.latent, " elements expanded to ",
                                                   product->size.outputs));
    }
  }
  return absl::OkStatus();
}

int64_t ExpansionWorkspaceBytes(const ExpansionCall& call) {
  WorkspaceParts memory;
  Parts(memory, Sizes(call));
  return memory.bytes();
}

absl::StatusOr<std::vector<Launch>> LowerExpansion(const ExpansionCall& call,
                                                   const Workspace& workspace,
                                                   const Lowering& lowering) {
  const Sizes n(call);
  WorkspaceParts memory(workspace.data);
  const Parts parts(memory, n);
  std::vector<Launch> launches;
  launches.push_back(LowerRead(call, n, parts));
  TANDEM_RETURN_IF_ERROR(AddProduct(n.k, parts.k_weights, call.k, parts, lowering, launches));
  TANDEM_RETURN_IF_ERROR(AddProduct(n.v, parts.v_weights, call.v, parts, lowering, launches));
  return launches;
}

}  // namespace tandem::cuda
