// The launches of a program as one CUDA graph.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cuda/context.h"
#include "backends/cuda/launch.h"
#include "backends/device/device.h"

namespace tandem::cuda {

// The kernels must be loaded. A launch starts when those that it names in Launch::after have ended, or
// waits for them itself (Launch::waits_itself).
absl::StatusOr<std::unique_ptr<Executable>> CaptureProgram(std::shared_ptr<Context> context,
                                                           std::vector<Launch> launches);

}  // namespace tandem::cuda
