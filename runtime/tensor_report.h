// What became of the tensors when a model file was written.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "backends/device/dtype.h"

namespace tandem {

struct TensorReport {
  std::string name;
  DType from = DType::kF32, to = DType::kF32;
  int64_t elements = 0;
  int64_t bytes = 0;           // as written
  double squared_error = 0.0;  // sum over the elements of (written - original)^2
};

// Called after each tensor with its report and the part of all elements that is done, 0 to 1.
using TensorProgress = std::function<void(const TensorReport& tensor, double done)>;

// Totals of the tensors of one type.
struct TypeSummary {
  int64_t tensors = 0;
  int64_t elements = 0;
  int64_t bytes = 0;
  double squared_error = 0.0;

  // Root of the mean squared error of an element.
  double rmse() const;
};

std::map<DType, TypeSummary> SummarizeByType(std::span<const TensorReport> tensors);

}  // namespace tandem
