// Runs tests on an engine and takes their time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine.h"
#include "tools/bench/plan.h"
#include "tools/bench/tokens.h"
#include "tools/process_memory.h"

namespace tandem {

struct BenchRepeat {
  int repetitions = 3;
  // Repetitions of a test end early once this time is over, but there is at least one; 0: never.
  double most_seconds = 0;
};

struct Measured {
  std::vector<double> seconds;  // of each repetition
  Work work;                    // of one repetition
};

// Engine options of a setting; the KV type was checked before.
EngineOptions BenchEngineOptions(const BenchSetting& setting, int64_t kq_limit);

// All tests of one engine. Tokens are random, and other ones in each repetition; a generation goes
// on with the most likely token. The time of a prompt ends when the logits after its last token are
// on the host, that of a generation when those after each of its tokens were.
class BenchRunner {
 public:
  // Errors: as Engine::Open.
  static absl::StatusOr<std::unique_ptr<BenchRunner>> Open(std::shared_ptr<const Model> model,
                                                           const BenchRun& run, int64_t kq_limit);

  // Runs the test once without a clock, then with it. Tests must come by rising depth: what is in
  // the caches below the depth is kept, and what the test adds is forgotten.
  absl::StatusOr<Measured> Measure(const BenchTest& test, const BenchRepeat& repeat);

  // Runs the test once more, kernel by kernel; empty if the devices cannot time kernels.
  absl::StatusOr<std::vector<KernelTime>> Profile(const BenchTest& test);

  const Engine& engine() const { return *engine_; }
  // Most that was seen after any repetition.
  const ProcessMemory& memory() const { return memory_; }

 private:
  BenchRunner(std::shared_ptr<Engine> engine, uint64_t seed)
      : engine_(std::move(engine)), tokens_(engine_->model().config().vocab, seed) {}

  absl::Status Fill(int64_t depth);
  absl::StatusOr<double> RunOnce(const BenchTest& test);
  absl::Status Generate(const BenchTest& test, std::vector<std::vector<int32_t>> next);
  absl::StatusOr<Work> WorkOf(const BenchTest& test) const;
  // Each session goes on with its tokens; logits_ has what follows.
  absl::Status Step(const std::vector<std::vector<int32_t>>& tokens);

  std::shared_ptr<Engine> engine_;
  TokenSource tokens_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::vector<std::vector<float>> logits_;  // of each session
  ProcessMemory memory_;
};

}  // namespace tandem
