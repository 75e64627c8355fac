#include "tests/bench/kernel/bench.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "tools/machine/cpu.h"

namespace tandem::cpu {
namespace {

// How the ceilings call the instructions of a set; empty, which all names begin with, for a set
// that has the best of them.
std::string_view CeilingName(const InstructionSet& set) {
  if (set.name == "avx2") return "AVX2";
  if (set.name == "avx512") return "AVX-512";
  return "";
}

}  // namespace

std::vector<const InstructionSet*> Bench::sets() const {
  std::vector<const InstructionSet*> sets;
  for (const InstructionSet& set : InstructionSets()) {
    if (set.is_present()) sets.push_back(&set);
  }
  return sets;
}

Work Bench::Ceiling(const InstructionSet& set, std::string_view type, int threads) const {
  Processor only = ceilings_;
  std::erase_if(only.multiply, [&set](const MultiplyRate& rate) {
    return !rate.instructions.starts_with(CeilingName(set));
  });
  return {ReadCeiling(only, threads), MultiplyCeiling(only, type, threads)};
}

int64_t RotationBytes() { return 4 * LastLevelCacheBytes(); }

void Report(benchmark::State& state, double seconds, const Work& iteration, const Work& ceiling) {
  const double reading = iteration.bytes / ceiling.bytes;
  const double computing = iteration.flops / ceiling.flops;
  state.counters["GB/s"] = iteration.bytes / 1e9 / seconds;
  state.counters["GOP/s"] = iteration.flops / 1e9 / seconds;
  state.counters["share"] = std::max(reading, computing) / seconds;
  state.SetLabel(reading > computing
                     ? absl::StrFormat("memory %.1f GB/s", ceiling.bytes / 1e9)
                     : absl::StrFormat("arithmetic %.0f GOP/s", ceiling.flops / 1e9));
}

}  // namespace tandem::cpu
