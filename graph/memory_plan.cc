#include "graph/memory_plan.h"

#include <algorithm>
#include <limits>

namespace tandem {
namespace {

struct Allocation {
  int64_t bytes = 0;
  int first = std::numeric_limits<int>::max(), last = -1;  // groups of nodes, in order of execution
  int64_t offset = 0;

  void Use(int time) {
    first = std::min(first, time);
    last = std::max(last, time);
  }
};

int64_t RoundUp(int64_t bytes, int64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

// Gives each allocation the lowest offset where it meets no other that is alive at the same time,
// the largest first. Returns the bytes of the arena.
int64_t Assign(std::vector<Allocation*> allocations, int64_t alignment) {
  std::ranges::stable_sort(allocations, std::ranges::greater(), &Allocation::bytes);
  std::vector<const Allocation*> placed;  // by offset
  int64_t total = 0;
  for (Allocation* item : allocations) {
    int64_t offset = 0;
    for (const Allocation* other : placed) {
      if (other->last < item->first || item->last < other->first) continue;
      if (offset + item->bytes <= other->offset) break;
      offset = std::max(offset, RoundUp(other->offset + other->bytes, alignment));
    }
    item->offset = offset;
    placed.insert(std::ranges::upper_bound(placed, offset, {}, &Allocation::offset), item);
    total = std::max(total, offset + item->bytes);
  }
  return RoundUp(total, alignment);
}

// Collects the allocations of all devices, then assigns offsets device by device.
class Planner {
 public:
  Planner(const Graph& graph, const Schedule& schedule, std::span<Device* const> devices)
      : graph_(graph), schedule_(schedule), devices_(devices) {}

  MemoryPlan Run() {
    const size_t count = graph_.nodes.size();
    workspaces_.resize(count);
    for (const Segment& segment : schedule_.segments) {
      for (const Transfer& transfer : segment.transfers) {
        const int time = schedule_.group_of[static_cast<size_t>(segment.nodes.front())];
        Use(transfer.root, transfer.from, time);
        Use(transfer.root, transfer.to, time);
      }
      for (NodeId id : segment.nodes) UseNode(id, segment.device);
    }
    MemoryPlan plan;
    for (size_t d = 0; d < devices_.size(); ++d) plan.arena_bytes.push_back(AssignDevice(d));
    for (const auto& [key, allocation] : values_) plan.offset_of[key] = allocation.offset;
    for (const Allocation& workspace : workspaces_) {
      plan.workspace_offset.push_back(workspace.offset);
      plan.workspace_bytes.push_back(workspace.bytes);
    }
    return plan;
  }

 private:
  void Use(ValueId root, int device, int time) {
    const Value& value = graph_.value(root);
    if (value.kind == ValueKind::kWeight || value.kind == ValueKind::kState) return;
    Allocation& allocation = values_[{root, device}];
    allocation.bytes = graph_.StorageBytes(root);
    allocation.Use(time);
    if (value.kind == ValueKind::kInput) allocation.Use(0);
    if (value.kind == ValueKind::kInput || value.is_output) {
      allocation.Use(static_cast<int>(graph_.nodes.size()));
    }
  }

  void UseNode(NodeId id, int device) {
    const Node& node = graph_.node(id);
    const int time = schedule_.group_of[static_cast<size_t>(id)];
    for (ValueId root : graph_.ReadRoots(node)) Use(root, device, time);
    for (ValueId root : graph_.WrittenRoots(node)) Use(root, device, time);
    const KernelArgs args = LowerNode(graph_, node, [](ValueId) { return nullptr; });
    Allocation& workspace = workspaces_[static_cast<size_t>(id)];
    workspace.bytes = devices_[static_cast<size_t>(device)]->WorkspaceBytes(args);
    workspace.Use(time);
  }

  int64_t AssignDevice(size_t device) {
    std::vector<Allocation*> allocations;
    for (auto& [key, allocation] : values_) {
      if (key.second == static_cast<int>(device)) allocations.push_back(&allocation);
    }
    for (size_t i = 0; i < workspaces_.size(); ++i) {
      if (workspaces_[i].bytes > 0 && schedule_.device_of[i] == static_cast<int>(device)) {
        allocations.push_back(&workspaces_[i]);
      }
    }
    return Assign(std::move(allocations), devices_[device]->info().alignment);
  }

  const Graph& graph_;
  const Schedule& schedule_;
  std::span<Device* const> devices_;
  std::map<std::pair<ValueId, int>, Allocation> values_;
  std::vector<Allocation> workspaces_;
};

}  // namespace

MemoryPlan PlanMemory(const Graph& graph, const Schedule& schedule,
                      std::span<Device* const> devices) {
  return Planner(graph, schedule, devices).Run();
}

}  // namespace tandem
