// Rows of tensors as doubles.
#pragma once

#include <Eigen/Core>
#include <cstdint>

#include "backends/device/kernels.h"

namespace tandem {

using Vector = Eigen::RowVectorXd;
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// How many of `rows` rows are in use.
int64_t LiveRows(LiveCount live, int64_t rows);

// The part of a tensor at index `i` of its first dimension.
TensorView Part(const TensorView& view, int64_t i);

// A tensor of rank 2 or 3 with rank 3, as [T, 1, D] if a dimension lacks.
TensorView WithHeads(const TensorView& view);

// The row with these leading indices, decoded to `out`, which has the row's length.
void ReadRow(const TensorView& view, Eigen::Ref<Vector> out, int64_t i0, int64_t i1 = 0,
             int64_t i2 = 0);
// The first `rows` rows of a tensor of rank 2.
Matrix ReadRows(const TensorView& view, int64_t rows);

// Writes a row of an f32 tensor.
void WriteRow(const TensorView& view, const Eigen::Ref<const Vector>& row, int64_t i0,
              int64_t i1 = 0);

// x [T, In] times w [Out, In] (its transpose if stored as [In, Out]), giving [T, Out]. Only one row
// of w is decoded at a time.
Matrix Multiply(const Matrix& x, const TensorView& w, bool transposed = false);

}  // namespace tandem
