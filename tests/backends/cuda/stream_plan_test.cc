#include "backends/cuda/stream_plan.h"

#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Launches that come after these others.
std::vector<Launch> Launches(std::vector<std::vector<int>> after) {
  std::vector<Launch> launches(after.size());
  for (size_t i = 0; i < after.size(); ++i) launches[i].after = std::move(after[i]);
  return launches;
}

// Whether every launch runs after all that it names: earlier on its stream, waited for, or reached
// through such a one.
bool IsInOrder(const std::vector<Launch>& launches, const StreamPlan& plan) {
  std::vector<std::vector<bool>> done;  // before each launch begins, it and all others
  std::vector<int> last = {-1, -1};
  for (size_t i = 0; i < launches.size(); ++i) {
    std::vector<bool> before(launches.size());
    const auto add = [&](int j) {
      before[static_cast<size_t>(j)] = true;
      for (size_t k = 0; k < launches.size(); ++k) {
        if (done[static_cast<size_t>(j)][k]) before[k] = true;
      }
    };
    int& ahead = last[static_cast<size_t>(plan.stream_of[i])];
    if (ahead >= 0) add(ahead);
    for (const int j : plan.waits[i]) add(j);
    for (const int j : launches[i].after) {
      if (!before[static_cast<size_t>(j)]) return false;
    }
    ahead = static_cast<int>(i);
    done.push_back(std::move(before));
  }
  return true;
}

TEST(StreamPlanTest, AChainStaysOnOneStream) {
  const auto launches = Launches({{}, {0}, {1}, {2}});
  const StreamPlan plan = PlanStreams(launches);
  EXPECT_THAT(plan.stream_of, ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(plan.last[1], -1);
  EXPECT_TRUE(IsInOrder(launches, plan));
}

TEST(StreamPlanTest, WhatDoesNotFollowRunsBeside) {
  // A norm; the router and what follows; the shared expert in two steps; the sum of both.
  const auto launches = Launches({{}, {0}, {0}, {1}, {2}, {3, 4}});
  const StreamPlan plan = PlanStreams(launches);
  EXPECT_THAT(plan.stream_of, ElementsAre(0, 0, 1, 0, 1, 0));
  EXPECT_THAT(plan.waits, ElementsAre(IsEmpty(), IsEmpty(), ElementsAre(0), IsEmpty(), IsEmpty(),
                                      ElementsAre(4)));
  EXPECT_TRUE(plan.is_waited_for[0]);
  EXPECT_TRUE(plan.is_waited_for[4]);
  EXPECT_FALSE(plan.is_waited_for[1]);
  EXPECT_TRUE(IsInOrder(launches, plan));
}

TEST(StreamPlanTest, TheEndWaitsForTheSecondStream) {
  const auto launches = Launches({{}, {0}, {0}});
  const StreamPlan plan = PlanStreams(launches);
  EXPECT_EQ(plan.last[1], 2);
  EXPECT_TRUE(plan.is_waited_for[2]);
}

// A launch that waits for nothing begins the first stream or goes on with it: the second one is part
// of the recording only once it waits for a launch of the first.
TEST(StreamPlanTest, TheSecondStreamBeginsWithAWait) {
  const auto launches = Launches({{}, {}, {0}, {}});
  const StreamPlan plan = PlanStreams(launches);
  EXPECT_THAT(plan.stream_of, ElementsAre(0, 0, 1, 0));
  EXPECT_THAT(plan.waits[2], ElementsAre(0));
}

TEST(StreamPlanTest, AnyOrderOfDependenciesIsKept) {
  uint32_t random = 1;
  const auto draw = [&](int below) {
    random = random * 1664525u + 1013904223u;
    return static_cast<int>((random >> 8) % static_cast<uint32_t>(below));
  };
  for (int turn = 0; turn < 200; ++turn) {
    std::vector<std::vector<int>> after(30);
    for (int i = 1; i < 30; ++i) {
      for (int n = draw(3); n > 0; --n) after[static_cast<size_t>(i)].push_back(draw(i));
    }
    const auto launches = Launches(std::move(after));
    const StreamPlan plan = PlanStreams(launches);
    ASSERT_TRUE(IsInOrder(launches, plan)) << "turn " << turn;
    for (size_t i = 0; i < launches.size(); ++i) {
      const bool begins = plan.stream_of[i] == 1 &&
                          std::find(plan.stream_of.begin(), plan.stream_of.begin() + i, 1) ==
                              plan.stream_of.begin() + static_cast<long>(i);
      if (begins) {
        ASSERT_FALSE(plan.waits[i].empty()) << "turn " << turn;
      }
    }
  }
}

}  // namespace
}  // namespace tandem::cuda
