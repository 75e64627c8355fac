// Which device runs which node, and what has to be copied between devices.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/device/device.h"
#include "graph/graph.h"

namespace tandem {

// Copy of a root's storage from one device's arena to another's.
struct Transfer {
  ValueId root = kNone;
  int from = 0, to = 0;  // indices of devices
};

// Neighbouring nodes on one device, and what has to be there before they run.
struct Segment {
  int device = 0;
  std::vector<NodeId> nodes;
  std::vector<Transfer> transfers;
};

struct Schedule {
  std::vector<int> device_of;  // for each node
  std::vector<Segment> segments;
  std::vector<int> group_of;  // for each node, see levels.h
};

// Places each node on the first device that supports it; nodes that share a cache go to the first
// device that supports all of them. Unimplemented, with every device's reason, if none does.
absl::StatusOr<Schedule> MakeSchedule(const Graph& graph, std::span<Device* const> devices);

}  // namespace tandem
