#include "backends/cpu/merge.h"

#include <oneapi/tbb/global_control.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <numeric>
#include <vector>

#include "backends/cpu/team.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cpu {
namespace {

// A list of phases of one call, which counts what is run of it and sees to the order.
class Part {
 public:
  // A phase of at most `chunks` chunks; begin() says `live`, or there is no begin if that is -1.
  Part& Add(int chunks, int live = -1) {
    Counts& counts = counts_.emplace_back(chunks);
    Counts* before = counts_.size() > 1 ? &counts_[counts_.size() - 2] : nullptr;
    counts.expected = live < 0 ? chunks : std::min(live, chunks);
    Phase phase = {.chunks = chunks, .run = [this, &counts, before](int chunk) {
                     ++counts.runs.at(static_cast<size_t>(chunk));
                     if (counts.has_begin && counts.begins == 0) in_order_ = false;
                     if (before != nullptr && before->ends < before->expected) in_order_ = false;
                     ++counts.ends;
                   }};
    if (live >= 0) {
      counts.has_begin = true;
      phase.begin = [&counts, live] {
        ++counts.begins;
        return live;
      };
    }
    phases_.push_back(std::move(phase));
    return *this;
  }
  // The last phase goes back `back` phases until it has done so `times` times.
  Part& GoBack(int back, int times) {
    phases_.back().back = back;
    phases_.back().again = [left = times]() mutable { return left-- > 0; };
    return *this;
  }

  const std::vector<Phase>& phases() const { return phases_; }
  bool in_order() const { return in_order_; }
  // How often each chunk of a phase has run.
  std::vector<int> Runs(size_t phase) const {
    return {counts_[phase].runs.begin(), counts_[phase].runs.end()};
  }
  int Begins(size_t phase) const { return counts_[phase].begins; }

  // Every chunk below the live ones has run once, and no other.
  void ExpectRunOnce() const {
    EXPECT_TRUE(in_order_);
    for (size_t p = 0; p < counts_.size(); ++p) {
      std::vector<int> once(counts_[p].runs.size());
      std::fill_n(once.begin(), counts_[p].expected, 1);
      EXPECT_EQ(Runs(p), once) << "phase " << p;
      EXPECT_EQ(Begins(p), counts_[p].has_begin ? 1 : 0) << "phase " << p;
    }
  }

 private:
  struct Counts {
    explicit Counts(int chunks) : runs(static_cast<size_t>(chunks)) {}
    std::deque<std::atomic<int>> runs;
    std::atomic<int> begins = 0, ends = 0;
    int expected = 0;
    bool has_begin = false;
  };
  std::deque<Counts> counts_;
  std::vector<Phase> phases_;
  std::atomic<bool> in_order_ = true;
};

std::vector<Phase> MergeAll(const std::deque<Part>& parts) {
  std::vector<std::vector<Phase>> lists;
  for (const Part& part : parts) lists.push_back(part.phases());
  std::vector<Phase> merged;
  MergePhases(std::move(lists), merged);
  return merged;
}

void RunPhases(std::vector<Phase> phases, int threads = 1) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 8);
  Team team({.threads = threads});
  team.Run(team.MakeSegment(std::move(phases)));
}

std::vector<int> ChunksOf(const std::vector<Phase>& phases) {
  std::vector<int> chunks;
  for (const Phase& phase : phases) chunks.push_back(phase.chunks);
  return chunks;
}

TEST(MergeTest, PhasesOfSeveralCallsRunSideBySide) {
  for (const int threads : {1, 4}) {
    std::deque<Part> parts(3);
    parts[0].Add(5).Add(7);
    parts[1].Add(1).Add(3, 2).Add(4);
    parts[2].Add(6, 6);
    const auto merged = MergeAll(parts);
    EXPECT_THAT(ChunksOf(merged), testing::ElementsAre(1, 5 + 3, 7 + 4 + 6));
    RunPhases(merged, threads);
    for (const Part& part : parts) part.ExpectRunOnce();
  }
}

TEST(MergeTest, PhasesWithoutLiveChunksAreSkipped) {
  for (const int live : {0, 1, 4}) {
    std::deque<Part> parts(3);
    parts[0].Add(4, live).Add(2);
    parts[1].Add(3, 0).Add(5, live);
    parts[2].Add(4, live).Add(1, 0);
    RunPhases(MergeAll(parts));
    for (const Part& part : parts) part.ExpectRunOnce();
  }
}

TEST(MergeTest, SmallPhasesBecomeOneChunk) {
  std::deque<Part> parts(3);
  parts[0].Add(1);
  parts[1].Add(1, 0);
  parts[2].Add(1, 1);
  const auto merged = MergeAll(parts);
  EXPECT_THAT(ChunksOf(merged), testing::ElementsAre(1));
  RunPhases(merged);
  for (const Part& part : parts) part.ExpectRunOnce();
}

TEST(MergeTest, PhasesOfMuchWorkStayApart) {
  std::deque<Part> parts(4);
  for (Part& part : parts) part.Add(8);
  std::vector<std::vector<Phase>> lists;
  for (const Part& part : parts) lists.push_back(part.phases());
  lists[1][0].work = int64_t{1} << 30;
  std::vector<Phase> merged;
  MergePhases(std::move(lists), merged);
  EXPECT_THAT(ChunksOf(merged), testing::ElementsAre(8, 8, 16));
  RunPhases(merged);
  for (const Part& part : parts) part.ExpectRunOnce();
}

TEST(MergeTest, WhatThePartsReadIsKnownOfTheWhole) {
  static constexpr std::array<std::byte, 64> kMemory = {};
  const auto reads = [](int chunk, int part) -> Stretch {
    return {kMemory.data() + chunk, part == 0 ? 1 + chunk : 0};
  };
  std::vector<std::vector<Phase>> lists(3);
  lists[0].push_back({.chunks = 3, .run = [](int) {}, .work = 5, .reads = reads});
  lists[1].push_back({.chunks = 1, .run = [](int) {}});
  lists[2].push_back({.chunks = 4, .run = [](int) {}, .work = 7, .reads = reads});
  std::vector<Phase> merged;
  MergePhases(std::move(lists), merged);
  ASSERT_EQ(merged.size(), 1u);
  std::vector<int64_t> bytes;
  for (int chunk = 0; chunk < 8; ++chunk) bytes.push_back(merged[0].reads(chunk, 0).bytes);
  EXPECT_THAT(bytes, testing::ElementsAre(1, 2, 3, 0, 1, 2, 3, 4));
  EXPECT_EQ(merged[0].reads(7, 1).bytes, 0);
  EXPECT_EQ(TotalWork(merged[0]), 3 * 5 + 1 + 4 * 7);
}

TEST(MergeTest, APartThatGoesBackRunsAfterTheOthersAndAlone) {
  for (const int threads : {1, 4}) {
    std::deque<Part> parts(3);
    parts[0].Add(3).Add(4);
    parts[1].Add(2).Add(5).GoBack(1, 3);
    parts[2].Add(6);
    const auto merged = MergeAll(parts);
    EXPECT_THAT(ChunksOf(merged), testing::ElementsAre(3, 4 + 6, 2, 5));
    EXPECT_EQ(merged.back().back, 1);
    RunPhases(merged, threads);
    parts[0].ExpectRunOnce();
    parts[2].ExpectRunOnce();
    EXPECT_EQ(parts[1].Runs(0), std::vector<int>(2, 4));
    EXPECT_EQ(parts[1].Runs(1), std::vector<int>(5, 4));
  }
}

TEST(MergeTest, PhasesThatTogetherAreTooManyChunksFollowEachOther) {
  std::deque<Part> parts(4);
  for (Part& part : parts) part.Add(kMaxChunks / 2).Add(kMaxChunks);
  const auto merged = MergeAll(parts);
  for (const int chunks : ChunksOf(merged)) EXPECT_LE(chunks, kMaxChunks);
  const auto chunks = ChunksOf(merged);
  EXPECT_EQ(std::ranges::count(chunks, kMaxChunks / 2 * 2), 2);
  EXPECT_EQ(std::ranges::count(chunks, kMaxChunks), 4);
  RunPhases(merged, 4);
  for (const Part& part : parts) part.ExpectRunOnce();
}

TEST(MergeTest, APreparedSegmentMayRunAgain) {
  std::deque<Part> parts(2);
  parts[0].Add(4, 3).Add(2);
  parts[1].Add(9);
  const auto merged = MergeAll(parts);
  for (int run = 0; run < 3; ++run) RunPhases(merged);
  EXPECT_EQ(parts[0].Runs(0), (std::vector<int>{3, 3, 3, 0}));
  EXPECT_EQ(parts[0].Begins(0), 3);
  EXPECT_EQ(parts[1].Runs(0), std::vector<int>(9, 3));
}

}  // namespace
}  // namespace tandem::cpu
