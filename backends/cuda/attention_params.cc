#include "backends/cuda/attention_params.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

constexpr int kMostWidth = 1024;  // of a head, for tensor cores

bool FitsTensorCores(Kv type, int width) {
  return type != Kv::kF32 && width <= kMostWidth && width % (IsBlockType(type) ? kKvBlock : 8) == 0;
}

bool IsAligned(const TensorView& pages) {
  constexpr int64_t kCopyBytes = 16;
  return reinterpret_cast<uintptr_t>(pages.data) % kCopyBytes == 0 &&
         pages.strides[0] % kCopyBytes == 0;
}

// Inside a page, that is.
absl::Status CheckPages(const TensorView& pages, const char* name) {
  const TensorView contiguous = MakeView(nullptr, pages.dtype, pages.shape);
  if (pages.strides[1] == contiguous.strides[1] && pages.strides[2] == contiguous.strides[2]) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat("pages of ", name, " are not contiguous"));
}

i64 Elements(int64_t bytes) { return bytes / static_cast<int64_t>(sizeof(float)); }

}  // namespace

int64_t AttentionShape::MostRowTiles(int rows) const {
  const int64_t each = (group() + rows - 1) / rows;
  const int64_t all = (static_cast<int64_t>(tokens) * group() + rows - 1) / rows + seqs;
  return std::min(tokens * each, all);
}

std::string AttentionShape::ToString() const {
  return absl::StrCat(heads, "/", kv_heads, " heads of ", dk, "/", dv,
                      view() ? absl::StrCat(" at ", v_offset) : "", ", K ", static_cast<int>(k),
                      ", V ", static_cast<int>(v), ", ", tokens, " tokens of ", seqs, " sequences");
}

AttentionShape ShapeOf(const AttentionArgs& args) {
  AttentionShape shape;
  shape.k = ToKv(args.k.dtype);
  shape.v = args.v_from_k_offset >= 0 ? shape.k : ToKv(args.v.dtype);
  shape.dk = static_cast<int>(args.q.dim(2));
  shape.dv = static_cast<int>(args.out.dim(2));
  shape.v_offset = static_cast<int>(args.v_from_k_offset);
  shape.heads = static_cast<int>(args.q.dim(1));
  shape.kv_heads = static_cast<int>(args.k.dim(2));
  shape.tokens = static_cast<int>(args.q.dim(0));
  shape.seqs = static_cast<int>(args.batch.kv_len.dim(0));
  shape.workspace_limit = args.workspace_limit;
  return shape;
}

bool FitsTensorCores(const AttentionShape& shape) {
  if (!FitsTensorCores(shape.k, shape.dk)) return false;
  if (!shape.view()) return FitsTensorCores(shape.v, shape.dv);
  return shape.dv % 8 == 0 && shape.v_offset % (IsBlockType(shape.k) ? kKvBlock : 8) == 0;
}

absl::Status SupportsPages(const AttentionArgs& args) {
  if (args.expansion.present()) {
    return absl::UnimplementedError("K and V that are expanded from latents");
  }
  TANDEM_RETURN_IF_ERROR(CheckPages(args.k, "k"));
  return args.v.present() ? CheckPages(args.v, "v") : absl::OkStatus();
}

bool PagesAreAligned(const AttentionArgs& args) {
  return IsAligned(args.k) && (!args.v.present() || IsAligned(args.v));
}

AttentionParams ToParams(const AttentionArgs& args) {
  const AttentionShape shape = ShapeOf(args);
  AttentionParams p = {};
  p.q = static_cast<const float*>(args.q.data);
  p.q_token = Elements(args.q.strides[0]);
  p.q_head = Elements(args.q.strides[1]);
  p.k = static_cast<const u8*>(args.k.data);
  p.k_page = args.k.strides[0];
  p.v = static_cast<const u8*>(args.v.data);
  p.v_page = args.v.strides[0];
  p.out = static_cast<float*>(args.out.data);
  p.out_token = Elements(args.out.strides[0]);
  p.out_head = Elements(args.out.strides[1]);
  p.out_fours = reinterpret_cast<uintptr_t>(args.out.data) % 16 == 0 && p.out_token % 4 == 0 &&
                p.out_head % 4 == 0;
  p.lse = static_cast<float*>(args.lse.data);
  p.lse_token = Elements(args.lse.strides[0]);
  p.sinks = static_cast<const float*>(args.sinks.data);
  p.seq_start = static_cast<const i32*>(args.batch.seq_start.data);
  p.kv_len = static_cast<const i32*>(args.batch.kv_len.data);
  p.page_table = static_cast<const i32*>(args.batch.page_table.data);
  p.page_table_row = args.batch.page_table.strides[0] / static_cast<int64_t>(sizeof(i32));
  p.live_seqs = args.batch.live_seqs;
  p.seqs = shape.seqs;
  p.heads = shape.heads;
  p.kv_heads = shape.kv_heads;
  p.group = shape.group();
  p.dk = shape.dk;
  p.dv = shape.dv;
  p.v_offset = std::max(shape.v_offset, 0);
  p.scale = args.scale;
  p.soft_cap = args.soft_cap;
  p.causal = args.causal ? 1 : 0;
  p.window = args.window;
  return p;
}

Kv ToKv(DType type) {
  switch (type) {
    case DType::kF16:
      return Kv::kF16;
    case DType::kBF16:
      return Kv::kBF16;
    case DType::kQ8_0:
      return Kv::kQ8_0;
    case DType::kQ4_0:
      return Kv::kQ4_0;
    default:
      return Kv::kF32;
  }
}

std::string KvArg(Kv type) {
  return absl::StrCat("tandem::cuda::Kv(", static_cast<int>(type), ")");
}

std::string ShapeArgs(const AttentionShape& shape) {
  return absl::StrCat(KvArg(shape.k), ", ", KvArg(shape.v), ", ", shape.dk, ", ", shape.dv, ", ",
                      shape.v_offset);
}

}  // namespace tandem::cuda
