// The CPU as a device: x86-64 with AVX2, FMA and F16C.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "backends/device/device.h"

namespace tandem {

// Unimplemented, naming what is missing, on a CPU without these instructions.
absl::StatusOr<std::unique_ptr<Device>> CreateCpuDevice(const DeviceOptions& options);

}  // namespace tandem
