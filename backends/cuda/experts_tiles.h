// Experts on prompts: tokens sorted by expert, weights in tiles, tensor cores.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/lowering.h"
#include "backends/device/program.h"

namespace tandem::cuda {

absl::Status SupportsTiles(const ExpertsArgs& args);
int64_t TilesWorkspaceBytes(const ExpertsArgs& args, const Target& target);
absl::StatusOr<std::vector<Launch>> LowerTiles(const ExpertsArgs& args, const Workspace& workspace,
                                               const Lowering& lowering);

}  // namespace tandem::cuda
