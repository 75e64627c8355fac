#include "tools/bench/plan.h"

#include <algorithm>

#include "absl/strings/str_split.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

std::vector<int64_t> Depths(const BenchRequest& request) {
  std::vector<int64_t> depths = request.depths;
  if (request.sweep && !depths.empty()) {
    const int64_t last = *std::ranges::max_element(depths), step = request.prompts.front();
    depths.clear();
    for (int64_t depth = 0; depth <= last; depth += step) depths.push_back(depth);
  }
  std::ranges::sort(depths);
  depths.erase(std::ranges::unique(depths).begin(), depths.end());
  return depths;
}

// The tests of one number of sessions.
std::vector<BenchTest> TestsOf(const BenchRequest& request, int64_t parallel, bool prompts) {
  std::vector<BenchTest> tests;
  for (const int64_t depth : Depths(request)) {
    for (const int64_t prompt : request.prompts) {
      if (!prompts || (request.sweep && prompt != request.prompts.front())) continue;
      tests.push_back({.prompt = prompt, .depth = depth});
    }
    for (const int64_t generated : request.generations) {
      tests.push_back({.generated = generated, .depth = depth, .parallel = parallel});
    }
  }
  std::erase_if(tests, [](const BenchTest& test) { return test.tokens() == 0; });
  return tests;
}

std::vector<BenchSetting> Settings(const BenchRequest& request, int cores) {
  std::vector<BenchSetting> settings;
  for (const std::string& device : request.devices) {
    for (const int asked : request.threads) {
      const int most = device == "reference" ? 1 : cores;
      const int threads = asked == 0 ? most : std::min(asked, most);
      for (const int64_t micro_batch : request.micro_batches) {
        for (const std::string& kv_type : request.kv_types) {
          const BenchSetting setting = {device, threads, micro_batch, kv_type};
          if (std::ranges::find(settings, setting) == settings.end()) settings.push_back(setting);
        }
      }
    }
  }
  return settings;
}

// Takes the tests that do not fit out of `tests` and adds their names to `left_out`.
void LeaveOut(int64_t context, std::vector<BenchTest>& tests, std::vector<std::string>& left_out) {
  for (const BenchTest& test : tests) {
    if (test.context() <= context) continue;
    if (std::ranges::find(left_out, test.name()) == left_out.end()) left_out.push_back(test.name());
  }
  std::erase_if(tests, [context](const BenchTest& test) { return test.context() > context; });
}

}  // namespace

std::string BenchTest::name() const {
  std::string name = prompt > 0 ? absl::StrCat("pp", prompt) : absl::StrCat("tg", generated);
  if (depth > 0) absl::StrAppend(&name, "@d", depth);
  return name;
}

int64_t BenchRun::context() const {
  int64_t context = 0;
  for (const BenchTest& test : tests) context = std::max(context, test.context());
  return context;
}

absl::StatusOr<BenchPlan> PlanBench(const BenchRequest& request, int cores, int64_t model_context) {
  if (request.sweep && (request.prompts.empty() || request.prompts.front() < 1)) {
    return absl::InvalidArgumentError("a sweep needs a prompt, whose tokens are its steps");
  }
  std::vector<int64_t> parallel = request.parallel;
  // Prompts need an engine of one session, whether generations want one or not.
  const bool alone = std::ranges::find(parallel, 1) != parallel.end();
  if (!alone) parallel.insert(parallel.begin(), 1);
  BenchPlan plan;
  for (const BenchSetting& setting : Settings(request, cores)) {
    for (const int64_t sessions : parallel) {
      BenchRun run = {setting, sessions, TestsOf(request, sessions, sessions == 1)};
      if (sessions == 1 && !alone) {
        std::erase_if(run.tests, [](const BenchTest& test) { return test.generated > 0; });
      }
      LeaveOut(model_context, run.tests, plan.left_out);
      if (!run.tests.empty()) plan.runs.push_back(std::move(run));
    }
  }
  if (!plan.runs.empty()) return plan;
  return absl::InvalidArgumentError(
      plan.left_out.empty() ? "there is nothing to measure: neither prompts nor generations"
                            : absl::StrCat("the model's context of ", model_context,
                                           " tokens is too short for all tests"));
}

std::string ProcessorOf(const std::string& device) {
  return device == "reference" || device.starts_with("cpu:") ? "cpu" : device;
}

std::vector<std::string> SplitDevices(const std::string& device) {
  return absl::StrSplit(device, '+');
}

}  // namespace tandem
