#include "tools/bench/runner.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>

#include "backends/device/status.h"
#include "tools/machine/cache_folder.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kSeed = 1;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int32_t MostLikely(const std::vector<float>& logits) {
  // The largest value by a loop that compilers vectorise, then its place.
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> lanes;
  lanes.fill(-std::numeric_limits<float>::infinity());
  const size_t whole = logits.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] = std::max(lanes[j], logits[i + j]);
  }
  float largest = *std::ranges::max_element(lanes);
  for (size_t i = whole; i < logits.size(); ++i) largest = std::max(largest, logits[i]);
  const auto place = std::ranges::find(logits, largest);
  return place == logits.end() ? 0 : static_cast<int32_t>(place - logits.begin());
}

void AddTimes(const Work& work, double times, Work& sum) {
  sum.bytes += work.bytes * times;
  sum.flops += work.flops * times;
}

}  // namespace

EngineOptions BenchEngineOptions(const BenchSetting& setting, int64_t kq_limit) {
  EngineOptions options;
  options.devices = SplitDevices(setting.device);
  options.threads = setting.threads;
  options.kernel_cache = KernelCacheFolder();
  options.micro_batch = setting.micro_batch;
  options.kq_limit = kq_limit;
  options.kv_type = DTypeFromName(setting.kv_type).value_or(DType::kF16);
  return options;
}

absl::StatusOr<std::unique_ptr<BenchRunner>> BenchRunner::Open(std::shared_ptr<const Model> model,
                                                               const BenchRun& run,
                                                               int64_t kq_limit) {
  EngineOptions options = BenchEngineOptions(run.setting, kq_limit);
  options.context = run.context();
  options.max_sessions = run.parallel;
  TANDEM_ASSIGN_OR_RETURN(auto engine, Engine::Open(std::move(model), options));
  auto runner = std::unique_ptr<BenchRunner>(new BenchRunner(std::move(engine), kSeed));
  for (int64_t i = 0; i < run.parallel; ++i) {
    TANDEM_ASSIGN_OR_RETURN(auto session, runner->engine_->NewSession());
    runner->sessions_.push_back(std::move(session));
  }
  runner->logits_.resize(runner->sessions_.size());
  return runner;
}

absl::Status BenchRunner::Step(const std::vector<std::vector<int32_t>>& tokens) {
  std::vector<Turn> turns;
  for (size_t i = 0; i < sessions_.size(); ++i) {
    turns.push_back({sessions_[i].get(), tokens[i], &logits_[i]});
  }
  return Session::RunTogether(turns);
}

absl::Status BenchRunner::Fill(int64_t depth) {
  std::vector<std::vector<int32_t>> tokens;
  for (const auto& session : sessions_) {
    tokens.push_back(tokens_.Draw(depth - static_cast<int64_t>(session->history().size())));
  }
  return tokens.front().empty() ? absl::OkStatus() : Step(tokens);
}

absl::Status BenchRunner::Generate(const BenchTest& test, std::vector<std::vector<int32_t>> next) {
  for (int64_t i = 0; i < test.generated; ++i) {
    TANDEM_RETURN_IF_ERROR(Step(next));
    for (size_t s = 0; s < next.size(); ++s) next[s] = {MostLikely(logits_[s])};
  }
  return absl::OkStatus();
}

absl::StatusOr<double> BenchRunner::RunOnce(const BenchTest& test) {
  std::vector<std::vector<int32_t>> tokens;
  for (size_t i = 0; i < sessions_.size(); ++i) {
    tokens.push_back(tokens_.Draw(std::max<int64_t>(test.prompt, 1)));
  }
  const Clock::time_point start = Clock::now();
  TANDEM_RETURN_IF_ERROR(test.prompt > 0 ? Step(tokens) : Generate(test, std::move(tokens)));
  const double seconds = SecondsSince(start);
  for (const auto& session : sessions_) session->Truncate(test.depth);
  memory_ = Most(memory_, ReadProcessMemory());
  return seconds;
}

absl::StatusOr<Work> BenchRunner::WorkOf(const BenchTest& test) const {
  Work sum;
  if (test.prompt == 0) {
    // Every step is like the one in the middle.
    TANDEM_ASSIGN_OR_RETURN(const Work step,
                            engine_->WorkOfStep({.tokens = test.parallel,
                                                 .sequences = test.parallel,
                                                 .depth = test.depth + test.generated / 2}));
    AddTimes(step, static_cast<double>(test.generated), sum);
    return sum;
  }
  const int64_t micro_batch = engine_->options().micro_batch;
  for (int64_t done = 0; done < test.prompt; done += micro_batch) {
    const int64_t tokens = std::min(micro_batch, test.prompt - done);
    TANDEM_ASSIGN_OR_RETURN(const Work step,
                            engine_->WorkOfStep({.tokens = tokens,
                                                 .depth = test.depth + done,
                                                 .logits = done + tokens == test.prompt}));
    AddTimes(step, 1, sum);
  }
  return sum;
}

absl::StatusOr<std::vector<KernelTime>> BenchRunner::Profile(const BenchTest& test) {
  TANDEM_RETURN_IF_ERROR(Fill(test.depth));
  engine_->SetTiming(true);
  const absl::Status status = RunOnce(test).status();
  engine_->SetTiming(false);
  TANDEM_RETURN_IF_ERROR(status);
  return engine_->KernelTimes();
}

absl::StatusOr<Measured> BenchRunner::Measure(const BenchTest& test, const BenchRepeat& repeat) {
  TANDEM_RETURN_IF_ERROR(Fill(test.depth));
  Measured measured;
  TANDEM_ASSIGN_OR_RETURN(measured.work, WorkOf(test));
  TANDEM_RETURN_IF_ERROR(RunOnce(test).status());
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < repeat.repetitions; ++i) {
    if (i > 0 && repeat.most_seconds > 0 && SecondsSince(start) > repeat.most_seconds) break;
    TANDEM_ASSIGN_OR_RETURN(const double seconds, RunOnce(test));
    measured.seconds.push_back(seconds);
  }
  return measured;
}

}  // namespace tandem
