#include "backends/device/check.h"

#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "backends/device/layout.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

// Sets of element types that the kernels take.
enum class Types { kF32, kI32, kWeight, kCache };

bool Contains(Types types, DType dtype) {
  switch (types) {
    case Types::kF32:
      return dtype == DType::kF32;
    case Types::kI32:
      return dtype == DType::kI32;
    case Types::kWeight:
      return dtype != DType::kI32;
    case Types::kCache:
      return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
             dtype == DType::kQ8_0 || dtype == DType::kQ4_0;
  }
  return false;
}

std::string_view Describe(Types types) {
  switch (types) {
    case Types::kF32:
      return "f32";
    case Types::kI32:
      return "i32";
    case Types::kWeight:
      return "a type of weights";
    case Types::kCache:
      return "one of f32, f16, bf16, q8_0, q4_0";
  }
  return "";
}

// A size that tensors of a call share. The first tensor that has it sets its value.
struct Size {
  std::string_view letter;  // as in the comments of kernels.h
  int64_t least = 1;
  int64_t value = -1;
};

enum class Use { kRead, kWritten };

struct Tensor {
  std::string_view name;
  const TensorView& view;
  Types types;
  Use use = Use::kRead;
  bool any_layout = false;  // its rows may be interleaved
};

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// The product of the sizes, with room to count the bytes of any type.
bool SmallEnough(const Shape& shape) {
  int64_t product = 1;
  for (int i = 0; i < shape.rank; ++i) {
    if (__builtin_mul_overflow(product, shape[i], &product)) return false;
  }
  return product < (int64_t{1} << 60);
}

absl::Status CheckSizes(const Tensor& tensor, const std::vector<Size*>& sizes) {
  const Shape& shape = tensor.view.shape;
  if (shape.rank != static_cast<int>(sizes.size())) {
    return Invalid(Text(tensor.name), " has rank ", shape.rank, ", not ", sizes.size());
  }
  for (int i = 0; i < shape.rank; ++i) {
    Size& size = *sizes[i];
    if (shape[i] < size.least) {
      return Invalid(Text(tensor.name), " is ", shape.ToString(), ": ", Text(size.letter), " = ",
                     shape[i], " is less than ", size.least);
    }
    if (size.value < 0) size.value = shape[i];
    if (shape[i] != size.value) {
      return Invalid(Text(tensor.name), " is ", shape.ToString(), ": ", Text(size.letter), " = ",
                     shape[i], " should be ", size.value);
    }
  }
  if (SmallEnough(shape)) return absl::OkStatus();
  return Invalid(Text(tensor.name), " is ", shape.ToString(), ": too large");
}

// Rows of a written tensor must not run into each other; rows that are read may.
absl::Status CheckStrides(const Tensor& tensor) {
  const TensorView& view = tensor.view;
  const int64_t unit = GetDTypeInfo(view.dtype).block_bytes;
  const int64_t row = RowBytes(view.dtype, view.shape.back());
  for (int i = 0; i + 1 < view.shape.rank; ++i) {
    if (view.shape[i] <= 1) continue;
    if (view.strides[i] % unit != 0) {
      return Invalid(Text(tensor.name), " has stride ", view.strides[i], ", not a multiple of the ",
                     unit, " bytes of ", Text(DTypeName(view.dtype)));
    }
    if (tensor.use == Use::kWritten && std::abs(view.strides[i]) < row) {
      return Invalid(Text(tensor.name), " has stride ", view.strides[i],
                     " but is written in rows of ", row, " bytes");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLayout(const Tensor& tensor) {
  if (tensor.view.layout == WeightLayout::kRows) return absl::OkStatus();
  const absl::string_view layout = Text(LayoutName(tensor.view.layout));
  if (!tensor.any_layout) return Invalid(Text(tensor.name), " lies in layout ", layout);
  if (CanArrange(tensor.view.layout, tensor.view)) return absl::OkStatus();
  return Invalid(Text(tensor.name), " lies in layout ", layout, ", but ",
                 tensor.view.shape.ToString(), " of ",
                 Text(DTypeName(tensor.view.dtype)), " has no panels of ", kPanelRows,
                 " rows that follow each other");
}

absl::Status CheckTensor(const Tensor& tensor, const std::vector<Size*>& sizes) {
  const TensorView& view = tensor.view;
  if (!DTypeFromNumber(static_cast<uint32_t>(view.dtype))) {
    return Invalid(Text(tensor.name), " has unknown type ", static_cast<uint32_t>(view.dtype));
  }
  if (!Contains(tensor.types, view.dtype)) {
    return Invalid(Text(tensor.name), " is ", Text(DTypeName(view.dtype)), ", not ",
                   Text(Describe(tensor.types)));
  }
  TANDEM_RETURN_IF_ERROR(CheckSizes(tensor, sizes));
  TANDEM_RETURN_IF_ERROR(CheckLayout(tensor));
  const int block = GetDTypeInfo(view.dtype).block_size;
  if (view.shape.back() % block != 0) {
    return Invalid(Text(tensor.name), " is ", view.shape.ToString(),
                   ": rows are not whole blocks of ", block, " elements of ",
                   Text(DTypeName(view.dtype)));
  }
  return CheckStrides(tensor);
}

// A number that an option must lie between, ends included.
struct Range {
  int64_t least, most;
};

absl::Status CheckRange(std::string_view name, int64_t value, Range range) {
  if (value >= range.least && value <= range.most) return absl::OkStatus();
  return Invalid(Text(name), " = ", value, " is not in [", range.least, ", ", range.most, "]");
}

absl::Status CheckFinite(std::string_view name, float value) {
  if (std::isfinite(value)) return absl::OkStatus();
  return Invalid(Text(name), " = ", value, " is not finite");
}

// [T, D], or [T, H, D] if `like` has three dimensions.
std::vector<Size*> RowsOf(const TensorView& like, Size& t, Size& h, Size& d) {
  if (like.shape.rank == 3) return {&t, &h, &d};
  return {&t, &d};
}

// Pages hold contiguous rows; only the distance between pages is free.
absl::Status CheckPages(const Tensor& cache, Size& heads, Size& width) {
  Size pages{"P", 0}, tokens{"tokens of a page", 1, kPageTokens};
  TANDEM_RETURN_IF_ERROR(CheckTensor(cache, {&pages, &tokens, &heads, &width}));
  const auto strides = ContiguousStrides(cache.view.dtype, cache.view.shape);
  for (const int i : {1, 2}) {
    if (cache.view.dim(i) > 1 && cache.view.strides[i] != strides[i]) {
      return Invalid(Text(cache.name), " has stride ", cache.view.strides[i],
                     " inside a page, which is contiguous with stride ", strides[i]);
    }
  }
  if (cache.view.dim(0) > 1 && std::abs(cache.view.strides[0]) < strides[0]) {
    return Invalid(Text(cache.name), " has stride ", cache.view.strides[0], " but pages of ",
                   strides[0], " bytes");
  }
  return absl::OkStatus();
}

absl::Status Check(const EmbedArgs& a) {
  Size t{"T", 0}, v{"V"}, e{"E"};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"ids", a.ids, Types::kI32}, {&t}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"table", a.table, Types::kWeight}, {&v, &e}));
  return CheckTensor({"out", a.out, Types::kF32, Use::kWritten}, {&t, &e});
}

absl::Status Check(const RmsNormArgs& a) {
  Size t{"T", 0}, h{"H"}, d{"D"};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"x", a.x, Types::kF32}, RowsOf(a.x, t, h, d)));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"weight", a.weight, Types::kF32}, {&d}));
  TANDEM_RETURN_IF_ERROR(
      CheckTensor({"out", a.out, Types::kF32, Use::kWritten}, RowsOf(a.x, t, h, d)));
  if (a.eps < 0) return Invalid("eps = ", a.eps, " is negative");
  return CheckFinite("eps", a.eps);
}

absl::Status Check(const RopeArgs& a) {
  Size t{"T", 0}, h{"H"}, d{"D"}, r{"R"};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"x", a.x, Types::kF32}, {&t, &h, &d}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"positions", a.positions, Types::kI32}, {&t}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"inv_freq", a.inv_freq, Types::kF32}, {&r}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"out", a.out, Types::kF32, Use::kWritten}, {&t, &h, &d}));
  if (2 * r.value > d.value) {
    return Invalid("inv_freq has ", r.value, " pairs but a head has ", d.value, " elements");
  }
  TANDEM_RETURN_IF_ERROR(CheckRange("begin", a.begin, {0, d.value - 2 * r.value}));
  return CheckFinite("magnitude", a.magnitude);
}

absl::Status Check(const LinearArgs& a) {
  Size t{"T", 0}, g{"G"}, in{"In"}, out{"Out"};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"x", a.x, Types::kF32}, RowsOf(a.x, t, g, in)));
  Size& rows = a.transposed ? in : out;
  Size& columns = a.transposed ? out : in;
  std::vector<Size*> w = {&rows, &columns};
  if (a.x.shape.rank == 3) w.insert(w.begin(), &g);
  TANDEM_RETURN_IF_ERROR(CheckTensor({"w", a.w, Types::kWeight, Use::kRead, true}, w));
  if (a.bias.present()) {
    if (a.x.shape.rank == 3) return Invalid("bias is given with groups");
    TANDEM_RETURN_IF_ERROR(CheckTensor({"bias", a.bias, Types::kF32}, {&out}));
  }
  return CheckTensor({"out", a.out, Types::kF32, Use::kWritten}, RowsOf(a.x, t, g, out));
}

absl::Status Check(const AddArgs& a) {
  Size t{"T", 0}, e{"E"};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"a", a.a, Types::kF32}, {&t, &e}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"b", a.b, Types::kF32}, {&t, &e}));
  return CheckTensor({"out", a.out, Types::kF32, Use::kWritten}, {&t, &e});
}

absl::Status Check(const SwiGluArgs& a) {
  Size t{"T", 0}, f{"F"};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"gate", a.gate, Types::kF32}, {&t, &f}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"up", a.up, Types::kF32}, {&t, &f}));
  return CheckTensor({"out", a.out, Types::kF32, Use::kWritten}, {&t, &f});
}

absl::Status Check(const ConcatArgs& a) {
  Size t{"T", 0}, h{"H"}, left{"A"}, right{"B"};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"a", a.a, Types::kF32}, RowsOf(a.a, t, h, left)));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"b", a.b, Types::kF32}, RowsOf(a.a, t, h, right)));
  Size both{"A + B", 1, left.value + right.value};
  return CheckTensor({"out", a.out, Types::kF32, Use::kWritten}, RowsOf(a.a, t, h, both));
}

absl::Status Check(const GatherRowsArgs& a) {
  Size t{"T", 0}, e{"E"}, r{"R", 0};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"x", a.x, Types::kF32}, {&t, &e}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"rows", a.rows, Types::kI32}, {&r}));
  return CheckTensor({"out", a.out, Types::kF32, Use::kWritten}, {&r, &e});
}

absl::Status Check(const StoreKvArgs& a) {
  Size t{"T", 0}, h{"Hkv"}, d{"D"};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"x", a.x, Types::kF32}, {&t, &h, &d}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"slots", a.slots, Types::kI32}, {&t}));
  return CheckPages({"cache", a.cache, Types::kCache, Use::kWritten}, h, d);
}

// The sizes of an attention call that its parts share.
struct AttentionSizes {
  Size t{"T", 0}, h{"H"}, kv_heads{"Hkv"}, dk{"Dk"}, dv{"Dv"};
};

absl::Status CheckExpansion(const AttentionArgs& a, AttentionSizes& s) {
  if (a.v.present()) return Invalid("v is given with an expansion");
  if (a.v_from_k_offset >= 0) {
    return Invalid("v_from_k_offset = ", a.v_from_k_offset, " is given with an expansion");
  }
  Size one{"Hkv", 1, 1}, width{"L + R"}, latent{"L"}, plain{"Dk - R"};
  TANDEM_RETURN_IF_ERROR(CheckPages({"k", a.k, Types::kCache}, one, width));
  const bool transposed = a.expansion.k_transposed;
  TANDEM_RETURN_IF_ERROR(
      CheckTensor({"k_up", a.expansion.k_up, Types::kWeight, Use::kRead, true},
                  {&s.h, transposed ? &latent : &plain, transposed ? &plain : &latent}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"v_up", a.expansion.v_up, Types::kWeight, Use::kRead, true},
                                     {&s.h, &s.dv, &latent}));
  const int64_t rotated = s.dk.value - plain.value;
  if (rotated >= 0 && latent.value + rotated == width.value) return absl::OkStatus();
  return Invalid("k has rows of ", width.value, " but L = ", latent.value, " and R = Dk - ",
                 plain.value, " = ", rotated);
}

absl::Status CheckKeysAndValues(const AttentionArgs& a, AttentionSizes& s) {
  if (a.expansion.present()) return CheckExpansion(a, s);
  if (a.expansion.v_up.present()) return Invalid("v_up is given without k_up");
  TANDEM_RETURN_IF_ERROR(CheckPages({"k", a.k, Types::kCache}, s.kv_heads, s.dk));
  if (s.h.value % s.kv_heads.value != 0) {
    return Invalid("H = ", s.h.value, " is not a multiple of Hkv = ", s.kv_heads.value);
  }
  if (a.v_from_k_offset >= 0) {
    if (a.v.present()) return Invalid("v is given with v_from_k_offset = ", a.v_from_k_offset);
    return CheckRange("v_from_k_offset", a.v_from_k_offset, {0, s.dk.value - s.dv.value});
  }
  TANDEM_RETURN_IF_ERROR(CheckPages({"v", a.v, Types::kCache}, s.kv_heads, s.dv));
  if (a.v.dim(0) == a.k.dim(0)) return absl::OkStatus();
  return Invalid("v has ", a.v.dim(0), " pages but k has ", a.k.dim(0));
}

absl::Status CheckBatch(const AttentionBatch& batch) {
  Size sequences{"S", 0}, pages{"pages of a sequence", 0};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"kv_len", batch.kv_len, Types::kI32}, {&sequences}));
  Size borders{"S + 1", 1, sequences.value + 1};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"seq_start", batch.seq_start, Types::kI32}, {&borders}));
  return CheckTensor({"page_table", batch.page_table, Types::kI32}, {&sequences, &pages});
}

absl::Status CheckScores(const AttentionArgs& a) {
  if (a.window < 0) return Invalid("window = ", a.window, " is negative");
  if (a.window > 0 && !a.causal) return Invalid("window = ", a.window, " without causal");
  if (a.soft_cap < 0) return Invalid("soft_cap = ", a.soft_cap, " is negative");
  TANDEM_RETURN_IF_ERROR(CheckFinite("soft_cap", a.soft_cap));
  TANDEM_RETURN_IF_ERROR(CheckFinite("scale", a.scale));
  if (a.workspace_limit > 0) return absl::OkStatus();
  return Invalid("workspace_limit = ", a.workspace_limit, " is not positive");
}

absl::Status Check(const AttentionArgs& a) {
  AttentionSizes s;
  TANDEM_RETURN_IF_ERROR(CheckTensor({"q", a.q, Types::kF32}, {&s.t, &s.h, &s.dk}));
  TANDEM_RETURN_IF_ERROR(
      CheckTensor({"out", a.out, Types::kF32, Use::kWritten}, {&s.t, &s.h, &s.dv}));
  TANDEM_RETURN_IF_ERROR(CheckKeysAndValues(a, s));
  TANDEM_RETURN_IF_ERROR(CheckBatch(a.batch));
  if (a.sinks.present()) {
    TANDEM_RETURN_IF_ERROR(CheckTensor({"sinks", a.sinks, Types::kF32}, {&s.h}));
  }
  if (a.lse.present()) {
    TANDEM_RETURN_IF_ERROR(CheckTensor({"lse", a.lse, Types::kF32, Use::kWritten}, {&s.t, &s.h}));
  }
  return CheckScores(a);
}

absl::Status Check(const RouteArgs& a) {
  Size t{"T", 0}, n{"N"}, k{"K"};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"logits", a.logits, Types::kF32}, {&t, &n}));
  if (a.bias.present()) {
    TANDEM_RETURN_IF_ERROR(CheckTensor({"bias", a.bias, Types::kF32}, {&n}));
  }
  TANDEM_RETURN_IF_ERROR(CheckTensor({"ids", a.ids, Types::kI32, Use::kWritten}, {&t, &k}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"weights", a.weights, Types::kF32, Use::kWritten}, {&t, &k}));
  TANDEM_RETURN_IF_ERROR(CheckRange("groups", a.groups, {1, n.value}));
  if (n.value % a.groups != 0) {
    return Invalid("N = ", n.value, " is not a multiple of groups = ", a.groups);
  }
  TANDEM_RETURN_IF_ERROR(CheckRange("groups_used", a.groups_used, {1, a.groups}));
  const int64_t group = n.value / a.groups;
  if (a.groups > 1 && a.group_score == GroupScore::kTop2Sum && group < 2) {
    return Invalid("groups of ", group, " expert have no two best");
  }
  TANDEM_RETURN_IF_ERROR(CheckRange("K", k.value, {1, a.groups_used * group}));
  return CheckFinite("scale", a.scale);
}

absl::Status Check(const ExpertsArgs& a) {
  Size t{"T", 0}, e{"E"}, k{"K"}, n{"N"}, f{"F"};
  TANDEM_RETURN_IF_ERROR(CheckTensor({"x", a.x, Types::kF32}, {&t, &e}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"ids", a.ids, Types::kI32}, {&t, &k}));
  TANDEM_RETURN_IF_ERROR(CheckTensor({"weights", a.weights, Types::kF32}, {&t, &k}));
  const auto weight = [](std::string_view name, const TensorView& view) {
    return Tensor{name, view, Types::kWeight, Use::kRead, true};
  };
  TANDEM_RETURN_IF_ERROR(CheckTensor(weight("gate", a.gate), {&n, &f, &e}));
  TANDEM_RETURN_IF_ERROR(CheckTensor(weight("up", a.up), {&n, &f, &e}));
  TANDEM_RETURN_IF_ERROR(CheckTensor(weight("down", a.down), {&n, &e, &f}));
  return CheckTensor({"out", a.out, Types::kF32, Use::kWritten}, {&t, &e});
}

}  // namespace

absl::Status CheckArgs(const KernelArgs& args) {
  return Annotate(std::visit([](const auto& a) { return Check(a); }, args),
                  KernelName(GetKernelId(args)));
}

}  // namespace tandem
