#include "graph/schedule.h"

#include <algorithm>
#include <map>
#include <set>

#include "backends/device/status.h"
#include "graph/levels.h"

namespace tandem {
namespace {

KernelArgs ArgsWithoutAddresses(const Graph& graph, const Node& node) {
  return LowerNode(graph, node, [](ValueId) { return nullptr; });
}

// The caches that a node uses.
std::vector<ValueId> StatesOf(const Graph& graph, const Node& node) {
  std::vector<ValueId> states = graph.ReadRoots(node);
  std::erase_if(states, [&](ValueId id) { return graph.value(id).kind != ValueKind::kState; });
  return states;
}

// Groups of nodes that must share a device: connected by common caches; others stand alone.
std::vector<std::vector<NodeId>> GroupNodes(const Graph& graph) {
  std::vector<std::vector<NodeId>> groups;
  std::map<ValueId, size_t> group_of_state;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    size_t group = groups.size();
    const auto states = StatesOf(graph, graph.nodes[i]);
    for (ValueId state : states) {
      const auto it = group_of_state.find(state);
      if (it != group_of_state.end()) group = std::min(group, it->second);
    }
    if (group == groups.size()) groups.emplace_back();
    groups[group].push_back(static_cast<NodeId>(i));
    for (ValueId state : states) {
      const auto [it, fresh] = group_of_state.emplace(state, group);
      if (fresh || it->second == group) continue;
      // This node joins two groups: the later one moves into the earlier.
      const size_t merged = it->second;
      groups[group].insert(groups[group].end(), groups[merged].begin(), groups[merged].end());
      groups[merged].clear();
      for (auto& [other, index] : group_of_state) {
        if (index == merged) index = group;
      }
    }
  }
  return groups;
}

absl::StatusOr<int> PickDevice(const Graph& graph, const std::vector<NodeId>& group,
                               std::span<Device* const> devices) {
  if (devices.empty()) return absl::InvalidArgumentError("there is no device to run on");
  std::string reasons;
  for (size_t d = 0; d < devices.size(); ++d) {
    absl::Status status;
    for (NodeId id : group) {
      const Node& node = graph.node(id);
      status = Annotate(devices[d]->Supports(ArgsWithoutAddresses(graph, node)), node.name);
      if (!status.ok()) break;
    }
    if (status.ok()) return static_cast<int>(d);
    absl::StrAppend(&reasons, reasons.empty() ? "" : "; ", devices[d]->info().name, ": ",
                    status.message());
  }
  return absl::UnimplementedError(absl::StrCat("no device can run this: ", reasons));
}

// Follows which devices hold the current content of each activation.
class Borders {
 public:
  Borders(const Graph& graph, Schedule& schedule) : graph_(graph), schedule_(schedule) {}

  void Add(NodeId id) {
    const Node& node = graph_.node(id);
    const int device = schedule_.device_of[static_cast<size_t>(id)];
    if (schedule_.segments.empty() || schedule_.segments.back().device != device) {
      schedule_.segments.push_back({device, {}, {}});
    }
    for (ValueId root : graph_.ReadRoots(node)) Fetch(root, device);
    for (ValueId root : graph_.WrittenRoots(node)) {
      Fetch(root, device);  // a part of it may have been written elsewhere
      if (graph_.value(root).kind == ValueKind::kActivation) holders_[root] = {device};
    }
    schedule_.segments.back().nodes.push_back(id);
  }

 private:
  void Fetch(ValueId root, int device) {
    const auto it = holders_.find(root);
    if (it == holders_.end() || it->second.contains(device)) return;
    schedule_.segments.back().transfers.push_back({root, *it->second.begin(), device});
    it->second.insert(device);
  }

  const Graph& graph_;
  Schedule& schedule_;
  std::map<ValueId, std::set<int>> holders_;  // activations that have been written
};

}  // namespace

absl::StatusOr<Schedule> MakeSchedule(const Graph& graph, std::span<Device* const> devices) {
  Schedule schedule;
  schedule.device_of.resize(graph.nodes.size());
  for (const auto& group : GroupNodes(graph)) {
    if (group.empty()) continue;
    TANDEM_ASSIGN_OR_RETURN(const int device, PickDevice(graph, group, devices));
    for (NodeId id : group) schedule.device_of[static_cast<size_t>(id)] = device;
  }
  Borders borders(graph, schedule);
  for (size_t i = 0; i < graph.nodes.size(); ++i) borders.Add(static_cast<NodeId>(i));
  schedule.group_of = GroupIndependentNodes(graph, schedule.segments);
  return schedule;
}

}  // namespace tandem
