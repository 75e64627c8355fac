// Rewrites of the graph that every device gains from.
#pragma once

#include "graph/graph.h"

namespace tandem {

// Lets the nodes that make the operands of a concat write into its result, where each operand is a
// whole value made for it, and removes the concat.
void ElideConcat(Graph& graph);

// Removes nodes whose results nothing reads, and renumbers the producers. Values stay.
void RemoveDeadNodes(Graph& graph);

// All of them in order. The graph must be well formed and stays so.
void Fuse(Graph& graph);

}  // namespace tandem
