// Which nodes may run at the same time.
#pragma once

#include <span>
#include <vector>

#include "graph/schedule.h"

namespace tandem {

// Sorts the nodes by level, stably: a node stands one level above the last of those whose results
// it needs, or whose operands it overwrites. Nodes of a level are independent of each other.
void SortByLevel(Graph& graph);

// For each node the number of its group: neighbours in a segment that are independent of each other
// have the same, and numbers rise along the nodes.
std::vector<int> GroupIndependentNodes(const Graph& graph, std::span<const Segment> segments);

}  // namespace tandem
