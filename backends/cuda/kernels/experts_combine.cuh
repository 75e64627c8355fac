// What stands between the products of experts and after them: one exponent for each row of h, and
// the sum of a token's choices.
#pragma once

#include "convert_rows.cuh"
#include "params/experts.h"

namespace tandem::cuda {

inline constexpr int kLevelThreads = 128;
inline constexpr int kCombineThreads = 256;

// Multiplies eight f16 numbers by a power of two, given as an exponent.
__device__ __forceinline__ uint4 ScaleHalves(uint4 v, int exponent) {
  const float factor = PowerOfTwo(Max(exponent, -126));
  u32* words = reinterpret_cast<u32*>(&v);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    words[i] = F32ToF16x2(LowF16ToF32(words[i]) * factor, HighF16ToF32(words[i]) * factor);
  }
  return v;
}

// Block r gives row r one exponent: the largest of its sixteens.
__global__ void __launch_bounds__(kLevelThreads)
    LevelRows(const __grid_constant__ LevelRowsParams p) {
  if (*p.any_exponent == 0 || static_cast<int>(blockIdx.x) >= p.counts[0]) return;
  const int row = blockIdx.x, panels = p.features / 16;
  i8* exponents = p.exponents + static_cast<i64>(row) * panels;
  uint4* halves = reinterpret_cast<uint4*>(p.rows + static_cast<i64>(row) * p.features * 2);
  __shared__ int warps[kLevelThreads / kWarp];
  int largest = -128;
  bool any = false;
  for (int i = threadIdx.x; i < panels; i += kLevelThreads) {
    largest = Max<int>(largest, exponents[i]);
    any |= exponents[i] != 0;
  }
  if (!__syncthreads_or(any)) return;
  largest = __reduce_max_sync(kAllLanes, largest);
  if (LaneIndex() == 0) warps[threadIdx.x / kWarp] = largest;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kLevelThreads / kWarp; ++i) largest = Max(largest, warps[i]);
  for (int i = threadIdx.x; i < panels; i += kLevelThreads) {
    const int down = exponents[i] - largest;
    exponents[i] = 0;
    if (down == 0) continue;
    halves[2 * i] = ScaleHalves(halves[2 * i], down);
    halves[2 * i + 1] = ScaleHalves(halves[2 * i + 1], down);
  }
  if (threadIdx.x == 0) p.scales[row] = PowerOfTwo(largest);
}

// Block t sums the rows of token t's choices, in their order.
__global__ void __launch_bounds__(kCombineThreads)
    Combine(const __grid_constant__ CombineParams p) {
  const int token = blockIdx.x;
  if (p.live_rows != nullptr && token >= *p.live_rows) return;
  const i32* ids = reinterpret_cast<const i32*>(p.ids + token * p.ids_row_bytes);
  const float* weights = reinterpret_cast<const float*>(p.weights + token * p.weights_row_bytes);
  float* out = reinterpret_cast<float*>(p.out + token * p.out_row_bytes);
  const bool any_exponent = *p.any_exponent != 0;
  for (int f = threadIdx.x * 8; f < p.features; f += kCombineThreads * 8) {
    float sums[8] = {};
    for (int i = 0; i < p.choices; ++i) {
      if (ids[i] < 0 || ids[i] >= p.experts) continue;
      const i64 pair = static_cast<i64>(token) * p.choices + i;
      const uint4 v = *reinterpret_cast<const uint4*>(p.rows + (pair * p.features + f) * 2);
      float weight = weights[i];
      if (any_exponent) weight *= PowerOfTwo(p.exponents[pair * (p.features / 16) + f / 16]);
      const u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        sums[2 * j] += weight * LowF16ToF32(words[j]);
        sums[2 * j + 1] += weight * HighF16ToF32(words[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) out[f + j] = sums[j];
  }
}

}  // namespace tandem::cuda
