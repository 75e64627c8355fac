// Products with weights in rows: what the fast products do not take.
#pragma once

#include <vector>

#include "backends/cuda/launch.h"
#include "backends/device/program.h"

namespace tandem::cuda {

std::vector<Launch> LowerPlain(const LinearArgs& args);
int64_t PlainWorkspaceBytes(const ExpertsArgs& args);
std::vector<Launch> LowerPlain(const ExpertsArgs& args, const Workspace& workspace);

}  // namespace tandem::cuda
