// What has to wait for what.
#pragma once

#include <vector>

#include "backends/cuda/fuse.h"

namespace tandem::cuda {

// For each group of calls, which are run in order: the groups before it that touch memory that it
// touches, one of both writing, but for those that follow from others.
std::vector<std::vector<int>> DependenciesOf(const std::vector<std::vector<FusedCall>>& groups);

}  // namespace tandem::cuda
