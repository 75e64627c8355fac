// Which launches run beside each other.
#pragma once

#include <array>
#include <vector>

#include "backends/cuda/launch.h"

namespace tandem::cuda {

// Each launch goes to one of two streams, and follows the ones before it there.
struct StreamPlan {
  std::vector<int> stream_of;
  std::vector<std::vector<int>> waits;  // launches of the other stream that a launch waits for
  std::vector<bool> is_waited_for;      // by a launch of the other stream, or by the end
  std::array<int, 2> last = {-1, -1};   // of each stream; -1: it has none
};

// A launch follows the one that it has to wait for; the second stream takes what can run beside the
// last launch of the first.
StreamPlan PlanStreams(const std::vector<Launch>& launches);

}  // namespace tandem::cuda
