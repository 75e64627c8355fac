// One run of a list of phases by any number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "backends/cpu/phase.h"

namespace tandem::cpu {

// Phases run one after the other. The chunks of a phase are claimed from counters, one for each
// range of chunks, so that a thread finds the same weights in its cache step after step. The thread
// that finishes the last chunk of a phase opens the next one, and itself runs phases of one chunk:
// the segment waits for chunks that were claimed, never for a thread to arrive.
//
// A thread may call Help at any time, also long after the run that it meant to help has ended.
//
// A thread that finds nothing to claim may fetch what its ranges of the next phases will read into
// its cache, see FetchAhead. Nobody waits for that or relies on it.
class Segment {
 public:
  // What one thread has fetched ahead.
  class Ahead {
   public:
    explicit Ahead(const Segment& segment) : phases_(segment.phases_.size()) {}

   private:
    friend class Segment;
    // Up to where the range of a phase has been fetched.
    struct Progress {
      int chunk = 0, part = 0;
      int64_t bytes = 0;  // that have not been used yet
      bool known = false;
    };
    std::vector<Progress> phases_;
    int opened_ = -1;  // phase that the thread has seen open
    int next_ = 0;     // phase to fetch for
    int64_t bytes_ = 0;
    Stretch left_;     // of the part last asked for
    int left_of_ = 0;  // its phase
  };

  // `advanced` is called whenever there is something new to claim, or the run has ended.
  // `at_boundary`, which may be empty, is called with the slot of a thread before it claims.
  struct Hooks {
    std::function<void()> advanced;
    std::function<void(int slot)> at_boundary;
  };
  // No more than hints.
  struct Hints {
    int slots = 1;            // how many threads there may be
    int64_t ahead_bytes = 0;  // that a thread may fetch ahead
  };
  Segment(std::vector<Phase> phases, Hints hints, Hooks hooks);

  // True if some phase has more than one chunk.
  bool parallel() const { return parallel_; }

  // Opens the first phase. The previous run must have ended.
  void Start();
  // Runs chunks of the current phase, and of those that follow, until none can be claimed. Starts
  // with the range of `slot`. True if it ran any.
  bool Help(int slot);
  // Fetches a little of what `slot` will read in the phases to come, in less than a microsecond.
  // False if there is nothing to fetch before the next phase opens.
  bool FetchAhead(int slot, Ahead& ahead) const;
  // Nothing is left to do of the run that was started last.
  bool finished() const { return finished_.load(std::memory_order_acquire); }

 private:
  // Packs a tag that no two openings share, the next chunk to claim and the end of the range. The
  // tag makes a claim by a thread that was asleep since an earlier phase fail or be a true claim.
  struct alignas(64) Cursor {
    std::atomic<uint64_t> value = 0;
  };

  // Chunks that a thread takes at a time: a part of what is left of a range, so that the counters
  // that all threads share are seldom touched, down to one, so that the ends meet.
  struct Claimed {
    int first = 0, count = 0;
  };
  Claimed Claim(int slot);
  // The chunks that threads of a slot are to start with, of `chunks` in all.
  struct Range {
    int begin = 0, end = 0;
  };
  Range RangeOf(int phase, int chunks, int64_t slot) const;
  bool FindStretch(int slot, Ahead& ahead) const;
  void OpenFrom(int phase);
  void Publish(int phase, int chunks);

  const std::vector<Phase> phases_;
  // For phases with chunks of several kinds: where the ranges begin if all chunks run.
  std::vector<std::vector<int>> cuts_;
  const Hints hints_;
  const Hooks hooks_;
  std::vector<Cursor> cursors_;
  bool parallel_ = false;
  uint64_t tag_ = 0;  // of the opening thread, handed on through the counters
  alignas(64) std::atomic<int> current_ = -1;  // the last phase that was published, if any
  alignas(64) std::atomic<int> left_ = 0;      // chunks of the current phase that are not done
  std::atomic<bool> finished_ = true;
};

}  // namespace tandem::cpu
