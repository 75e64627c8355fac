#include "runtime/tensor_report.h"

#include <cmath>

namespace tandem {

double TypeSummary::rmse() const {
  return elements == 0 ? 0.0 : std::sqrt(squared_error / static_cast<double>(elements));
}

std::map<DType, TypeSummary> SummarizeByType(std::span<const TensorReport> tensors) {
  std::map<DType, TypeSummary> result;
  for (const TensorReport& tensor : tensors) {
    TypeSummary& summary = result[tensor.to];
    ++summary.tensors;
    summary.elements += tensor.elements;
    summary.bytes += tensor.bytes;
    summary.squared_error += tensor.squared_error;
  }
  return result;
}

}  // namespace tandem
