// The model that `tandem bench` measures.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/model.h"
#include "tools/bench/flags.h"
#include "tools/machine/machine.h"

namespace tandem {

struct BenchModel {
  std::shared_ptr<const Model> model;
  std::string name;  // for people
  bool synthetic = false;
};

// Opens the MODEL of the flags, makes their synthetic one, or takes the model that comes along.
absl::StatusOr<BenchModel> OpenBenchModel(const BenchFlags& flags);

// The numbers that a CPU multiplies best with the model's weights: "int8" for quantised ones, else
// "bf16" or "f32".
std::string MultiplyTypeOf(const Model& model, const Processor& processor);

}  // namespace tandem
