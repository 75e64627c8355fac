// What the sub-commands that write model files share.
#pragma once

#include <span>
#include <string>

#include "CLI/CLI.hpp"
#include "backends/device/dtype.h"
#include "runtime/tensor_report.h"

namespace tandem {

// Accepts the names of element types, in either case.
CLI::Validator DTypeCheck();

// The type called `name`, which DTypeCheck has accepted.
DType ParsedDType(const std::string& name);

// A table of the types in the file: tensors, bytes, and by how much their elements are off.
std::string SummaryText(std::span<const TensorReport> tensors);

}  // namespace tandem
