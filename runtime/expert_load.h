// How evenly a model's routers spread tokens over experts.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine.h"

namespace tandem {

struct ExpertLoad {
  int64_t layer = 0;
  int64_t experts = 0;
  int64_t touched = 0;       // experts that got at least one token
  double max_over_mean = 0;  // tokens of the busiest expert over those of an average one
};

inline constexpr int64_t kExpertLoadTokens = 512;

// Runs one prompt of `tokens` random tokens, all different, on options.devices, and counts for each
// layer with experts who gets them; nothing for a model without experts. Fewer tokens, if the model
// has a smaller vocabulary or context. Speeds and memory depend on which experts are touched, so a
// measurement on random weights is one of the real model only if the load is even.
// Errors: as Engine::Open; weights that a device does not use in place are copied for the time of
// the call.
absl::StatusOr<std::vector<ExpertLoad>> MeasureExpertLoad(std::shared_ptr<const Model> model,
                                                          const EngineOptions& options,
                                                          int64_t tokens = kExpertLoadTokens);

// A table for people, with a line for each layer.
std::string ExpertLoadText(std::span<const ExpertLoad> loads);

}  // namespace tandem
