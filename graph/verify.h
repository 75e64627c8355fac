// Checks that a graph is well formed, so that everything after it may rely on that.
#pragma once

#include "absl/status/status.h"
#include "graph/graph.h"

namespace tandem {

// InvalidArgument with the node or value and the reason, for the first defect: ids out of range,
// views outside their root, values read before they are written or written twice, nodes that write
// constants, caches used by other ops, types that do not follow from the inputs, arguments that
// break the contract of their kernel, operands that overlap.
absl::Status Verify(const Graph& graph);

}  // namespace tandem
