// What `tandem bench` measures: every test in every setting, grouped by the engine it needs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

// What was asked for; each list is combined with each other.
struct BenchRequest {
  std::vector<int64_t> prompts = {512, 2048};
  std::vector<int64_t> generations = {128};
  std::vector<int64_t> depths = {0, 4096, 16384};
  // Walk from 0 to the largest of `depths` in steps of the first prompt, instead of `depths` alone.
  bool sweep = false;
  std::vector<int64_t> parallel = {1};
  std::vector<std::string> devices = {"cpu"};  // "a+b" is one that runs on both, best first
  std::vector<int> threads = {0};              // 0: one for each core
  std::vector<int64_t> micro_batches = {2048};
  std::vector<std::string> kv_types = {"f16"};
};

// One thing to time: a prompt, or a generation.
struct BenchTest {
  int64_t prompt = 0;     // tokens; 0: a generation
  int64_t generated = 0;  // tokens of each session; 0: a prompt
  int64_t depth = 0;      // tokens in the cache of each session before
  int64_t parallel = 1;   // sessions
  bool operator==(const BenchTest&) const = default;

  int64_t context() const { return depth + prompt + generated; }  // tokens of a session at most
  int64_t tokens() const { return (prompt + generated) * parallel; }
  // "pp512", "tg128@d4096"
  std::string name() const;
};

struct BenchSetting {
  std::string device;
  int threads = 1;
  int64_t micro_batch = 2048;
  std::string kv_type;
  bool operator==(const BenchSetting&) const = default;
};

// The tests that one engine runs, by rising depth.
struct BenchRun {
  BenchSetting setting;
  int64_t parallel = 1;
  std::vector<BenchTest> tests;
  int64_t context() const;  // that the tests need
};

struct BenchPlan {
  std::vector<BenchRun> runs;
  std::vector<std::string> left_out;  // names of tests that the model's context is too short for
};

// Prompts are run by one session alone, generations by each number of `parallel`. Equal settings
// (threads beyond `cores`, or the one of the reference, which no device uses) are run once.
// InvalidArgument if no test is left.
absl::StatusOr<BenchPlan> PlanBench(const BenchRequest& request, int cores, int64_t model_context);

// The processor that a device runs on, by the name it was measured under: "cpu" for "cpu:avx2" and
// for the reference, which is one thread of it.
std::string ProcessorOf(const std::string& device);

// "cuda+cpu" as its parts.
std::vector<std::string> SplitDevices(const std::string& device);

}  // namespace tandem
