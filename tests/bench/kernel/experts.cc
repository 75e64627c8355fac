// The experts of a layer of DeepSeek-V2-Lite on all threads.
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "tests/bench/kernel/bench.h"
#include "tests/bench/kernel/device_call.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kExperts = 64, kUsed = 6, kEmbed = 2048, kHidden = 1408;

class ExpertsCall {
 public:
  ExpertsCall(const InstructionSet& set, int threads, DType type, int64_t tokens)
      : call_(set, threads), ids_(call_.Allocate(DType::kI32, {tokens, kUsed})) {
    const Shape in = {kExperts, kHidden, kEmbed}, out = {kExperts, kEmbed, kHidden};
    const ExpertsArgs args = {.x = call_.Random(DType::kF32, {tokens, kEmbed}, 1.0),
                              .ids = ids_,
                              .weights = call_.Random(DType::kF32, {tokens, kUsed}, 0.2),
                              .gate = call_.Weight(type, in, 0.02),
                              .up = call_.Weight(type, in, 0.02),
                              .down = call_.Weight(type, out, 0.02),
                              .out = call_.F32({tokens, kEmbed})};
    if (call_.status().ok()) Turn();
    call_.Prepare(args);
  }

  // Goes on to other experts: those of one token are back after all others have been read. Tokens
  // differ in the first of their experts and in the distance to the next ones; odd distances reach
  // each of the 64 once.
  void Turn() {
    for (int64_t t = 0; t < ids_.dim(0); ++t) {
      const int64_t distance = 2 * (t % 32) + 1;
      for (int64_t k = 0; k < kUsed; ++k) {
        const int64_t id = first_ + 37 * t + k * distance;
        ids_.row<int32_t>(t)[k] = static_cast<int32_t>(id % kExperts);
      }
    }
    first_ = (first_ + kUsed) % kExperts;
  }
  DeviceCall& call() { return call_; }

 private:
  DeviceCall call_;
  TensorView ids_;
  int64_t first_ = 0;
};

void RunExperts(benchmark::State& state, Bench& bench, const InstructionSet& set, DType type) {
  const int64_t tokens = state.range(0);
  const std::string key =
      absl::StrCat("experts ", Text(set.name), " ", Text(DTypeName(type)), " ", tokens);
  auto& experts = bench.Get<ExpertsCall>(
      key, [&] { return std::make_shared<ExpertsCall>(set, bench.threads(), type, tokens); });
  DeviceCall& call = experts.call();
  const double seconds = SecondsOfIteration(state, [&] {
    experts.Turn();
    call.Run();
  });
  if (!call.status().ok()) {
    return state.SkipWithError(std::string(call.status().message()).c_str());
  }
  state.counters["tokens/s"] = static_cast<double>(tokens) / seconds;
  Report(state, seconds, WorkOf(call.args(), 0), bench.Ceiling(set, "int8", bench.threads()));
}

}  // namespace

void RegisterExperts(Bench& bench) {
  for (const DType type : {DType::kIQ4_NL, DType::kQ8_0}) {
    for (const InstructionSet* set : bench.sets()) {
      benchmark::RegisterBenchmark(
          absl::StrCat("experts/", Text(DTypeName(type)), "/", Text(set->name)).c_str(),
          [&bench, set, type](benchmark::State& state) { RunExperts(state, bench, *set, type); })
          ->ArgName("T")
          ->Arg(1)
          ->Arg(32)
          ->Arg(512)
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

}  // namespace tandem::cpu
