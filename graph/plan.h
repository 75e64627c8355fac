// A compiled graph: scheduled, with every byte placed, then bound to memory and ready to run.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/memory_plan.h"

namespace tandem {

class Plan {
 public:
  // Verifies, fuses, schedules on `devices` in order of preference, and plans memory. Allocates
  // nothing on a device. The devices must outlive the plan.
  static absl::StatusOr<std::unique_ptr<Plan>> Make(Graph graph, std::vector<Device*> devices);

  // A root that has to be on a device: weights and states.
  struct Resident {
    ValueId root = kNone;
    int device = 0;
    // In which all of its uses on the device want a weight to lie.
    WeightLayout preferred_layout = WeightLayout::kRows;
  };
  const std::vector<Resident>& weights() const { return weights_; }
  const std::vector<Resident>& states() const { return states_; }
  int64_t arena_bytes(int device) const { return memory_.arena_bytes[static_cast<size_t>(device)]; }

  // Before Bind: the layout of a weight, which must be one of Resident::preferred_layout and kRows.
  void SetLayout(ValueId root, WeightLayout layout);

  // Gives addresses to everything and prepares the programs; `arenas` has one address for each
  // device, of at least arena_bytes, which other plans may share as long as one runs at a time.
  // InvalidArgument for a missing arena or address. After an error the plan is as it was before.
  absl::Status Bind(std::span<void* const> arenas,
                    const std::function<void*(const Resident&)>& address_of);

  // Where the host writes an input (once for each device that reads it) or reads an output.
  struct Port {
    std::string name;
    int device = 0;
    void* data = nullptr;
    int64_t bytes = 0;
  };
  const std::vector<Port>& inputs() const { return inputs_; }
  // NotFound if the graph has no such output.
  absl::StatusOr<Port> output(std::string_view name) const;

  struct BoundTransfer {
    int from = 0, to = 0;
    const void* src = nullptr;
    void* dst = nullptr;
    int64_t bytes = 0;
  };
  struct Step {
    int device = 0;
    std::vector<BoundTransfer> transfers;  // before the executable
    std::unique_ptr<Executable> executable;
  };
  const std::vector<Step>& steps() const { return steps_; }

  const Graph& graph() const { return graph_; }
  const Schedule& schedule() const { return schedule_; }
  const MemoryPlan& memory() const { return memory_; }
  const std::vector<Device*>& devices() const { return devices_; }

 private:
  Plan(Graph graph, std::vector<Device*> devices)
      : graph_(std::move(graph)), devices_(std::move(devices)) {}
  void CollectResidents();
  WeightLayout PreferredLayout(const Node& node, ValueId root, const Device& device) const;
  void CollectPorts(std::span<void* const> arenas);

  // Where each root lies on each device that uses it.
  using Addresses = std::map<std::pair<ValueId, int>, void*>;
  // The values that a segment makes and others, or the host, read.
  std::vector<ValueId> ResultsOf(const Segment& segment) const;
  absl::StatusOr<Step> MakeStep(const Segment& segment, const Addresses& addresses,
                                void* arena) const;

  Graph graph_;
  std::vector<Device*> devices_;
  Schedule schedule_;
  MemoryPlan memory_;
  std::vector<Resident> weights_, states_;
  std::vector<Port> inputs_, outputs_;
  std::vector<Step> steps_;
};

// Nodes with their devices, segments, transfers, and the place of each value and workspace.
std::string DumpPlan(const Plan& plan);

}  // namespace tandem
