#include "graph/plan.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "backends/device/layout.h"
#include "backends/device/status.h"
#include "graph/fuse.h"
#include "graph/levels.h"
#include "graph/verify.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<Plan>> Plan::Make(Graph graph, std::vector<Device*> devices) {
  TANDEM_RETURN_IF_ERROR(Verify(graph));
  Fuse(graph);
  SortByLevel(graph);
  auto plan = std::unique_ptr<Plan>(new Plan(std::move(graph), std::move(devices)));
  TANDEM_ASSIGN_OR_RETURN(plan->schedule_, MakeSchedule(plan->graph_, plan->devices_));
  plan->memory_ = PlanMemory(plan->graph_, plan->schedule_, plan->devices_);
  plan->CollectResidents();
  return plan;
}

// The layout in which the node wants the weight, from each side that it reads it.
WeightLayout Plan::PreferredLayout(const Node& node, ValueId root, const Device& device) const {
  const KernelArgs args = LowerNode(graph_, node, [](ValueId) { return nullptr; });
  std::optional<WeightLayout> layout;
  for (const ValueId id : node.inputs) {
    if (id == kNone || graph_.RootOf(id) != root) continue;
    const TensorView view = graph_.View(id, nullptr);
    const int64_t panel_bytes = kPanelRows * RowBytes(view.dtype, view.shape.back());
    const bool begins_a_panel = graph_.value(id).byte_offset % panel_bytes == 0;
    const WeightLayout preferred = device.PreferredLayout(args, view);
    if (!begins_a_panel || preferred != layout.value_or(preferred)) return WeightLayout::kRows;
    layout = preferred;
  }
  return layout.value_or(WeightLayout::kRows);
}

void Plan::SetLayout(ValueId root, WeightLayout layout) {
  graph_.values[static_cast<size_t>(root)].layout = layout;
}

void Plan::CollectResidents() {
  std::map<std::pair<ValueId, int>, size_t> weight_of;
  std::set<std::pair<ValueId, int>> seen;
  for (const Segment& segment : schedule_.segments) {
    for (NodeId id : segment.nodes) {
      for (ValueId root : graph_.ReadRoots(graph_.node(id))) {
        const ValueKind kind = graph_.value(root).kind;
        if (kind == ValueKind::kState && seen.emplace(root, segment.device).second) {
          states_.push_back({root, segment.device});
        }
        if (kind != ValueKind::kWeight) continue;
        const Device& device = *devices_[static_cast<size_t>(segment.device)];
        const WeightLayout layout = PreferredLayout(graph_.node(id), root, device);
        const auto [known, added] =
            weight_of.emplace(std::pair(root, segment.device), weights_.size());
        if (added) {
          weights_.push_back({root, segment.device, layout});
        } else if (weights_[known->second].preferred_layout != layout) {
          weights_[known->second].preferred_layout = WeightLayout::kRows;
        }
      }
    }
  }
}

void Plan::CollectPorts(std::span<void* const> arenas) {
  inputs_.clear();
  outputs_.clear();
  for (const auto& [key, offset] : memory_.offset_of) {
    const auto [root, device] = key;
    const Value& value = graph_.value(root);
    if (value.kind != ValueKind::kInput && !value.is_output) continue;
    auto* data = static_cast<std::byte*>(arenas[static_cast<size_t>(device)]) + offset;
    const Port port = {value.name, device, data, graph_.StorageBytes(root)};
    if (value.kind == ValueKind::kInput) inputs_.push_back(port);
    const bool made_here = value.is_output && value.producer != kNone &&
                           schedule_.device_of[static_cast<size_t>(value.producer)] == device;
    if (made_here) outputs_.push_back(port);
  }
}

std::vector<ValueId> Plan::ResultsOf(const Segment& segment) const {
  std::set<ValueId> results;
  for (const NodeId id : segment.nodes) {
    for (const ValueId root : graph_.WrittenRoots(graph_.node(id))) {
      if (graph_.value(root).is_output) results.insert(root);
    }
  }
  // Later segments on the same device read them where they are, others through transfers.
  for (const Segment& other : schedule_.segments) {
    if (&other == &segment) continue;
    for (const NodeId id : other.nodes) {
      for (const ValueId root : graph_.ReadRoots(graph_.node(id))) results.insert(root);
    }
  }
  return {results.begin(), results.end()};
}

absl::StatusOr<Plan::Step> Plan::MakeStep(const Segment& segment, const Addresses& addresses,
                                          void* arena) const {
  Step step = {segment.device, {}, nullptr};
  for (const Transfer& t : segment.transfers) {
    step.transfers.push_back({t.from, t.to, addresses.at({t.root, t.from}),
                              addresses.at({t.root, t.to}), graph_.StorageBytes(t.root)});
  }
  Program program;
  for (NodeId id : segment.nodes) {
    const Node& node = graph_.node(id);
    const size_t i = static_cast<size_t>(id);
    KernelArgs args = LowerNode(graph_, node, [&](ValueId root) {
      return addresses.at({root, segment.device});
    });
    const Workspace workspace = {static_cast<std::byte*>(arena) + memory_.workspace_offset[i],
                                 memory_.workspace_bytes[i]};
    program.calls.push_back({std::move(args), workspace, node.name, schedule_.group_of[i]});
  }
  program.results.emplace();
  for (const ValueId root : ResultsOf(segment)) {
    const auto address = addresses.find({root, segment.device});
    if (address != addresses.end()) {
      program.results->push_back(graph_.View(root, address->second));
    }
  }
  Device& device = *devices_[static_cast<size_t>(segment.device)];
  TANDEM_ASSIGN_OR_RETURN(step.executable, device.Prepare(std::move(program)));
  return step;
}

absl::Status Plan::Bind(std::span<void* const> arenas,
                        const std::function<void*(const Resident&)>& address_of) {
  if (arenas.size() != devices_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(arenas.size(), " arenas for ", devices_.size(), " devices"));
  }
  const auto arena = [&](int device) { return arenas[static_cast<size_t>(device)]; };
  for (size_t d = 0; d < arenas.size(); ++d) {
    if (arenas[d] == nullptr && memory_.arena_bytes[d] > 0) {
      return absl::InvalidArgumentError(absl::StrCat("no arena on ", devices_[d]->info().name));
    }
  }
  Addresses addresses;
  for (const auto& [key, offset] : memory_.offset_of) {
    addresses[key] = static_cast<std::byte*>(arena(key.second)) + offset;
  }
  for (const auto* residents : {&weights_, &states_}) {
    for (const Resident& r : *residents) {
      void* address = address_of(r);
      if (address == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat(graph_.value(r.root).name, " has no address on ",
                         devices_[static_cast<size_t>(r.device)]->info().name));
      }
      addresses[{r.root, r.device}] = address;
    }
  }
  std::vector<Step> steps;
  for (const Segment& segment : schedule_.segments) {
    TANDEM_ASSIGN_OR_RETURN(Step step, MakeStep(segment, addresses, arena(segment.device)));
    steps.push_back(std::move(step));
  }
  steps_ = std::move(steps);
  CollectPorts(arenas);
  return absl::OkStatus();
}

absl::StatusOr<Plan::Port> Plan::output(std::string_view name) const {
  const auto it = std::ranges::find(outputs_, name, &Port::name);
  if (it == outputs_.end()) {
    return absl::NotFoundError(absl::StrCat("the plan has no output ", Text(name)));
  }
  return *it;
}

std::string DumpPlan(const Plan& plan) {
  std::string text;
  const Graph& graph = plan.graph();
  const auto device = [&](int i) { return plan.devices()[static_cast<size_t>(i)]->info().name; };
  for (size_t s = 0; s < plan.schedule().segments.size(); ++s) {
    const Segment& segment = plan.schedule().segments[s];
    absl::StrAppend(&text, "segment ", s, " on ", device(segment.device), "\n");
    for (const Transfer& t : segment.transfers) {
      absl::StrAppend(&text, "  copy ", graph.value(t.root).name, " from ", device(t.from), ", ",
                      graph.StorageBytes(t.root), " bytes\n");
    }
    for (NodeId id : segment.nodes) {
      const Node& node = graph.node(id);
      absl::StrAppend(&text, "  ", DumpNode(graph, node));
      for (ValueId root : graph.WrittenRoots(node)) {
        const auto it = plan.memory().offset_of.find({root, segment.device});
        if (it != plan.memory().offset_of.end()) absl::StrAppend(&text, " @", it->second);
      }
      const int64_t workspace = plan.memory().workspace_bytes[static_cast<size_t>(id)];
      if (workspace > 0) absl::StrAppend(&text, " workspace ", workspace);
      absl::StrAppend(&text, "\n");
    }
  }
  for (size_t d = 0; d < plan.devices().size(); ++d) {
    absl::StrAppend(&text, "arena of ", device(static_cast<int>(d)), ": ",
                    plan.arena_bytes(static_cast<int>(d)), " bytes\n");
  }
  return text;
}

}  // namespace tandem
