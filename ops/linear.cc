// linear: a matrix product, by group where the tensors have a group dimension.
#include "backends/device/status.h"
#include "ops/family.h"

namespace tandem::internal {

Inferred Infer(const LinearAttrs& attrs, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 0, "x", 2, 3));
  const Shape& x = inputs[0].shape;
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 1, "weight", x.rank, x.rank));
  const Shape& w = inputs[1].shape;
  const int rows = w.rank - 2;
  const int64_t in = attrs.transposed ? w[rows] : w[rows + 1];
  const int64_t out = attrs.transposed ? w[rows + 1] : w[rows];
  if (in != x.back()) {
    return absl::InvalidArgumentError(
        absl::StrCat("x is ", x.back(), " wide, the weight takes ", in));
  }
  Shape shape = x;
  shape.dims[shape.rank - 1] = out;
  return std::vector<TensorType>{{DType::kF32, shape}};
}

LinearArgs LowerOp(const LinearAttrs& attrs, const Operands& o) {
  return {o.in(0), o.in(1), o.in(2), o.out(0), attrs.transposed, o.live};
}

}  // namespace tandem::internal
