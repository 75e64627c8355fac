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
class Segment {
 public:
  // `advanced` is called whenever there is something new to claim, or the run has ended.
  // `at_boundary`, which may be empty, is called with the slot of a thread before it claims.
  struct Hooks {
    std::function<void()> advanced;
    std::function<void(int slot)> at_boundary;
  };
  // `slots`: how many threads there may be; no more than a hint.
  Segment(std::vector<Phase> phases, int slots, Hooks hooks);

  // True if some phase has more than one chunk.
  bool parallel() const { return parallel_; }

  // Opens the first phase. The previous run must have ended.
  void Start();
  // Runs chunks of the current phase, and of those that follow, until none can be claimed. Starts
  // with the range of `slot`. True if it ran any.
  bool Help(int slot);
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
  void OpenFrom(int phase);
  void Publish(int phase, int chunks);

  const std::vector<Phase> phases_;
  const Hooks hooks_;
  std::vector<Cursor> cursors_;
  bool parallel_ = false;
  uint64_t tag_ = 0;  // of the opening thread, handed on through the counters
  alignas(64) std::atomic<int> current_ = 0;
  alignas(64) std::atomic<int> left_ = 0;  // chunks of the current phase that are not done
  std::atomic<bool> finished_ = true;
};

}  // namespace tandem::cpu
