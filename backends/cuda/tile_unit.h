// The units of weights that the products of many tokens read.
#pragma once

#include "backends/device/tiles.h"

namespace tandem::cuda {

struct TileUnit {
  int tiles;
  int bytes;
};

// Of block types in tiles, and of f16 numbers in tiles of their own (kernels/tile_weights.cuh).
inline TileUnit TileUnitOf(DType type) {
  if (type == DType::kF16) return {1, kTileRows * kTileElements * 2};
  const TileFormat format = GetTileFormat(type);
  return {format.tiles, format.bytes};
}

}  // namespace tandem::cuda
