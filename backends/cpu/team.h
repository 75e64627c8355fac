// The threads of a CPU device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "backends/cpu/segment.h"

namespace tandem::cpu {

struct TeamOptions {
  int threads = 1;                            // most threads, the calling one included
  int64_t ahead_bytes = 0;                    // see Segment::Hints
  std::function<void(int slot)> at_boundary;  // see Segment::Hooks
};

// Runs segments. A thread that calls Run works on its segment until it is finished; the other
// threads of the team come to help, and stay a while for the next one.
class Team {
 public:
  explicit Team(TeamOptions options);
  ~Team();  // waits until no helper is at work
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // As asked for, or fewer if oneTBB is limited to fewer: by default, one for each core.
  int threads() const;
  // A segment that this team can run.
  std::shared_ptr<Segment> MakeSegment(std::vector<Phase> phases) const;
  // Returns when the segment is finished. Any number of threads may run segments, but each segment
  // is run by one of them at a time.
  void Run(const std::shared_ptr<Segment>& segment);

 private:
  class State;  // outlives the team in the hands of helpers
  std::shared_ptr<State> state_;
};

}  // namespace tandem::cpu
