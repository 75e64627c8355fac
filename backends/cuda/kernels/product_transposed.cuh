// Products of weights in tiles that are stored with their inputs as rows, with a few rows of
// activations, in f32.
#pragma once

#include "params/product_floats.h"
#include "product_rows.cuh"

namespace tandem::cuda {

// 32 outputs for each block: a tile of every panel, the panels dealt to the warps. Lane (g, t) has
// inputs g and g + 8 of a panel and eight outputs. Grid: x: rows / 32, y: groups, z: groups of
// kMaxRows tokens.
template <WeightType kType, int kColumns>
__global__ void __launch_bounds__(kTransposedWarps* kWarp)
    TransposedRows(const __grid_constant__ TransposedRowsParams p) {
  constexpr TileForm f = kTileForm<kType>;
  __shared__ float partials[kTransposedWarps][kColumns][kTileElements];
  const int warp = WarpIndex(), lane = LaneIndex(), g = lane / 4, t = lane % 4;
  const int group = blockIdx.y, panels = p.k / kTileRows;
  const int unit = blockIdx.x / f.unit_tiles, tile = blockIdx.x % f.unit_tiles;
  const i64 panel_bytes = static_cast<i64>(p.rows / kUnitElements<kType>) * f.unit_bytes;
  const u8* w = p.weight + group * p.weight_group + unit * f.unit_bytes;
  WaitForKernelsAhead();
  LetNextKernelStart();
  const int token = blockIdx.z * kMaxRows, live = LiveRows(p.live_rows, token, p.tokens - token);
  if (live == 0) return;
  float sums[kColumns][8] = {};
  for (int panel = warp; panel < panels; panel += kTransposedWarps) {
    const u8* at = w + panel * panel_bytes;
    u32 codes[4];
    UnpackBytes<kType>(LoadTileCodes<kType>(at, tile, lane), codes);
    const TileScales<kType> scales = LoadTileScales<kType>(at, tile, g);
    const float* x = p.x + token * p.x_row + group * p.x_group + panel * kTileRows + g;
    float v[kColumns][2];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const float* xc = x + Min(c, live - 1) * p.x_row;
      v[c][0] = xc[0], v[c][1] = xc[8];
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = r % 2, half = r / 2, which = kTileScales<kType> == 2 ? half : 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float value =
            scales.scale[row][which] * (SignedByte(codes[r], i) - static_cast<float>(f.offset));
        if constexpr (kHasMin<kType>) value += scales.min[row][which];
#pragma unroll
        for (int c = 0; c < kColumns; ++c) sums[c][4 * half + i] += value * v[c][row];
      }
    }
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      float sum = sums[c][j];
#pragma unroll
      for (int i = 4; i < kWarp; i *= 2) sum += ShuffleXor(sum, i);
      if (g == 0) partials[warp][c][j / 4 * 16 + 4 * t + j % 4] = sum;
    }
  }
  __syncthreads();
  const int column = warp;  // kTransposedWarps == kMaxRows
  if (column >= Min(live, kColumns)) return;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kTransposedWarps; ++i) sum += partials[i][column][lane];
  p.out[(token + column) * p.out_row + group * p.out_group + blockIdx.x * kTileElements + lane] =
      sum;
}

}  // namespace tandem::cuda
