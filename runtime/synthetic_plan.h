// What a synthetic model consists of, before any of it is made.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model_tensors.h"
#include "runtime/random_blocks.h"
#include "runtime/synthetic.h"

namespace tandem {

struct SyntheticTensor {
  std::string name;
  Shape shape;
  RandomNumbers numbers;

  int64_t bytes() const { return ContiguousBytes(numbers.dtype, shape); }
};

struct SyntheticPlan {
  std::string name;  // of the config's file, "qwen3-8b"
  ModelConfig config;
  std::vector<SyntheticTensor> tensors;
  std::vector<std::string> warnings;
};

// The errors of MakeSyntheticModel, but for memory.
absl::StatusOr<SyntheticPlan> PlanSyntheticModel(std::string_view config_path,
                                                 const SyntheticOptions& options);

}  // namespace tandem
