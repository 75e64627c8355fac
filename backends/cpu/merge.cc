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

constexpr int64_t kMuchWork = int64_t{1} << 30;  // of a phase: a millisecond of several threads

// Phases that run together: the chunks of the first, then those of the second, ...
struct Together {
  std::vector<Phase> phases;
  std::vector<int> most;  // where the chunks of each phase end if all of them run
  std::vector<int> ends;  // where they end now; written by begin

  explicit Together(std::vector<Phase> all) : phases(std::move(all)) {
    int chunks = 0;
    for (const Phase& phase : phases) most.push_back(chunks += phase.chunks);
    ends = most;
  }

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
    const auto [phase, first] = Find(ends, chunk);
    phase->run(chunk - first);
  }
  void RunSeveral(int chunk, int count) const {
    for (const int end = chunk + count; chunk < end;) {
      const auto [phase, first] = Find(ends, chunk);
      const int last = std::min(end, ends[phase - phases.data()]);
      RunChunks(*phase, chunk - first, last - chunk);
      chunk = last;
    }
  }
  Stretch Reads(int chunk, int part) const {
    const auto [phase, first] = Find(most, chunk);
    return phase->reads ? phase->reads(chunk - first, part) : Stretch();
  }

  struct Place {
    const Phase* phase;
    int first;  // chunk of the phase
  };
  Place Find(const std::vector<int>& at, int chunk) const {
    const size_t i = std::ranges::upper_bound(at, chunk) - at.begin();
    return {&phases[i], i == 0 ? 0 : at[i - 1]};
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
  Phase merged = {.chunks = 0};
  for (const Phase& phase : phases) {
    merged.chunks += phase.chunks;
    merged.kinds.push_back({phase.chunks, std::max<int64_t>(phase.work, 1)});
  }
  if (merged.chunks == static_cast<int>(phases.size())) return InTurn(std::move(phases));
  const bool reads = std::ranges::any_of(phases, [](const Phase& p) { return p.reads != nullptr; });
  const auto together = std::make_shared<Together>(std::move(phases));
  merged.begin = [together] { return together->Begin(); };
  merged.run = [together](int chunk) { together->Run(chunk); };
  merged.run_several = [together](int first, int count) { together->RunSeveral(first, count); };
  if (reads) merged.reads = [together](int chunk, int p) { return together->Reads(chunk, p); };
  return merged;
}

// Whether a phase is to run together with others that have `chunks` chunks.
bool Fits(const Phase& phase, int chunks) {
  return chunks + phase.chunks <= kMaxChunks && TotalWork(phase) < kMuchWork;
}

}  // namespace

void MergePhases(std::vector<std::vector<Phase>> parts, std::vector<Phase>& phases) {
  size_t longest = 0;
  for (const auto& part : parts) {
    if (!GoesBack(part)) longest = std::max(longest, part.size());
  }
  for (size_t left = longest; left > 0; --left) {
    std::vector<Phase> together;
    int chunks = 0;
    const auto end = [&] {
      if (!together.empty()) phases.push_back(Merge(std::exchange(together, {})));
      chunks = 0;
    };
    for (auto& part : parts) {
      if (GoesBack(part) || left > part.size()) continue;
      Phase& phase = part[part.size() - left];
      if (!Fits(phase, chunks)) end();
      chunks += phase.chunks;
      together.push_back(phase);
      if (!Fits(phase, 0)) end();
    }
    end();
  }
  for (auto& part : parts) {
    if (GoesBack(part)) std::ranges::move(part, std::back_inserter(phases));
  }
}

}  // namespace tandem::cpu
