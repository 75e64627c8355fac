// Several kernels on single rows as one.
#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/row_groups.h"

namespace tandem::cuda {

// The calls of a group that GroupRows made, at most kMostRowOps.
absl::StatusOr<Launch> LowerRowOps(std::span<const FusedCall> group);

}  // namespace tandem::cuda
