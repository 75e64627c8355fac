// The first layers of a model as a model of their own.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "runtime/model.h"

namespace tandem {

// Embedding, the first `layers` layers, and the output head of `model`, whose weights it shares and
// keeps; without a tokenizer. For comparisons in which the whole would take too long.
// InvalidArgument unless `layers` is from 1 to the layers of the model.
absl::StatusOr<std::shared_ptr<const Model>> CutModel(std::shared_ptr<const Model> model,
                                                      int64_t layers);

}  // namespace tandem
