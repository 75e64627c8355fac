#include "graph/fuse.h"

#include <algorithm>
#include <random>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "graph/verify.h"
#include "gtest/gtest.h"
#include "tests/graph/testing.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

int64_t Count(const Graph& graph, KernelId op) {
  return std::ranges::count(graph.nodes, op, [](const Node& node) { return node.op(); });
}

// Two halves from one input, joined, and the result of `use`, marked as output.
template <typename Use>
Graph Halves(Use use) {
  GraphBuilder b;
  const ValueId x = b.Input("x", DType::kF32, {3, 4});
  const ValueId left = b.Linear(x, b.Weight("left", DType::kF32, {2, 4}));
  const ValueId right = b.Linear(x, b.Weight("right", DType::kF32, {6, 4}));
  use(b, left, right);
  auto graph = std::move(b).Build();
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

void ExpectSameResults(const Graph& before, const Graph& after) {
  const auto contents = testing::RandomContents(before);
  EXPECT_EQ(testing::Evaluate(before, contents), testing::Evaluate(after, contents));
}

TEST(FuseTest, PartsAreWrittenInPlace) {
  Graph graph = Halves([](GraphBuilder& b, ValueId left, ValueId right) {
    const ValueId both = b.Concat(left, right);
    b.MarkOutput(b.Add(both, both), "out");
    b.MarkOutput(b.Add(left, left), "left");  // reads a part after it has moved
  });
  const Graph before = graph;
  ElideConcat(graph);
  EXPECT_EQ(Count(graph, KernelId::kConcat), 0);
  EXPECT_EQ(graph.nodes.size(), 4u);
  EXPECT_EQ(Verify(graph), absl::OkStatus());
  ExpectSameResults(before, graph);
}

TEST(FuseTest, KeepsConcatsThatNeedTheirCopy) {
  const auto kept = [](auto use) {
    Graph graph = Halves(use);
    const Graph before = graph;
    ElideConcat(graph);
    ExpectSameResults(before, graph);
    return Count(graph, KernelId::kConcat);
  };
  // The result is read by the host: it stays a value that one node makes.
  EXPECT_EQ(kept([](GraphBuilder& b, ValueId left, ValueId right) {
              b.MarkOutput(b.Concat(left, right), "out");
            }),
            1);
  // An operand is read by the host.
  EXPECT_EQ(kept([](GraphBuilder& b, ValueId left, ValueId right) {
              b.MarkOutput(left, "left");
              const ValueId both = b.Concat(left, right);
              b.MarkOutput(b.Add(both, both), "out");
            }),
            1);
  // Both operands are one value.
  EXPECT_EQ(kept([](GraphBuilder& b, ValueId left, ValueId) {
              const ValueId both = b.Concat(left, left);
              b.MarkOutput(b.Add(both, both), "out");
            }),
            1);
  // An operand has a view, or is one.
  EXPECT_EQ(kept([](GraphBuilder& b, ValueId left, ValueId right) {
              const ValueId both = b.Concat(left, b.Slice(right, 1, 2, 3));
              b.MarkOutput(b.Add(both, both), "out");
            }),
            1);
  // An operand is not made by a node.
  EXPECT_EQ(kept([](GraphBuilder& b, ValueId left, ValueId) {
              const ValueId both = b.Concat(left, b.Input("other", DType::kF32, {3, 4}));
              b.MarkOutput(b.Add(both, both), "out");
            }),
            1);
  // A value goes into two concats: into the first without a copy.
  EXPECT_EQ(kept([](GraphBuilder& b, ValueId left, ValueId right) {
              const ValueId one = b.Concat(left, right), two = b.Concat(right, left);
              b.MarkOutput(b.Add(one, two), "out");
            }),
            1);
  // A concat of a concat: the inner one is elided.
  EXPECT_EQ(kept([](GraphBuilder& b, ValueId left, ValueId right) {
              const ValueId three = b.Concat(b.Concat(left, right),
                                             b.Linear(left, b.Weight("w", DType::kF32, {4, 2})));
              b.MarkOutput(b.Add(three, three), "out");
            }),
            1);
}

TEST(FuseTest, RemovesWhatNothingReads) {
  Graph graph = Halves([](GraphBuilder& b, ValueId left, ValueId right) {
    const ValueId unused = b.Linear(right, b.Weight("w", DType::kF32, {4, 6}));
    b.SwiGlu(unused, unused);
    b.MarkOutput(b.Add(left, left), "out");
  });
  const Graph before = graph;
  RemoveDeadNodes(graph);
  EXPECT_EQ(Count(graph, KernelId::kLinear), 1);
  EXPECT_EQ(graph.nodes.size(), 2u);
  EXPECT_THAT(DumpGraph(graph), Not(HasSubstr("right")));
  EXPECT_EQ(Verify(graph), absl::OkStatus());
  ExpectSameResults(before, graph);
}

TEST(FuseTest, StoresStayThoughNothingReadsTheirCache) {
  Graph graph = Halves([](GraphBuilder& b, ValueId left, ValueId right) {
    b.StoreKv(b.Reshape(right, {3, 2, 3}), b.Input("slots", DType::kI32, {3}),
              b.State("cache", DType::kF32, {1, kPageTokens, 2, 3}));
    b.MarkOutput(b.Add(left, left), "out");
  });
  RemoveDeadNodes(graph);
  EXPECT_EQ(Count(graph, KernelId::kStoreKv), 1);
  EXPECT_EQ(Count(graph, KernelId::kLinear), 2);
}

TEST(FuseTest, RandomGraphsStayWellFormedAndGiveTheSameResults) {
  std::mt19937 random(11);
  int64_t elided = 0;
  for (int round = 0; round < 200; ++round) {
    Graph graph = testing::RandomGraph(random, 1 + static_cast<int>(random() % 25));
    ASSERT_EQ(Verify(graph), absl::OkStatus());
    const Graph before = graph;
    ElideConcat(graph);
    elided += Count(before, KernelId::kConcat) - Count(graph, KernelId::kConcat);
    RemoveDeadNodes(graph);
    ASSERT_EQ(Verify(graph), absl::OkStatus()) << DumpGraph(before);
    ExpectSameResults(before, graph);
  }
  EXPECT_GT(elided, 50);
}

}  // namespace
}  // namespace tandem
