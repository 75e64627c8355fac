#include "graph/schedule.h"

#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "graph/fuse.h"
#include "gtest/gtest.h"
#include "tests/graph/testing.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using enum KernelId;

// Devices "a" and "b" with these kernels, a preferred.
struct Pair {
  Pair(const std::set<KernelId>& first, const std::set<KernelId>& second)
      : a(testing::MakeUnrunnable("a", first)), b(testing::MakeUnrunnable("b", second)) {}
  std::vector<Device*> devices() const { return {a.get(), b.get()}; }
  std::unique_ptr<Device> a, b;
};

Graph Built(GraphBuilder b) {
  auto graph = std::move(b).Build();
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

Schedule Scheduled(const Graph& graph, const Pair& pair) {
  auto schedule = MakeSchedule(graph, pair.devices());
  EXPECT_TRUE(schedule.ok()) << schedule.status();
  return *std::move(schedule);
}

// "name 0>1" for each transfer of a segment.
std::vector<std::string> Transfers(const Graph& graph, const Segment& segment) {
  std::vector<std::string> list;
  for (const Transfer& t : segment.transfers) {
    list.push_back(absl::StrCat(graph.value(t.root).name, " ", t.from, ">", t.to));
  }
  return list;
}

TEST(ScheduleTest, FirstDeviceThatCan) {
  GraphBuilder b;
  const ValueId x = b.Input("x", DType::kF32, {2, 4});
  const ValueId y = b.Linear(x, b.Weight("w", DType::kF32, {4, 4}));
  const ValueId z = b.SwiGlu(y, y);
  b.MarkOutput(b.Add(z, y), "out");
  const Graph graph = Built(std::move(b));
  const Schedule all = Scheduled(graph, Pair({kLinear, kSwiGlu, kAdd}, {kLinear, kSwiGlu, kAdd}));
  EXPECT_THAT(all.device_of, ElementsAre(0, 0, 0));
  ASSERT_EQ(all.segments.size(), 1u);
  EXPECT_THAT(all.segments[0].nodes, ElementsAre(0, 1, 2));
  EXPECT_TRUE(all.segments[0].transfers.empty());

  const Schedule split = Scheduled(graph, Pair({kLinear, kAdd}, {kLinear, kSwiGlu, kAdd}));
  EXPECT_THAT(split.device_of, ElementsAre(0, 1, 0));
  ASSERT_EQ(split.segments.size(), 3u);
  EXPECT_TRUE(split.segments[0].transfers.empty());  // the host writes inputs where they are read
  EXPECT_THAT(Transfers(graph, split.segments[1]), ElementsAre("linear 0>1"));
  EXPECT_THAT(Transfers(graph, split.segments[2]), ElementsAre("swiglu 1>0"));
}

TEST(ScheduleTest, AValueIsCopiedOnce) {
  GraphBuilder b;
  const ValueId x = b.Input("x", DType::kF32, {2, 4});
  const ValueId y = b.Linear(x, b.Weight("w", DType::kF32, {4, 4}));
  ValueId sum = b.Add(y, y);
  sum = b.Add(b.Linear(sum, b.Weight("v", DType::kF32, {4, 4})), y);  // y is there already
  b.MarkOutput(sum, "out");
  const Graph graph = Built(std::move(b));
  const Schedule schedule = Scheduled(graph, Pair({kLinear}, {kAdd}));
  ASSERT_EQ(schedule.segments.size(), 4u);
  EXPECT_THAT(Transfers(graph, schedule.segments[1]), ElementsAre("linear 0>1"));
  EXPECT_THAT(Transfers(graph, schedule.segments[2]), ElementsAre("add 1>0"));
  EXPECT_THAT(Transfers(graph, schedule.segments[3]), ElementsAre("linear 0>1"));
  EXPECT_EQ(schedule.segments[3].transfers[0].root, graph.node(2).outputs[0]);
}

TEST(ScheduleTest, ErrorNamesTheReasonOfEachDevice) {
  GraphBuilder b;
  const ValueId x = b.Input("x", DType::kF32, {2, 32});
  b.MarkOutput(b.Linear(x, b.Weight("up.weight", DType::kQ4_0, {4, 32})), "out");
  const Graph graph = Built(std::move(b));
  const auto plain = testing::MakeHostFake("plain", {kLinear});
  const auto other = testing::MakeHostFake("other", {kAdd});
  const std::vector<Device*> devices = {plain.get(), other.get()};
  const absl::Status status = MakeSchedule(graph, devices).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(std::string(status.message()),
            "no device can run this: plain: up: block types are not supported; "
            "other: up: other has no kernel linear");
}

// Stores `x` in both caches and reads them by attention.
void AddCaches(GraphBuilder& b, const std::vector<std::string>& names, ValueId x) {
  GraphBuilder::AttentionInputs in;
  const ValueId slots = b.Input("slots", DType::kI32, {2});
  for (const std::string& name : names) {
    const ValueId cache = b.State(name, DType::kF32, {1, kPageTokens, 1, 4});
    b.StoreKv(b.Reshape(x, {2, 1, 4}), slots, cache);
    (in.k == kNone ? in.k : in.v) = cache;
  }
  in.q = b.Reshape(x, {2, 1, 4});
  in.seq_start = b.Input("seq_start", DType::kI32, {2});
  in.kv_len = b.Input("kv_len", DType::kI32, {1});
  in.page_table = b.Input("page_table", DType::kI32, {1, 1});
  b.MarkOutput(b.Attention(in, {}).first, "out");
}

TEST(ScheduleTest, NodesThatShareACacheShareADevice) {
  GraphBuilder b;
  AddCaches(b, {"k", "v"}, b.Input("x", DType::kF32, {2, 4}));
  const Graph graph = Built(std::move(b));
  // The first device could store, but not attend.
  EXPECT_THAT(Scheduled(graph, Pair({kStoreKv}, {kStoreKv, kAttention})).device_of,
              ElementsAre(1, 1, 1));
  const Pair apart({kStoreKv}, {kAttention});
  const absl::Status status = MakeSchedule(graph, apart.devices()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a: attention: a has no kernel attention"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("b: store_kv: b has no kernel store_kv"));
}

TEST(ScheduleTest, PartsOfOneValueFromTwoDevices) {
  GraphBuilder b;
  const ValueId x = b.Input("x", DType::kF32, {2, 4});
  const ValueId left = b.Linear(x, b.Weight("w", DType::kF32, {4, 4}));
  const ValueId right = b.SwiGlu(x, x);
  const ValueId both = b.Concat(left, right);
  b.MarkOutput(b.Linear(both, b.Weight("v", DType::kF32, {4, 8})), "out");
  Graph graph = Built(std::move(b));
  Fuse(graph);
  ASSERT_EQ(graph.nodes.size(), 3u);
  const Schedule schedule = Scheduled(graph, Pair({kLinear}, {kSwiGlu}));
  ASSERT_EQ(schedule.segments.size(), 3u);
  // The second writer needs the first one's part beside its own; the reader needs both.
  EXPECT_THAT(Transfers(graph, schedule.segments[1]), ElementsAre("concat 0>1"));
  EXPECT_THAT(Transfers(graph, schedule.segments[2]), ElementsAre("concat 1>0"));
}

TEST(ScheduleTest, RandomGraphsRunEachNodeOnceInOrder) {
  std::mt19937 random(3);
  const Pair pair({kLinear, kConcat}, {kAdd, kSwiGlu});
  for (int round = 0; round < 100; ++round) {
    Graph graph = testing::RandomGraph(random, 20);
    Fuse(graph);
    const Schedule schedule = Scheduled(graph, pair);
    NodeId next = 0;
    int device = -1;
    for (const Segment& segment : schedule.segments) {
      EXPECT_NE(segment.device, device);
      device = segment.device;
      for (const Transfer& t : segment.transfers) {
        EXPECT_EQ(t.to, device);
        EXPECT_NE(t.from, device);
        EXPECT_EQ(graph.value(t.root).kind, ValueKind::kActivation);
      }
      for (NodeId id : segment.nodes) {
        EXPECT_EQ(id, next++);
        EXPECT_EQ(schedule.device_of[static_cast<size_t>(id)], device);
      }
    }
    EXPECT_EQ(next, static_cast<NodeId>(graph.nodes.size()));
  }
}

}  // namespace
}  // namespace tandem
