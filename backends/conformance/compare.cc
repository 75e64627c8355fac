#include "backends/conformance/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace tandem {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Sums in f32, in any order.
constexpr double kExact = 1e-5;
// Activations (or probabilities) rounded to the 11 or 8 bits of a 16-bit type before a product:
// 2^-12 or 2^-9 at most, and a few of those in a sum of few terms.
constexpr double kRoundedToF16 = 1e-3;
constexpr double kRoundedToBF16 = 4e-3;
// Activations rounded to 8 bits in blocks: a normalised mean square error of 5e-4.
constexpr double kRoundedTo8Bits = 2.24e-2;

double ProductTolerance(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return kExact;
    case DType::kF16:
      return kRoundedToF16;
    case DType::kBF16:
      return kRoundedToBF16;
    default:
      return kRoundedTo8Bits;
  }
}

// A store rounds each number as quant.h does; only near-ties may go the other way.
double StoreTolerance(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
      return 5e-3;
    case DType::kQ4_0:
      return kRoundedTo8Bits;
    default:
      return 1e-6;
  }
}

struct RowError {
  double error = 0;  // squared norm of the difference
  double norm = 0;   // squared norm of the expected row
};

RowError CompareRow(const float* actual, const float* expected, int64_t n) {
  RowError row;
  for (int64_t i = 0; i < n; ++i) {
    const double a = actual[i], e = expected[i];
    if (a == e || (std::isnan(a) && std::isnan(e))) {
      if (std::isfinite(e)) row.norm += e * e;
      continue;
    }
    if (!std::isfinite(a) || !std::isfinite(e)) return {kInfinity, 1.0};
    row.error += (a - e) * (a - e);
    row.norm += e * e;
  }
  return row;
}

double LargestError(const std::vector<RowError>& rows) {
  double mean = 0;
  for (const RowError& row : rows) mean += row.norm / static_cast<double>(rows.size());
  double largest = 0;
  for (const RowError& row : rows) {
    if (row.error > 0) largest = std::max(largest, row.error / std::max(row.norm, mean));
  }
  return std::sqrt(largest);
}

}  // namespace

double Tolerance(KernelId kernel, DType dtype) {
  switch (kernel) {
    case KernelId::kLinear:
    case KernelId::kAttention:
      return ProductTolerance(dtype);
    case KernelId::kExperts:
      return 2 * ProductTolerance(dtype);  // two products, one after the other
    case KernelId::kStoreKv:
      return StoreTolerance(dtype);
    default:
      return kExact;
  }
}

double RelativeError(const Output& output, const std::byte* actual, const std::byte* expected) {
  TensorView a = output.view, e = output.view;
  a.data = const_cast<std::byte*>(actual);
  e.data = const_cast<std::byte*>(expected);
  const int64_t n = output.view.shape.back();
  const bool heads = output.view.shape.rank == 3;
  const int64_t d1 = heads ? output.view.dim(1) : 1;
  std::vector<RowError> rows;
  for (int64_t i = 0; i < output.rows * d1; ++i) {
    const int64_t i0 = i / d1, i1 = i % d1;
    if (output.view.dtype == DType::kI32) {
      if (std::memcmp(a.row(i0, i1), e.row(i0, i1), n * sizeof(int32_t)) != 0) return kInfinity;
    } else {
      rows.push_back(CompareRow(a.row<float>(i0, i1), e.row<float>(i0, i1), n));
    }
  }
  return LargestError(rows);
}

}  // namespace tandem
