// What host and device agree on about the rings of tile_loop.cuh.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// The copy engine sees weights as panels of pieces, for a box has at most 256 elements along each
// dimension. The fewest pieces of a unit that are multiples of 16 bytes of at most 1024.
TANDEM_HOST_DEVICE constexpr int WeightPieces(int unit_bytes) {
  for (int n = 1;; ++n) {
    if (unit_bytes % (16 * n) == 0 && unit_bytes / n <= 1024) return n;
  }
}

// Units of a panel that a stage of the ring of weights holds: those of 64 elements, or one of 256.
TANDEM_HOST_DEVICE constexpr int WeightStageUnits(int unit_tiles) {
  return unit_tiles == 1 ? 2 : 1;
}

// A block's shape: `consumers` warpgroups, each with `row_tiles` times 64 rows of weights, by
// `tokens`; `stages` of 64 k in the ring of tokens.
struct TileShape {
  i32 consumers, row_tiles, tokens, stages;

  TANDEM_HOST_DEVICE constexpr i32 rows() const { return consumers * row_tiles * 64; }
  TANDEM_HOST_DEVICE constexpr i32 threads() const { return (consumers + 1) * 128; }
};

// Shared memory of the rings.
TANDEM_HOST_DEVICE constexpr i32 TileRingBytes(const TileShape& shape, int unit_tiles,
                                               int unit_bytes) {
  const int weight_stages = unit_tiles == 1 ? shape.stages : 2;
  const int weights =
      weight_stages * shape.rows() / 16 * WeightStageUnits(unit_tiles) * unit_bytes;
  const int barriers = (shape.stages + weight_stages) * 16;
  return RoundUp(shape.stages * shape.tokens * 128 + weights + barriers + 128, 1024);
}
// And of the sums of a product on their way out.
TANDEM_HOST_DEVICE constexpr i32 ProductTilesSharedBytes(const TileShape& shape, int unit_tiles,
                                                         int unit_bytes) {
  return TileRingBytes(shape, unit_tiles, unit_bytes) +
         RoundUp(shape.consumers * 32 * (shape.row_tiles * 64 + 4) * 4, 1024);
}
TANDEM_HOST_DEVICE constexpr i32 ExpertProductsSharedBytes(const TileShape& shape, int unit_tiles,
                                                           int unit_bytes) {
  return TileRingBytes(shape, unit_tiles, unit_bytes) +
         RoundUp(shape.consumers * shape.tokens * ((64 + 8) * 2 + 8), 1024);
}

// The experts' shape, within the 227 KB of a block.
TANDEM_HOST_DEVICE constexpr TileShape ExpertShape(int unit_tiles, int unit_bytes) {
  TileShape shape = {2, 2, 128, 6};
  while (ExpertProductsSharedBytes(shape, unit_tiles, unit_bytes) > 227 * 1024) --shape.stages;
  return shape;
}

}  // namespace tandem::cuda
