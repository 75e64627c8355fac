#include "backends/cpu/team.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tandem::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// A chain of phases, each of which reads what the whole phase before it wrote: value[i] of phase p
// is 1 + the sum of the values of phase p - 1, modulo a prime. A chunk that starts too early, is
// lost or runs twice changes the last values.
class Chain {
 public:
  Chain(int phases, int chunks) : counts_(phases), values_(phases, std::vector<uint64_t>(chunks)) {
    for (auto& count : counts_) count = 0;
  }

  std::vector<Phase> Phases() {
    std::vector<Phase> phases;
    for (size_t p = 0; p < values_.size(); ++p) {
      // Every third phase has a single chunk.
      const int chunks = p % 3 == 2 ? 1 : static_cast<int>(values_[p].size());
      phases.push_back({.chunks = chunks, .run = [this, p](int chunk) { RunChunk(p, chunk); }});
      // What some phases read is known late. Helpers may ask when the chain is gone.
      phases.back().reads = [p, latest = latest_, values = values_[p].data()](int chunk, int part) {
        const bool known = p % 4 != 3 || *latest + 1 >= static_cast<int>(p);
        if (part > 0 || !known) return Stretch();
        return Stretch{reinterpret_cast<const std::byte*>(values + chunk), sizeof(uint64_t)};
      };
    }
    return phases;
  }

  void Reset() {
    for (auto& count : counts_) count = 0;
    *latest_ = -1;
    for (auto& values : values_) std::ranges::fill(values, 0);
  }

  std::vector<uint64_t> Result() const { return values_.back(); }

 private:
  void RunChunk(size_t p, int chunk) {
    *latest_ = static_cast<int>(p);
    uint64_t sum = 1 + static_cast<uint64_t>(chunk);
    if (p > 0) {
      for (const uint64_t v : values_[p - 1]) sum += v;
    }
    values_[p][chunk] += sum % 1000003;
    counts_[p].fetch_add(1, std::memory_order_relaxed);
  }

  const std::shared_ptr<std::atomic<int>> latest_ = std::make_shared<std::atomic<int>>(-1);
  std::vector<std::atomic<int>> counts_;
  std::vector<std::vector<uint64_t>> values_;
};

std::vector<uint64_t> RunChain(Team& team, int phases, int chunks, int runs) {
  Chain chain(phases, chunks);
  const auto segment = team.MakeSegment(chain.Phases());
  for (int i = 0; i < runs; ++i) {
    chain.Reset();
    team.Run(segment);
  }
  return chain.Result();
}

TEST(TeamTest, RunsEveryChunkOnceAndInOrderOfPhases) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 8);
  Team alone({.threads = 1});
  const std::vector<uint64_t> expected = RunChain(alone, 50, 13, 1);
  for (const int threads : {2, 3, 8}) {
    Team team({.threads = threads});
    EXPECT_EQ(RunChain(team, 50, 13, 200), expected) << threads << " threads";
  }
}

TEST(TeamTest, FetchingAheadChangesNothing) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 8);
  Team alone({.threads = 1});
  const std::vector<uint64_t> expected = RunChain(alone, 50, 13, 1);
  for (const int threads : {2, 8}) {
    for (const int64_t bytes : {1, 50, 1 << 20}) {
      Team team({.threads = threads, .ahead_bytes = bytes});
      EXPECT_EQ(RunChain(team, 50, 13, 100), expected) << threads << " threads, " << bytes;
    }
  }
}

TEST(TeamTest, AThreadThatWaitsFetchesAhead) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 2);
  // The only chunk of the first phase ends when another thread has asked what the second one reads.
  std::atomic<bool> asked = false;
  Team team({.threads = 2, .ahead_bytes = 1 << 20});
  std::vector<Phase> phases;
  phases.push_back({.chunks = 1, .run = [&asked](int) {
                      const auto end = Clock::now() + std::chrono::seconds(10);
                      while (!asked && Clock::now() < end) std::this_thread::yield();
                    }});
  phases.push_back({.chunks = 2, .run = [](int) {}});
  phases.back().reads = [&asked](int, int) -> Stretch {
    asked = true;
    return {};
  };
  const auto segment = team.MakeSegment(std::move(phases));
  const auto start = Clock::now();
  team.Run(segment);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(10));
}

TEST(TeamTest, CallerFinishesAloneWhenTheArenaGetsNoThreads) {
  const tbb::global_control many(tbb::global_control::max_allowed_parallelism, 16);
  Team alone({.threads = 1});
  Team team({.threads = 16});
  EXPECT_EQ(team.threads(), 16);
  const std::vector<uint64_t> expected = RunChain(alone, 30, 40, 1);
  const tbb::global_control one(tbb::global_control::max_allowed_parallelism, 1);
  EXPECT_EQ(RunChain(team, 30, 40, 100), expected);
}

TEST(TeamTest, TakesNoMoreThreadsThanThereAre) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 3);
  EXPECT_EQ(Team({.threads = 16}).threads(), 3);
  EXPECT_EQ(Team({.threads = 2}).threads(), 2);
}

TEST(TeamTest, SegmentsOfManyCallersRunSideBySide) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 4);
  Team alone({.threads = 1});
  const std::vector<uint64_t> expected = RunChain(alone, 20, 9, 1);
  Team team({.threads = 4});
  std::vector<std::vector<uint64_t>> results(8);
  std::vector<std::thread> callers;
  for (auto& result : results) {
    callers.emplace_back([&team, &result] { result = RunChain(team, 20, 9, 100); });
  }
  for (std::thread& caller : callers) caller.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(TeamTest, ThreadAsleepBetweenChunksHoldsNobodyUp) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 4);
  // The first helper that comes sleeps for a second where it is about to claim a chunk; it wakes
  // in the middle of a later run, when what it saw has long been over.
  std::atomic<bool> asleep = false, awake = false;
  Team team({.threads = 4, .at_boundary = [&](int slot) {
               if (slot == 0 || asleep.exchange(true)) return;
               std::this_thread::sleep_for(std::chrono::seconds(1));
               awake = true;
             }});
  Team alone({.threads = 1});
  const std::vector<uint64_t> expected = RunChain(alone, 20, 12, 1);
  while (!asleep) RunChain(team, 20, 12, 1);
  const auto start = Clock::now();
  EXPECT_EQ(RunChain(team, 20, 12, 20), expected);
  EXPECT_LT(Clock::now() - start, std::chrono::milliseconds(900));
  while (!awake) EXPECT_EQ(RunChain(team, 20, 12, 1), expected);
  EXPECT_EQ(RunChain(team, 20, 12, 100), expected);
}

TEST(TeamTest, PhasesRepeatAndBeginCountsChunks) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 4);
  Team team({.threads = 4});
  int round = 0;
  std::atomic<int> ran = 0, after = 0;
  std::vector<Phase> phases;
  phases.push_back({.chunks = 1, .run = [&](int) { round = 0; }});
  phases.push_back(
      {.chunks = 10, .run = [&](int) { ran.fetch_add(1); }, .begin = [&] { return 2 + round; }});
  phases.push_back({.chunks = 5,
                    .run = [&](int) { after.fetch_add(1); },
                    .begin = [] { return 0; },
                    .again = [&] { return ++round < 4; },
                    .back = 1});
  const auto segment = team.MakeSegment(std::move(phases));
  for (int i = 1; i <= 50; ++i) {
    team.Run(segment);
    ASSERT_EQ(ran, i * (2 + 3 + 4 + 5));
  }
  EXPECT_EQ(after, 0);
}

TEST(TeamTest, HelpersStayThroughALongPhaseOfOneChunk) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 2);
  Team team({.threads = 2});
  // Both chunks of the second phase end when both have begun, which takes two threads.
  std::atomic<int> begun = 0;
  std::vector<Phase> phases;
  phases.push_back({.chunks = 1, .run = [](int) {
                      std::this_thread::sleep_for(std::chrono::milliseconds(100));
                    }});
  phases.push_back({.chunks = 2, .run = [&begun](int) {
                      begun.fetch_add(1);
                      const auto end = Clock::now() + std::chrono::seconds(10);
                      while (begun < 2 && Clock::now() < end) std::this_thread::yield();
                    }});
  const auto segment = team.MakeSegment(std::move(phases));
  const auto start = Clock::now();
  team.Run(segment);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(10));
}

TEST(TeamTest, EmptySegmentEnds) {
  Team team({.threads = 2});
  const auto segment = team.MakeSegment({});
  team.Run(segment);
  EXPECT_TRUE(segment->finished());
}

}  // namespace
}  // namespace tandem::cpu
