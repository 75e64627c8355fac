// How the copy engine sees weights in tiles: as panels of pieces, for a box has at most 256 elements
// along each dimension.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// The fewest pieces of a unit that are multiples of 16 bytes of at most 1024.
TANDEM_HOST_DEVICE constexpr int WeightPieces(int unit_bytes) {
  for (int n = 1;; ++n) {
    if (unit_bytes % (16 * n) == 0 && unit_bytes / n <= 1024) return n;
  }
}

}  // namespace tandem::cuda
