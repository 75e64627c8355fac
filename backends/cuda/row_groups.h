// Kernels on single rows that can run as one.
#pragma once

#include <vector>

#include "backends/cuda/fuse.h"

namespace tandem::cuda {

// The calls in groups, with the same effect if groups run in order: calls of a group of more than one
// work on the same tokens, each on its own row of them, so that a block may do them one after the
// other to its token. A call may be later than in the program, where nothing between stands against
// it. At most `most` calls to a group.
std::vector<std::vector<FusedCall>> GroupRows(std::vector<FusedCall> calls, size_t most);

}  // namespace tandem::cuda
