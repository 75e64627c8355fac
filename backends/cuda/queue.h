// Buffers, streams and events of a GPU.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "backends/cuda/context.h"
#include "backends/cuda/staging.h"
#include "backends/device/device.h"

namespace tandem::cuda {

absl::StatusOr<std::unique_ptr<Buffer>> AllocateOnGpu(std::shared_ptr<Context> context,
                                                      int64_t bytes);
absl::StatusOr<std::unique_ptr<Stream>> CreateGpuStream(std::shared_ptr<Context> context,
                                                        std::shared_ptr<Staging> staging);
absl::StatusOr<std::unique_ptr<Event>> CreateGpuEvent(std::shared_ptr<Context> context);

// The driver's handle of a stream that CreateGpuStream made.
CUstream HandleOf(Stream& stream);

}  // namespace tandem::cuda
