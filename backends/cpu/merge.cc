#include "backends/cpu/merge.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

namespace tandem::cpu {
namespace {

bool GoesBack(const std::vector<Phase>& phases) {
  return std::ranges::any_of(phases, [](const Phase& phase) { return phase.again != nullptr; });
}

// Phases that run together: the chunks of the first, then those of the second, ...
struct Together {
  std::vector<Phase> phases;
  std::vector<int> ends;  // written by begin: where the chunks of each phase end

  int Begin() {
    int chunks = 0;
    for (size_t i = 0; i < phases.size(); ++i) {
      const Phase& phase = phases[i];
      chunks += phase.begin ? std::min(phase.begin(), phase.chunks) : phase.chunks;
      ends[i] = chunks;
    }
    return chunks;
  }
  void Run(int chunk) const {
    const size_t i = std::ranges::upper_bound(ends, chunk) - ends.begin();
    phases[i].run(i == 0 ? chunk : chunk - ends[i - 1]);
  }
};

// Small phases of one chunk each: one chunk in all, as handing them out costs more.
Phase InTurn(std::vector<Phase> phases) {
  return {.chunks = 1, .run = [phases = std::move(phases)](int) {
            for (const Phase& phase : phases) {
              if (!phase.begin || phase.begin() > 0) phase.run(0);
            }
          }};
}

Phase Merge(std::vector<Phase> phases) {
  if (phases.size() == 1) return std::move(phases.front());
  int chunks = 0;
  for (const Phase& phase : phases) chunks += phase.chunks;
  if (chunks == static_cast<int>(phases.size())) return InTurn(std::move(phases));
  const auto together = std::make_shared<Together>();
  together->ends.resize(phases.size());
  together->phases = std::move(phases);
  return {.chunks = chunks,
          .run = [together](int chunk) { together->Run(chunk); },
          .begin = [together] { return together->Begin(); }};
}

}  // namespace

void MergePhases(std::vector<std::vector<Phase>> parts, std::vector<Phase>& phases) {
  size_t longest = 0;
  for (const auto& part : parts) {
    if (!GoesBack(part)) longest = std::max(longest, part.size());
  }
  for (size_t i = 0; i < longest; ++i) {
    std::vector<Phase> together;
    int chunks = 0;
    for (auto& part : parts) {
      if (GoesBack(part) || i >= part.size()) continue;
      if (chunks + part[i].chunks > kMaxChunks) {
        phases.push_back(Merge(std::exchange(together, {})));
        chunks = 0;
      }
      chunks += part[i].chunks;
      together.push_back(part[i]);
    }
    phases.push_back(Merge(std::move(together)));
  }
  for (auto& part : parts) {
    if (GoesBack(part)) std::ranges::move(part, std::back_inserter(phases));
  }
}

}  // namespace tandem::cpu
