#include "backends/cuda/stream_plan.h"

#include <algorithm>

namespace tandem::cuda {

StreamPlan PlanStreams(const std::vector<Launch>& launches) {
  StreamPlan plan;
  plan.waits.resize(launches.size());
  plan.is_waited_for.resize(launches.size());
  for (size_t i = 0; i < launches.size(); ++i) {
    const std::vector<int>& after = launches[i].after;
    const auto follows = [&](int stream) {
      return std::ranges::find(after, plan.last[static_cast<size_t>(stream)]) != after.end();
    };
    const int stream = after.empty() || follows(0) ? 0 : 1;
    for (const int before : after) {
      if (plan.stream_of[static_cast<size_t>(before)] == stream) continue;
      plan.waits[i].push_back(before);
      plan.is_waited_for[static_cast<size_t>(before)] = true;
    }
    plan.stream_of.push_back(stream);
    plan.last[static_cast<size_t>(stream)] = static_cast<int>(i);
  }
  if (plan.last[1] >= 0) plan.is_waited_for[static_cast<size_t>(plan.last[1])] = true;
  return plan;
}

}  // namespace tandem::cuda
