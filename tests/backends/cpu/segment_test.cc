// What threads fetch ahead, and how chunks of several kinds are shared out.
#include "backends/cpu/segment.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cpu {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kPartBytes = 1000;
std::array<std::byte, kPartBytes> memory;

using Asked = std::tuple<int, int, int>;  // phase, chunk, part

// Phases of chunks that read `parts` parts each; a phase without parts has no reads.
class AheadTest : public testing::Test {
 protected:
  void AddPhase(int chunks, int parts) {
    const int number = static_cast<int>(phases_.size());
    Phase phase = {.chunks = chunks, .run = [](int) {}};
    if (parts > 0) {
      phase.reads = [this, number, parts](int chunk, int part) -> Stretch {
        if (part >= parts || unknown_[number]) return {};
        asked_.emplace_back(number, chunk, part);
        return {memory.data(), kPartBytes};
      };
    }
    phases_.push_back(std::move(phase));
  }
  Segment MakeSegment(int slots, int64_t ahead_bytes) {
    return Segment(phases_, {.slots = slots, .ahead_bytes = ahead_bytes},
                   {.advanced = [] {}, .at_boundary = {}});
  }
  // What is asked for until there is nothing left to fetch.
  std::vector<Asked> Fetch(const Segment& segment, int slot, Segment::Ahead& ahead) {
    asked_.clear();
    while (segment.FetchAhead(slot, ahead)) {
    }
    return asked_;
  }

  std::vector<Phase> phases_;
  std::map<int, bool> unknown_;

 private:
  std::vector<Asked> asked_;
};

TEST_F(AheadTest, FetchesTheOwnRangesOfTheNextPhasesInOrder) {
  AddPhase(4, 1);
  AddPhase(4, 0);
  AddPhase(6, 2);
  const Segment segment = MakeSegment(2, 1 << 20);
  Segment::Ahead ahead(segment);
  EXPECT_THAT(Fetch(segment, 1, ahead),
              ElementsAre(Asked(0, 2, 0), Asked(0, 3, 0), Asked(2, 3, 0), Asked(2, 3, 1),
                          Asked(2, 4, 0), Asked(2, 4, 1), Asked(2, 5, 0), Asked(2, 5, 1)));
  EXPECT_THAT(Fetch(segment, 1, ahead), IsEmpty());
}

TEST_F(AheadTest, NothingIsFetchedForPhasesThatAreOpenOrOver) {
  AddPhase(2, 1);
  AddPhase(2, 1);
  Segment segment = MakeSegment(1, 1 << 20);
  segment.Start();
  Segment::Ahead ahead(segment);
  EXPECT_THAT(Fetch(segment, 0, ahead), ElementsAre(Asked(1, 0, 0), Asked(1, 1, 0)));
  segment.Help(0);
  EXPECT_TRUE(segment.finished());
  Segment::Ahead late(segment);
  EXPECT_THAT(Fetch(segment, 0, late), IsEmpty());
}

TEST_F(AheadTest, WhatHasNotBeenUsedIsLimited) {
  for (int i = 0; i < 4; ++i) AddPhase(2, 1);
  // The last chunk of each phase opens the next one, which is then looked at from inside.
  Segment* opened = nullptr;
  std::vector<std::vector<Asked>> seen;
  Segment::Ahead* ahead = nullptr;
  for (Phase& phase : phases_) {
    phase.run = [&](int chunk) {
      if (chunk == 0) seen.push_back(Fetch(*opened, 0, *ahead));
    };
  }
  Segment segment = MakeSegment(1, 2 * kPartBytes);
  Segment::Ahead of_all(segment);
  opened = &segment;
  ahead = &of_all;
  segment.Start();
  segment.Help(0);
  // Two parts at a time: those of a phase count no longer once it is open.
  EXPECT_THAT(seen, ElementsAre(ElementsAre(Asked(1, 0, 0), Asked(1, 1, 0)),
                                ElementsAre(Asked(2, 0, 0), Asked(2, 1, 0)),
                                ElementsAre(Asked(3, 0, 0), Asked(3, 1, 0)), IsEmpty()));
}

TEST_F(AheadTest, WhatWasNotKnownIsFetchedWhenAnotherPhaseHasOpened) {
  AddPhase(2, 1);
  AddPhase(2, 0);
  AddPhase(2, 1);
  AddPhase(2, 1);
  unknown_[2] = true;
  Segment* opened = nullptr;
  std::vector<Asked> then;
  Segment::Ahead* ahead = nullptr;
  phases_[1].run = [&](int chunk) {
    if (chunk == 0) then = Fetch(*opened, 0, *ahead);
  };
  Segment segment = MakeSegment(1, 1 << 20);
  Segment::Ahead of_all(segment);
  opened = &segment;
  ahead = &of_all;
  segment.Start();
  EXPECT_THAT(Fetch(segment, 0, of_all), ElementsAre(Asked(3, 0, 0), Asked(3, 1, 0)));
  unknown_[2] = false;
  segment.Help(0);
  EXPECT_THAT(then, ElementsAre(Asked(2, 0, 0), Asked(2, 1, 0)));
}

TEST_F(AheadTest, NothingIsFetchedWithoutRoom) {
  AddPhase(2, 1);
  const Segment segment = MakeSegment(1, 0);
  Segment::Ahead ahead(segment);
  EXPECT_THAT(Fetch(segment, 0, ahead), IsEmpty());
}

TEST_F(AheadTest, RangesOfChunksOfSeveralKindsAreAboutTheSameWork) {
  const std::vector<AlikeChunks> kinds = {{1, 1}, {16, 300}, {0, 5}, {40, 20}, {3, 100}};
  AddPhase(60, 1);
  phases_[0].kinds = kinds;
  std::vector<int64_t> work_of;
  for (const AlikeChunks& kind : kinds) work_of.insert(work_of.end(), kind.chunks, kind.work);
  for (const int slots : {1, 2, 7, 16, 100}) {
    const Segment segment = MakeSegment(slots, 1 << 20);
    int next = 0;
    for (int slot = 0; slot < slots; ++slot) {
      Segment::Ahead ahead(segment);
      int64_t work = 0;
      for (const auto& [phase, chunk, part] : Fetch(segment, slot, ahead)) {
        EXPECT_EQ(chunk, next++);
        work += work_of[static_cast<size_t>(chunk)];
      }
      EXPECT_LE(work, TotalWork(phases_[0]) / slots + 300);
    }
    EXPECT_EQ(next, 60);
  }
}

TEST_F(AheadTest, EveryChunkOfSeveralKindsRunsOnce) {
  std::vector<int> runs(60);
  phases_.push_back({.chunks = 60,
                     .run = [&](int chunk) { ++runs[static_cast<size_t>(chunk)]; },
                     .kinds = {{4, 1000}, {56, 1}}});
  for (const int slots : {1, 3, 16}) {
    Segment segment = MakeSegment(slots, 0);
    std::ranges::fill(runs, 0);
    segment.Start();
    segment.Help(slots - 1);
    EXPECT_TRUE(segment.finished());
    EXPECT_EQ(runs, std::vector<int>(60, 1));
  }
}

}  // namespace
}  // namespace tandem::cpu
