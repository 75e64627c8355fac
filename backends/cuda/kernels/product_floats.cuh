// Products of weights that are plain numbers, in rows, with a few rows of activations, in f32.
#pragma once

#include "params/product_floats.h"
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

// A row for each block. Grid: x: rows, y: groups, z: groups of kMaxRows tokens. kFloatRowsThreads
// threads; k is a multiple of 8 and the rows of w and x are 16-byte aligned.
template <WeightType kType, int kColumns>
__global__ void __launch_bounds__(kFloatRowsThreads)
    FloatRows(const __grid_constant__ FloatRowsParams p) {
  constexpr int kWarps = kFloatRowsThreads / kWarp;
  __shared__ float partials[kColumns][kWarps];
  const int row = blockIdx.x, group = blockIdx.y, thread = threadIdx.x;
  const u8* w = static_cast<const u8*>(p.weight) + group * p.weight_group + row * p.weight_row;
  const int eights = p.k / 8;
  float ahead[8] = {};
  if (thread < eights) LoadEight<kType>(w, thread, ahead);
  WaitForKernelsAhead();
  LetNextKernelStart();
  const int token = blockIdx.z * kMaxRows, live = LiveRows(p.live_rows, token, p.tokens - token);
  if (live == 0) return;
  const float* x = p.x + token * p.x_row + group * p.x_group;
  float sums[kColumns] = {};
  for (int i = thread; i < eights; i += kFloatRowsThreads) {
    float v[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = ahead[j];
    if (i + kFloatRowsThreads < eights) LoadEight<kType>(w, i + kFloatRowsThreads, ahead);
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
  if (thread >= Min(live, kColumns)) return;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += partials[thread][i];
  if (p.bias != nullptr) sum += p.bias[row];
  if (p.add != nullptr) sum += p.add[(token + thread) * p.add_row + row];
  p.out[(token + thread) * p.out_row + group * p.out_group + row] = sum;
}

}  // namespace tandem::cuda
