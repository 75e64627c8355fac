// Mixture of experts: route chooses experts for each token, experts runs them.
#include "backends/device/status.h"
#include "ops/family.h"

namespace tandem::internal {

Inferred Infer(const RouteAttrs& attrs, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 0, "logits", 2, 2));
  const Shape& logits = inputs[0].shape;
  if (attrs.top_k < 1 || attrs.top_k > logits[1]) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot choose ", attrs.top_k, " of ", logits[1], " experts"));
  }
  const Shape chosen = {logits[0], attrs.top_k};
  return std::vector<TensorType>{{DType::kI32, chosen}, {DType::kF32, chosen}};
}

RouteArgs LowerOp(const RouteAttrs& attrs, const Operands& o) {
  return {o.in(0),      o.in(1),           o.out(0),          o.out(1),        attrs.gating,
          attrs.groups, attrs.groups_used, attrs.group_score, attrs.normalize, attrs.scale,
          o.live};
}

Inferred Infer(const ExpertsAttrs&, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 0, "x", 2, 2));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 1, "ids", 2, 2));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 2, "weights", 2, 2));
  for (const size_t i : {3, 4, 5}) {
    TANDEM_RETURN_IF_ERROR(NeedRank(inputs, i, "expert weight", 3, 3));
  }
  return std::vector<TensorType>{inputs[0]};
}

ExpertsArgs LowerOp(const ExpertsAttrs&, const Operands& o) {
  return {o.in(0), o.in(1), o.in(2), o.in(3), o.in(4), o.in(5), o.out(0), o.live};
}

}  // namespace tandem::internal
