// Runs tokens through a model once and keeps what happened inside.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/families/step_graph.h"
#include "runtime/model.h"

namespace tandem {

struct ModelTrace {
  std::vector<float> logits;               // [T, V]
  std::vector<std::vector<float>> hidden;  // [T, E] after each layer, before any norm
  // For each layer with experts, [T, N]: the logits of the router.
  std::vector<std::vector<float>> router;
};

// All tokens in one step on one device ("reference", "cpu"), with an f32 cache.
absl::StatusOr<ModelTrace> TraceModel(const Model& model, std::string_view device,
                                      std::span<const int32_t> tokens, bool expand_latent);

// For each token the smallest gap, over the layers, between the score of the last chosen expert and
// that of the first rejected one; infinity for a model without experts. A token with a tiny margin
// may be sent to another expert by a rounding error.
std::vector<double> RouterMargins(const ModelConfig& config, const Model& model,
                                  const ModelTrace& trace);

}  // namespace tandem
