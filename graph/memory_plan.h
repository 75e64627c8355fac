// Where everything lies in the arenas: lifetimes to offsets.
#pragma once

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "graph/schedule.h"

namespace tandem {

// Offsets are in bytes from the start of a device's arena.
struct MemoryPlan {
  std::vector<int64_t> arena_bytes;                      // for each device
  std::map<std::pair<ValueId, int>, int64_t> offset_of;  // (root, device): inputs, activations
  std::vector<int64_t> workspace_offset;                 // for each node
  std::vector<int64_t> workspace_bytes;                  // for each node
};

// Values and workspaces whose lifetimes meet never share bytes; a lifetime is counted in groups of
// nodes that may run at the same time. Inputs and outputs live throughout.
MemoryPlan PlanMemory(const Graph& graph, const Schedule& schedule,
                      std::span<Device* const> devices);

}  // namespace tandem
