// The GPU as a device of the contract.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "backends/device/device.h"

namespace tandem::cuda {

// GPU number options.index. options.architecture, if given, names a GPU that need not be there
// ("sm_90a"): such a device compiles the kernels of the programs that it prepares into the cache,
// and does nothing else. "portable": the GPU, with kernels that any GPU can run. Errors say why the GPU cannot be used and what helps.
absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(const DeviceOptions& options);

}  // namespace tandem::cuda
