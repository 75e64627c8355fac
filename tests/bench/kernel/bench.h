// What the benchmarks of single kernels have in common: ceilings, inputs that no cache holds, and
// figures.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/cpu/instruction_set.h"
#include "backends/device/program.h"
#include "benchmark/benchmark.h"
#include "tools/machine/machine.h"

namespace tandem::cpu {

// Measured once; benchmarks are registered with a reference to it, and run one after the other.
class Bench {
 public:
  explicit Bench(Processor ceilings) : ceilings_(std::move(ceilings)) {}

  int threads() const { return ceilings_.cores; }
  // The instruction sets that this processor has.
  std::vector<const InstructionSet*> sets() const;

  // What `threads` threads reach at best: bytes and operations a second. Operations on numbers of
  // `type` ("int8", "f32") by the vector instructions of a set.
  Work Ceiling(const InstructionSet& set, std::string_view type, int threads) const;

  // An object that is slow to make, kept until another key is asked for: Google Benchmark calls a
  // function several times until it knows how many iterations to run.
  template <typename T>
  T& Get(const std::string& key, const std::function<std::shared_ptr<T>()>& make) {
    if (key != key_) {
      kept_.reset();  // before the next one takes its memory
      kept_ = make();
      key_ = key;
    }
    return *static_cast<T*>(kept_.get());
  }

 private:
  Processor ceilings_;
  std::string key_;
  std::shared_ptr<void> kept_;
};

// At least this many bytes are read before any is read again: 4 times the last-level cache.
int64_t RotationBytes();

// Runs `body` for each iteration; gives the seconds that one took.
template <typename Body>
double SecondsOfIteration(benchmark::State& state, Body body) {
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) body();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return seconds.count() / static_cast<double>(state.iterations());
}

// Reports bytes and operations a second, and `share`: the least time that an iteration can take by
// the ceilings, as a part of the time that it took. The label is the ceiling that gives this time.
void Report(benchmark::State& state, double seconds, const Work& iteration, const Work& ceiling);

void RegisterProducts(Bench& bench);
void RegisterAttention(Bench& bench);
void RegisterExperts(Bench& bench);

}  // namespace tandem::cpu
