// The rules of kernels.h as a check that every backend shares.
#pragma once

#include "absl/status/status.h"
#include "backends/device/kernels.h"

namespace tandem {

// OK if the arguments obey the contract of kernels.h: element types, ranks, sizes that agree with
// each other, whole blocks, strides, options in range. Otherwise InvalidArgument with the kernel,
// the tensor and the offending value. Addresses are not looked at, so they may be null. A backend
// answers Device::Supports with this first and with its own limits after it.
absl::Status CheckArgs(const KernelArgs& args);

}  // namespace tandem
