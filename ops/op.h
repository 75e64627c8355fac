// What each op means: its attributes, the types of its results, and the kernel call it becomes.
//
// An op and the kernel that runs it have one name; KernelId names both. The operands of an op are
// the tensors of its kernel's argument struct in the order of that struct, read ones as inputs and
// written ones as outputs, except that a cache, which is partly written, is an input of store_kv.
#pragma once

#include <span>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/device/kernels.h"

namespace tandem {

struct EmbedAttrs {};
struct RmsNormAttrs {
  float eps = 1e-6f;
};
struct RopeAttrs {
  int64_t begin = 0;  // first rotated element of a head
  float magnitude = 1.0f;
  RopePairing pairing = RopePairing::kInterleaved;
};
struct LinearAttrs {
  bool transposed = false;  // the weight's rows are its inputs
};
struct AddAttrs {};
struct SwiGluAttrs {};
struct ConcatAttrs {};
struct GatherRowsAttrs {};
struct StoreKvAttrs {};
struct AttentionAttrs {
  int64_t v_from_k_offset = -1;  // >= 0: V is a view of K
  int64_t v_dim = 0;             // Dv, where V is a view of K
  bool k_up_transposed = false;
  bool causal = true;
  int64_t window = 0;
  float scale = 1.0f;
  float soft_cap = 0.0f;
  bool with_lse = false;  // a second output, the log-sum-exp
  int64_t workspace_limit = std::numeric_limits<int64_t>::max();
};
struct RouteAttrs {
  int64_t top_k = 1;
  Gating gating = Gating::kSoftmax;
  int64_t groups = 1;
  int64_t groups_used = 1;
  GroupScore group_score = GroupScore::kMax;
  bool normalize = false;
  float scale = 1.0f;
};
struct ExpertsAttrs {};

// In the order of KernelArgs.
using OpAttrs = std::variant<EmbedAttrs, RmsNormAttrs, RopeAttrs, LinearAttrs, AddAttrs,
                             SwiGluAttrs, ConcatAttrs, GatherRowsAttrs, StoreKvAttrs,
                             AttentionAttrs, RouteAttrs, ExpertsAttrs>;
static_assert(std::variant_size_v<OpAttrs> == kKernelCount);

inline KernelId GetKernelId(const OpAttrs& attrs) { return static_cast<KernelId>(attrs.index()); }

struct TensorType {
  DType dtype = DType::kF32;
  Shape shape;  // rank 0: an absent optional operand
  bool present() const { return shape.rank > 0; }
  bool operator==(const TensorType&) const = default;
};

// Most inputs that the op takes; trailing optional ones may be left out.
int MaxInputs(KernelId id);

// Types of the outputs. InvalidArgument, naming op and operand, if the inputs do not fit together
// well enough to tell; CheckArgs then has the last word on the lowered call.
absl::StatusOr<std::vector<TensorType>> InferTypes(const OpAttrs& attrs,
                                                   std::span<const TensorType> inputs);

// The kernel call of an op whose operands are at these places. Left-out inputs count as absent.
KernelArgs Lower(const OpAttrs& attrs, std::span<const TensorView> inputs,
                 std::span<const TensorView> outputs, LiveCount live);

}  // namespace tandem
