#include "backends/reference/rows.h"

#include <algorithm>
#include <vector>

#include "backends/device/quant.h"

namespace tandem {

int64_t LiveRows(LiveCount live, int64_t rows) {
  return live == nullptr ? rows : std::clamp<int64_t>(*live, 0, rows);
}

TensorView Part(const TensorView& view, int64_t i) {
  TensorView part = view;
  part.data = view.row(i);
  part.shape.rank = view.shape.rank - 1;
  for (int d = 0; d < part.shape.rank; ++d) {
    part.shape.dims[d] = view.shape[d + 1];
    part.strides[d] = view.strides[d + 1];
  }
  return part;
}

TensorView WithHeads(const TensorView& view) {
  if (view.shape.rank == 3) return view;
  TensorView heads = view;
  heads.shape = {view.dim(0), 1, view.dim(1)};
  heads.strides = {view.strides[0], 0, view.strides[1]};
  return heads;
}

void ReadRow(const TensorView& view, Eigen::Ref<Vector> out, int64_t i0, int64_t i1, int64_t i2) {
  Eigen::RowVectorXf decoded(view.shape.back());
  DequantizeRow(view.dtype, view.row(i0, i1, i2), decoded.data(), decoded.size());
  out = decoded.cast<double>();
}

Matrix ReadRows(const TensorView& view, int64_t rows) {
  Matrix out(rows, view.dim(1));
  for (int64_t i = 0; i < rows; ++i) ReadRow(view, out.row(i), i);
  return out;
}

void WriteRow(const TensorView& view, const Eigen::Ref<const Vector>& row, int64_t i0, int64_t i1) {
  Eigen::Map<Eigen::RowVectorXf>(view.row<float>(i0, i1), row.size()) = row.cast<float>();
}

Matrix Multiply(const Matrix& x, const TensorView& w, bool transposed) {
  Matrix out = Matrix::Zero(x.rows(), transposed ? w.dim(1) : w.dim(0));
  Vector row(w.dim(1));
  for (int64_t i = 0; i < w.dim(0); ++i) {
    ReadRow(w, row, i);
    if (transposed) {
      out.noalias() += x.col(i) * row;
    } else {
      out.col(i).noalias() = x * row.transpose();
    }
  }
  return out;
}

}  // namespace tandem
