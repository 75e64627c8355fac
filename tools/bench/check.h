// Whether what is timed is right: its logits against those of the reference device.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/engine.h"

namespace tandem {

struct LogitsCheck {
  double error = 0;  // relative RMS of all logits
  double tolerance = 0;
  int64_t layers = 0;                             // of the model that were compared
  bool ok() const { return error <= tolerance; }  // false if the error is not a number
};

// |got - want| / |want|, Euclidean; infinite if their sizes differ.
double RelativeRms(std::span<const float> got, std::span<const float> want);

// What the error may be. Weights of f32, f16 and bf16 with an f32 cache are multiplied exactly but
// for rounding; an f16 or bf16 cache may round the other way; products of quantised weights and the
// writing of a quantised cache round to 8 bits or fewer, which may also change the choice of
// experts, so that a few tokens differ by a whole expert.
double LogitsTolerance(const Model& model, DType kv_type);

// The largest part of the matrices' bytes has a type; this is it.
DType MainWeightType(const Model& model);

// Runs 64 tokens on options.devices, the last 8 one by one and the others at once, and compares the
// logits after each of them with those of the `reference` device. Of a model above 256 MB the first
// two layers alone are compared, by both devices. Errors: as Engine::Open.
absl::StatusOr<LogitsCheck> CheckLogits(std::shared_ptr<const Model> model, EngineOptions options);

}  // namespace tandem
