// Ops that treat each row by itself: embed, rms_norm, rope, add, swiglu, concat, gather_rows.
#include "backends/device/status.h"
#include "ops/family.h"

namespace tandem::internal {
namespace {

// A result of the same type and shape as input 0.
Inferred LikeFirst(Types inputs) { return std::vector<TensorType>{inputs[0]}; }

absl::Status NeedSameShape(Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 0, "first input", 1, kMaxRank));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 1, "second input", 1, kMaxRank));
  if (inputs[0].shape == inputs[1].shape) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("shapes ", inputs[0].shape.ToString(), " and ",
                                                 inputs[1].shape.ToString(), " differ"));
}

}  // namespace

Inferred Infer(const EmbedAttrs&, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 0, "ids", 1, 1));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 1, "table", 2, 2));
  return std::vector<TensorType>{{DType::kF32, {inputs[0].shape[0], inputs[1].shape[1]}}};
}

EmbedArgs LowerOp(const EmbedAttrs&, const Operands& o) {
  return {o.in(0), o.in(1), o.out(0), o.live};
}

Inferred Infer(const RmsNormAttrs&, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 0, "x", 2, 3));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 1, "weight", 1, 1));
  return LikeFirst(inputs);
}

RmsNormArgs LowerOp(const RmsNormAttrs& attrs, const Operands& o) {
  return {o.in(0), o.in(1), o.out(0), attrs.eps, o.live};
}

Inferred Infer(const RopeAttrs&, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 0, "x", 3, 3));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 1, "positions", 1, 1));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 2, "inv_freq", 1, 1));
  return LikeFirst(inputs);
}

RopeArgs LowerOp(const RopeAttrs& attrs, const Operands& o) {
  return {o.in(0), o.in(1), o.in(2), o.out(0), attrs.begin, attrs.magnitude, attrs.pairing, o.live};
}

Inferred Infer(const AddAttrs&, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedSameShape(inputs));
  return LikeFirst(inputs);
}

AddArgs LowerOp(const AddAttrs&, const Operands& o) { return {o.in(0), o.in(1), o.out(0), o.live}; }

Inferred Infer(const SwiGluAttrs&, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedSameShape(inputs));
  return LikeFirst(inputs);
}

SwiGluArgs LowerOp(const SwiGluAttrs&, const Operands& o) {
  return {o.in(0), o.in(1), o.out(0), o.live};
}

Inferred Infer(const ConcatAttrs&, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 0, "a", 2, 3));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 1, "b", 2, 3));
  Shape shape = inputs[0].shape;
  const Shape& b = inputs[1].shape;
  for (int i = 0; i + 1 < shape.rank; ++i) {
    if (shape.rank != b.rank || shape[i] != b[i]) {
      return absl::InvalidArgumentError(absl::StrCat(
          "shapes ", shape.ToString(), " and ", b.ToString(), " differ before the last dimension"));
    }
  }
  shape.dims[shape.rank - 1] += b.back();
  return std::vector<TensorType>{{inputs[0].dtype, shape}};
}

ConcatArgs LowerOp(const ConcatAttrs&, const Operands& o) {
  return {o.in(0), o.in(1), o.out(0), o.live};
}

Inferred Infer(const GatherRowsAttrs&, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 0, "x", 2, 2));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 1, "rows", 1, 1));
  return std::vector<TensorType>{{inputs[0].dtype, {inputs[1].shape[0], inputs[0].shape[1]}}};
}

GatherRowsArgs LowerOp(const GatherRowsAttrs&, const Operands& o) {
  return {o.in(0), o.in(1), o.out(0), o.live};
}

}  // namespace tandem::internal
