// What the main loops of products with tiles have in common.
#pragma once

#include "base.cuh"

namespace tandem::cuda {

inline constexpr int kWarpgroup = 128;
inline constexpr int kStepK = 64;     // rows of 128 bytes, swizzled
inline constexpr int kStepTiles = 2;  // of weights, along K

}  // namespace tandem::cuda
