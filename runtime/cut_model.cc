#include "runtime/cut_model.h"

#include "backends/device/status.h"

namespace tandem {

absl::StatusOr<std::shared_ptr<const Model>> CutModel(std::shared_ptr<const Model> model,
                                                      int64_t layers) {
  ModelParts parts = {.name = model->path(),
                      .config = model->config(),
                      .weights = model->weights(),
                      .memory = model,
                      .warnings = {}};
  if (layers < 1 || layers > parts.config.layers) {
    return absl::InvalidArgumentError(absl::StrCat("cannot cut ", model->path(), ", of ",
                                                   parts.config.layers, " layers, to ", layers));
  }
  parts.config.layers = layers;
  return Model::Assemble(std::move(parts));
}

}  // namespace tandem
