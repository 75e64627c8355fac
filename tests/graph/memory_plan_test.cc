#include "graph/memory_plan.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "graph/fuse.h"
#include "gtest/gtest.h"
#include "tests/graph/testing.h"

namespace tandem {
namespace {

using enum KernelId;

// Bytes of an arena and the times at which they hold something. Times: 2 n + 1 is the run of node
// n, 2 n what comes before it.
struct Span {
  int64_t begin, end;
  int first, last;
  bool Meets(const Span& other) const {
    return begin < other.end && other.begin < end && first <= other.last && other.first <= last;
  }
};

// What has to be in the arena of a device, worked out anew from the meaning of the schedule.
class Tracker {
 public:
  Tracker(const Graph& graph, const Schedule& schedule, const MemoryPlan& plan, int device)
      : graph_(graph), schedule_(schedule), plan_(plan), device_(device) {}

  std::vector<Span> Spans() {
    const int end = 2 * static_cast<int>(graph_.nodes.size());
    for (const Segment& segment : schedule_.segments) {
      for (const Transfer& t : segment.transfers) {
        if (t.to == device_ || t.from == device_) Touch(t.root, 2 * segment.nodes.front());
      }
      if (segment.device == device_) {
        for (NodeId id : segment.nodes) TouchNode(id);
      }
    }
    for (auto& [root, span] : spans_) {
      const Value& value = graph_.value(root);
      if (value.kind == ValueKind::kInput) span.first = 0;
      if (value.kind == ValueKind::kInput || value.is_output) span.last = end;
    }
    std::vector<Span> all = workspaces_;
    for (const auto& [root, span] : spans_) all.push_back(span);
    return all;
  }

 private:
  void Touch(ValueId root, int time) {
    const ValueKind kind = graph_.value(root).kind;
    if (kind == ValueKind::kWeight || kind == ValueKind::kState) return;
    const int64_t offset = plan_.offset_of.at({root, device_});
    const auto [it, fresh] =
        spans_.try_emplace(root, Span{offset, offset + graph_.StorageBytes(root), time, time});
    it->second.last = std::max(it->second.last, time);
  }

  void TouchNode(NodeId id) {
    const Node& node = graph_.node(id);
    for (ValueId root : graph_.ReadRoots(node)) Touch(root, 2 * id + 1);
    for (ValueId root : graph_.WrittenRoots(node)) Touch(root, 2 * id + 1);
    const int64_t bytes = plan_.workspace_bytes[static_cast<size_t>(id)];
    const int64_t offset = plan_.workspace_offset[static_cast<size_t>(id)];
    if (bytes > 0) workspaces_.push_back({offset, offset + bytes, 2 * id + 1, 2 * id + 1});
  }

  const Graph& graph_;
  const Schedule& schedule_;
  const MemoryPlan& plan_;
  int device_;
  std::map<ValueId, Span> spans_;
  std::vector<Span> workspaces_;
};

// Returns the bytes of all spans, each rounded up, for comparison with the arena.
int64_t CheckSpans(const std::vector<Span>& spans, int64_t arena, int64_t alignment) {
  int64_t sum = 0;
  for (size_t i = 0; i < spans.size(); ++i) {
    EXPECT_EQ(spans[i].begin % alignment, 0);
    EXPECT_LE(spans[i].end, arena);
    sum += (spans[i].end - spans[i].begin + alignment - 1) / alignment * alignment;
    for (size_t j = 0; j < i; ++j) EXPECT_FALSE(spans[i].Meets(spans[j])) << i << ' ' << j;
  }
  EXPECT_LE(arena, sum);
  return sum;
}

TEST(MemoryPlanTest, WhatIsAliveTogetherNeverShares) {
  std::mt19937 random(5);
  const auto host = testing::MakeHostFake("host", {kLinear, kAdd});
  const auto hidden = testing::MakeHiddenFake("hidden", testing::kFakeKernels);
  const std::vector<Device*> devices = {host.get(), hidden.get()};
  int64_t arenas = 0, sums = 0;
  for (int round = 0; round < 150; ++round) {
    Graph graph = testing::RandomGraph(random, 1 + static_cast<int>(random() % 30));
    Fuse(graph);
    const auto schedule = MakeSchedule(graph, devices);
    ASSERT_TRUE(schedule.ok()) << schedule.status();
    const MemoryPlan plan = PlanMemory(graph, *schedule, devices);
    for (int d = 0; d < 2; ++d) {
      const int64_t arena = plan.arena_bytes[static_cast<size_t>(d)];
      const int64_t alignment = devices[static_cast<size_t>(d)]->info().alignment;
      sums += CheckSpans(Tracker(graph, *schedule, plan, d).Spans(), arena, alignment);
      arenas += arena;
      EXPECT_EQ(arena % alignment, 0);
    }
  }
  EXPECT_LT(arenas, sums * 3 / 4);  // memory is used again
}

TEST(MemoryPlanTest, AChainNeedsTwoPlaces) {
  GraphBuilder b;
  ValueId x = b.Input("x", DType::kF32, {16, 64});
  for (int i = 0; i < 50; ++i) x = b.Add(x, x);
  b.MarkOutput(x, "out");
  const auto graph = std::move(b).Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto device = testing::MakeUnrunnable("a", {kAdd});
  const std::vector<Device*> devices = {device.get()};
  const auto schedule = MakeSchedule(*graph, devices);
  ASSERT_TRUE(schedule.ok()) << schedule.status();
  // The input, whose place is its own, and two that take turns.
  EXPECT_EQ(PlanMemory(*graph, *schedule, devices).arena_bytes[0], 3 * 16 * 64 * 4);
}

}  // namespace
}  // namespace tandem
