// What `tandem bench` is asked for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/bench/plan.h"
#include "tools/bench/runner.h"

namespace CLI {
class App;
}

namespace tandem {

struct BenchFlags {
  std::string model;                                  // "": the one that comes along
  std::string synthetic;                              // "CONFIG.json:TYPE" instead of a model
  int64_t layers = 0;                                 // of a synthetic model; 0: all
  std::vector<int64_t> prompts, generations, depths;  // empty: as ApplyDefaults says
  std::optional<int> repetitions;
  BenchRequest request;
  BenchRepeat repeat;
  int64_t kq_limit = 256;  // MiB
  bool json = false, csv = false;
  bool profile = false;
  std::string plot;  // a file; "": none
};

// `flags` must outlive the parsing.
void AddBenchFlags(CLI::App& app, BenchFlags& flags);

// Fills in what was not asked for, once parsed. The model that comes along has a smaller set of
// tests and an end to the repetitions, so that it is measured in less than 10 seconds.
void ApplyDefaults(BenchFlags& flags);

}  // namespace tandem
