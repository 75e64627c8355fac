#include "graph/levels.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "graph/fuse.h"
#include "graph/verify.h"
#include "gtest/gtest.h"
#include "tests/graph/testing.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What each node writes first, in the order of the nodes.
std::vector<std::string> Results(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) {
    names.push_back(graph.value(graph.WrittenRoots(node).front()).name);
  }
  return names;
}

Segment SegmentOf(NodeId first, NodeId last) {
  Segment segment;
  for (NodeId id = first; id < last; ++id) segment.nodes.push_back(id);
  return segment;
}

// The groups when all nodes are in one segment.
std::vector<int> Groups(const Graph& graph) {
  const Segment all = SegmentOf(0, static_cast<NodeId>(graph.nodes.size()));
  return GroupIndependentNodes(graph, std::span(&all, 1));
}

// A builder with two inputs, whose nodes are named after their results.
class LevelsTest : public ::testing::Test {
 protected:
  ValueId Add(ValueId a, ValueId b, const std::string& name) {
    const ValueId sum = builder_.Add(a, b);
    builder_.MarkOutput(sum, name);
    return sum;
  }
  void Store(ValueId rows) { builder_.StoreKv(builder_.Reshape(rows, {64, 1, 4}), slots_, cache_); }
  // Reads the cache as numbers; no op of a model does, but its attention reads it in the same way.
  ValueId Read(const std::string& name) {
    const ValueId rows = builder_.Reshape(cache_, {64, 4});
    return Add(rows, rows, name);
  }
  Graph Build() {
    auto graph = std::move(builder_).Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    return graph.ok() ? *std::move(graph) : Graph();
  }

  GraphBuilder builder_;
  ValueId x_ = builder_.Input("x", DType::kF32, {64, 4});
  ValueId y_ = builder_.Input("y", DType::kF32, {64, 4});
  ValueId slots_ = builder_.Input("slots", DType::kI32, {64});
  ValueId cache_ = builder_.State("cache", DType::kF32, {1, kPageTokens, 1, 4});
};

TEST_F(LevelsTest, ResultsComeBeforeTheirUseAndEqualsKeepTheirOrder) {
  const ValueId a = Add(x_, x_, "a");
  const ValueId b = Add(a, a, "b");
  const ValueId c = Add(y_, y_, "c");
  const ValueId d = Add(c, x_, "d");
  Add(b, d, "e");
  Add(x_, y_, "f");
  Graph graph = Build();
  SortByLevel(graph);
  EXPECT_THAT(Results(graph), ElementsAre("a", "c", "f", "b", "d", "e"));
  EXPECT_EQ(Verify(graph), absl::OkStatus());
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    EXPECT_EQ(graph.value(graph.nodes[i].outputs[0]).producer, static_cast<NodeId>(i));
  }
  EXPECT_THAT(Groups(graph), ElementsAre(0, 0, 0, 1, 1, 2));
}

TEST_F(LevelsTest, ACacheIsNotOverwrittenBeforeItsReadersNorReadTooEarly) {
  const ValueId before = Read("before");
  Store(x_);  // overwrites what `before` reads
  Read("between");
  Store(y_);
  Read("after");
  Add(before, x_, "free");
  Graph graph = Build();
  SortByLevel(graph);
  EXPECT_THAT(Results(graph), ElementsAre("before", "cache", "free", "between", "cache", "after"));
  EXPECT_THAT(graph.nodes[1].inputs, ::testing::Contains(slots_));
  EXPECT_THAT(Groups(graph), ElementsAre(0, 1, 1, 2, 3, 4));
}

TEST_F(LevelsTest, WritersOfOneCacheKeepTheirOrder) {
  Store(x_);
  Store(y_);
  Graph graph = Build();
  const std::vector<ValueId> first = graph.nodes[0].inputs;
  SortByLevel(graph);
  EXPECT_EQ(graph.nodes[0].inputs, first);
  EXPECT_THAT(Groups(graph), ElementsAre(0, 1));
}

TEST_F(LevelsTest, GroupsEndWhereSegmentsDo) {
  Add(x_, x_, "a");
  Add(y_, y_, "b");
  Add(x_, y_, "c");
  Add(y_, x_, "d");
  const Graph graph = Build();
  EXPECT_THAT(Groups(graph), ElementsAre(0, 0, 0, 0));
  const std::vector<Segment> segments = {SegmentOf(0, 1), SegmentOf(1, 3), SegmentOf(3, 4)};
  EXPECT_THAT(GroupIndependentNodes(graph, segments), ElementsAre(0, 1, 1, 2));
}

TEST_F(LevelsTest, AGroupEndsAtADependenceOnAnyOfItsNodes) {
  const ValueId a = Add(x_, x_, "a");
  Add(y_, y_, "b");
  Add(a, y_, "c");  // needs a, not its neighbour
  Add(x_, y_, "d");
  EXPECT_THAT(Groups(Build()), ElementsAre(0, 0, 1, 1));
}

// The graph with the nodes of each group in reverse order.
Graph ReverseGroups(Graph graph, const std::vector<int>& group_of) {
  for (size_t first = 0; first < group_of.size();) {
    size_t last = first;
    while (last < group_of.size() && group_of[last] == group_of[first]) ++last;
    std::reverse(graph.nodes.begin() + static_cast<std::ptrdiff_t>(first),
                 graph.nodes.begin() + static_cast<std::ptrdiff_t>(last));
    first = last;
  }
  return graph;
}

// All nodes in up to four segments.
std::vector<Segment> RandomSegments(std::mt19937& random, NodeId nodes) {
  std::vector<NodeId> borders = {0, nodes};
  for (int i = 0; i < 3; ++i) borders.push_back(static_cast<NodeId>(random() % (nodes + 1)));
  std::ranges::sort(borders);
  std::vector<Segment> segments;
  for (size_t i = 1; i < borders.size(); ++i) {
    if (borders[i - 1] < borders[i]) segments.push_back(SegmentOf(borders[i - 1], borders[i]));
  }
  return segments;
}

TEST(LevelsPropertyTest, SortingAndTheOrderWithinAGroupDoNotChangeResults) {
  std::mt19937 random(23);
  int moved = 0, together = 0;
  for (int round = 0; round < 200; ++round) {
    Graph graph = testing::RandomGraph(random, 1 + static_cast<int>(random() % 40));
    ASSERT_FALSE(graph.nodes.empty());
    const testing::Contents contents = testing::RandomContents(graph);
    const testing::Contents expected = testing::Evaluate(graph, contents);
    if (round % 2 == 0) Fuse(graph);  // makes nodes that write parts of one value
    const auto before = Results(graph);
    SortByLevel(graph);
    moved += Results(graph) != before ? 1 : 0;
    ASSERT_EQ(Verify(graph), absl::OkStatus()) << DumpGraph(graph);
    EXPECT_EQ(testing::Evaluate(graph, contents), expected) << DumpGraph(graph);

    const auto nodes = static_cast<NodeId>(graph.nodes.size());
    const auto segments = RandomSegments(random, nodes);
    const auto group_of = GroupIndependentNodes(graph, segments);
    ASSERT_EQ(group_of.size(), graph.nodes.size());
    EXPECT_TRUE(std::ranges::is_sorted(group_of));
    together += static_cast<int>(nodes) - group_of.back() - 1;
    const Graph reversed = ReverseGroups(graph, group_of);
    EXPECT_EQ(testing::Evaluate(reversed, contents), expected) << DumpGraph(graph);
    for (size_t s = 1; s < segments.size(); ++s) {
      EXPECT_NE(group_of[static_cast<size_t>(segments[s].nodes.front())],
                group_of[static_cast<size_t>(segments[s - 1].nodes.back())]);
    }
  }
  EXPECT_GT(moved, 100);
  EXPECT_GT(together, 500);
}

}  // namespace
}  // namespace tandem
