// Products with one to eight rows of activations whose arithmetic is f32: weights of plain numbers
// in rows, and weights in tiles that are stored with their inputs as rows.
#pragma once

#include "params/product_plain.h"
#include "product_rows.cuh"

namespace tandem::cuda {

// Weights 8i .. 8i + 7 of a row.
template <WeightType kType>
__device__ __forceinline__ void LoadEight(const void* row, int i, float (&w)[8]) {
  if constexpr (kType == WeightType::kF32) {
    const float4* p = static_cast<const float4*>(row) + 2 * i;
    const float4 a = p[0], b = p[1];
    w[0] = a.x, w[1] = a.y, w[2] = a.z, w[3] = a.w;
    w[4] = b.x, w[5] = b.y, w[6] = b.z, w[7] = b.w;
  } else {
    const uint4 v = static_cast<const uint4*>(row)[i];
    const u32 pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      constexpr bool kF16 = kType == WeightType::kF16;
      w[2 * j] = kF16 ? LowF16ToF32(pairs[j]) : LowBF16ToF32(pairs[j]);
      w[2 * j + 1] = kF16 ? HighF16ToF32(pairs[j]) : HighBF16ToF32(pairs[j]);
    }
  }
}

// A row for each block. Grid: x: rows, y: groups. kPlainThreads threads; k is a multiple of 8 and
// the rows of w and x are 16-byte aligned.
template <WeightType kType, int kColumns>
__global__ void __launch_bounds__(kPlainThreads)
    PlainRows(const __grid_constant__ PlainRowsParams p) {
  constexpr int kWarps = kPlainThreads / kWarp;
  __shared__ float partials[kColumns][kWarps];
  const int row = blockIdx.x, group = blockIdx.y, thread = threadIdx.x;
  const u8* w = static_cast<const u8*>(p.weight) + group * p.weight_group + row * p.weight_row;
  const int eights = p.k / 8;
  float ahead[8] = {};
  if (thread < eights) LoadEight<kType>(w, thread, ahead);
  WaitForKernelsAhead();
  LetNextKernelStart();
  const int live = LiveRows(p.live_rows, p.tokens);
  const float* x = p.x + group * p.x_group;
  float sums[kColumns] = {};
  for (int i = thread; i < eights; i += kPlainThreads) {
    float v[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = ahead[j];
    if (i + kPlainThreads < eights) LoadEight<kType>(w, i + kPlainThreads, ahead);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const float* xc = x + Min(c, live - 1) * p.x_row + 8 * i;
      const float4 a = LoadFloat4(xc), b = LoadFloat4(xc + 4);
      sums[c] += v[0] * a.x + v[1] * a.y + v[2] * a.z + v[3] * a.w;
      sums[c] += v[4] * b.x + v[5] * b.y + v[6] * b.z + v[7] * b.w;
    }
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const float sum = LanesSum(sums[c]);
    if (thread % kWarp == 0) partials[c][thread / kWarp] = sum;
  }
  __syncthreads();
  if (thread >= live) return;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += partials[thread][i];
  if (p.bias != nullptr) sum += p.bias[row];
  if (p.add != nullptr) sum += p.add[thread * p.add_row + row];
  p.out[thread * p.out_row + group * p.out_group + row] = sum;
}

// 32 outputs for each block: a tile of every panel, the panels dealt to the warps. Lane (g, t) has
// inputs g and g + 8 of a panel and eight outputs. Grid: x: rows / 32, y: groups.
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
  const int live = LiveRows(p.live_rows, p.tokens);
  float sums[kColumns][8] = {};
  for (int panel = warp; panel < panels; panel += kTransposedWarps) {
    const u8* at = w + panel * panel_bytes;
    u32 codes[4];
    UnpackBytes<kType>(LoadTileCodes<kType>(at, tile, lane), codes);
    const TileScales<kType> scales = LoadTileScales<kType>(at, tile, g);
    const float* x = p.x + group * p.x_group + panel * kTileRows + g;
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
  p.out[column * p.out_row + group * p.out_group + blockIdx.x * kTileElements + lane] = sum;
}

}  // namespace tandem::cuda
