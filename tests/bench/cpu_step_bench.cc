// Time of one step of a 44M-parameter model of DeepSeek's kind on the CPU.
#include "backends/cpu/cpu_device.h"
#include "benchmark/benchmark.h"
#include "tests/backends/cpu/step.h"

namespace tandem::cpu {
namespace {

// Arguments: threads, tokens of the step, keys of the sequence.
void RunSteps(benchmark::State& state) {
  const auto device = CreateCpuDevice({.threads = static_cast<int>(state.range(0))});
  if (!device.ok()) return state.SkipWithError(std::string(device.status().message()).c_str());
  Step step(**device, {.layers = 6,
                       .embed = 512,
                       .heads = 8,
                       .words = 4096,
                       .plain = 64,
                       .rotated = 32,
                       .latent = 128,
                       .value = 64,
                       .experts = 16,
                       .used = 4,
                       .hidden = 256,
                       .shared = 256,
                       .tokens = state.range(1),
                       .live_tokens = state.range(1),
                       .keys = state.range(2)});
  const auto stream = *(*device)->CreateStream();
  auto executable = (*device)->Prepare(step.program());
  if (!executable.ok())
    return state.SkipWithError(std::string(executable.status().message()).c_str());
  for (auto _ : state) {
    if (!(*executable)->Run(*stream).ok()) return state.SkipWithError("run failed");
  }
  state.counters["calls"] = static_cast<double>(step.program().calls.size());
  state.counters["tokens/s"] = benchmark::Counter(
      static_cast<double>(state.iterations() * state.range(1)), benchmark::Counter::kIsRate);
}
BENCHMARK(RunSteps)
    ->UseRealTime()
    ->ArgsProduct({{1, 2}, {1, 8, 128}, {256}})
    ->Args({1, 1, 4096})
    ->Args({2, 1, 4096})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tandem::cpu
