// Weights that no product takes as they are, to tiles of f16 numbers (TileWeights<kF16>): weights in
// rows, and those that a product needs transposed. Numbers are rounded.
#pragma once

#include "blocks.cuh"
#include "params/f16_tiles.h"
#include "tile_weights.cuh"

namespace tandem::cuda {

inline constexpr int kF16TilesThreads = 256;
inline constexpr int kF16TileBytes = TileWeights<WeightType::kF16>::kUnitBytes;

// The tile of this warp, of all groups; false if there is none.
struct F16TilePlace {
  int group, panel, tile;
  u8* out;

  __device__ __forceinline__ bool Find(const F16TilesParams& p) {
    const int tiles = p.k / kTileElements, panels = p.padded_rows / kTileRows;
    const int warp = blockIdx.x * (kF16TilesThreads / kWarp) + threadIdx.x / kWarp;
    if (warp >= p.groups * panels * tiles) return false;
    tile = warp % tiles;
    panel = warp / tiles % panels;
    group = warp / tiles / panels;
    out = p.out + static_cast<i64>(warp) * kF16TileBytes;
    return true;
  }
};

// A warp for each tile.
template <WeightType kType, bool kTransposed>
__global__ void __launch_bounds__(kF16TilesThreads)
    F16TilesOfRows(const __grid_constant__ F16TilesParams p) {
  F16TilePlace place;
  if (!place.Find(p)) return;
  const int lane = LaneIndex(), g = lane / 4, t = lane % 4;
  const u8* w = p.w + place.group * p.group_bytes;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    u32 a[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = place.panel * kTileRows + g + i % 2 * 8;
      const int k = place.tile * kTileElements + half * 16 + 4 * t + i / 2 * 2;
      float x[2] = {0.0f, 0.0f};
#pragma unroll
      for (int j = 0; j < 2 && row < p.rows; ++j) {
        x[j] = kTransposed ? Element<kType>(w + (k + j) * p.row_bytes, row)
                           : Element<kType>(w + row * p.row_bytes, k + j);
      }
      a[i] = F32ToF16x2(x[0], x[1]);
    }
    reinterpret_cast<uint4*>(place.out)[half * kWarp + lane] = {a[0], a[1], a[2], a[3]};
  }
}

// Where element k of a row is in a tile of f16 numbers, in bytes.
__device__ __forceinline__ int F16TileOffset(int row, int k) {
  const int lane = row % 8 * 4 + k % 16 / 4, j = k % 4;
  return k / 16 * 512 + lane * 16 + (row / 8 + j / 2 * 2) * 4 + j % 2 * 2;
}

// The same of weights [groups, k, rows] in tiles: a warp for each tile of theirs.
template <WeightType kType>
__global__ void __launch_bounds__(kF16TilesThreads)
    F16TilesOfTransposedTiles(const __grid_constant__ F16TilesParams p) {
  using Source = TileWeights<kType>;
  const int tiles = p.rows / kTileElements, panels = p.k / kTileRows;  // of the source
  const int warp = blockIdx.x * (kF16TilesThreads / kWarp) + threadIdx.x / kWarp;
  if (warp >= p.groups * panels * tiles) return;
  const int tile = warp % tiles, panel = warp / tiles % panels, group = warp / tiles / panels;
  const int lane = LaneIndex(), g = lane / 4, t = lane % 4;

  const u8* unit = p.w + group * p.group_bytes + panel * p.row_bytes +
                   static_cast<i64>(tile / Source::kUnitTiles) * Source::kUnitBytes;
  u32 a[8];
  Source().Unpack(Source::Load(unit, tile % Source::kUnitTiles, lane), a);
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    // Number i % 2 of register i / 2: see TileWeights.
    const int k = panel * kTileRows + g + i / 2 % 2 * 8;
    const int row = tile * kTileElements + i / 8 * 16 + 4 * t + i / 4 % 2 * 2 + i % 2;
    const i64 index = (static_cast<i64>(group) * (p.padded_rows / kTileRows) + row / kTileRows) *
                          (p.k / kTileElements) + k / kTileElements;
    u8* to = p.out + index * kF16TileBytes + F16TileOffset(row % kTileRows, k % kTileElements);
    *reinterpret_cast<u16*>(to) = static_cast<u16>(a[i / 2] >> (i % 2 * 16));
  }
}

}  // namespace tandem::cuda
