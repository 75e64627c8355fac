// Weights from rows, as files have them, to tiles.
#pragma once

#include "absl/status/statusor.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/target.h"
#include "backends/device/tensor.h"

namespace tandem::cuda {

// Whole panels, contiguous at `from`, to `to`, whose layout is kTiles. Unimplemented for another.
absl::StatusOr<Launch> LowerArrange(const void* from, const TensorView& to, const Target& target);

}  // namespace tandem::cuda
