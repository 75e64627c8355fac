// Embedding, norm, rotation, elementwise kernels and routing: a block, or a warp, for each token.
#pragma once

#include <vector>

#include "backends/cuda/launch.h"
#include "backends/device/kernels.h"

namespace tandem::cuda {

std::vector<Launch> Lower(const EmbedArgs& args);
std::vector<Launch> Lower(const RmsNormArgs& args);
std::vector<Launch> Lower(const RopeArgs& args);
std::vector<Launch> Lower(const AddArgs& args);
std::vector<Launch> Lower(const SwiGluArgs& args);
std::vector<Launch> Lower(const ConcatArgs& args);
std::vector<Launch> Lower(const GatherRowsArgs& args);
std::vector<Launch> Lower(const RouteArgs& args);

}  // namespace tandem::cuda
