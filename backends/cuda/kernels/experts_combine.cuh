// What stands before, between and after the products of experts: rows of tokens at their places,
// one exponent for each row of h, and the sum of a token's choices.
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

// Block t converts the row of token t and writes it to the places of its choices.
template <int kHeld>
__global__ void __launch_bounds__(kConvertThreads)
    PlaceRows(const __grid_constant__ PlaceRowsParams p) {
  const int token = blockIdx.x;
  if (p.live_rows != nullptr && token >= *p.live_rows) return;
  const float* x = reinterpret_cast<const float*>(p.x + token * p.x_row_bytes);
  const i32* places = p.places + static_cast<i64>(token) * p.choices;
  const RowSource<false, kHeld> source(x, nullptr, p.columns, p.aligned);
  const int exponent = ExponentForF16(BlockMax(source.Largest()));
  const float factor = PowerOfTwo(-exponent);
  const int padded = RoundUp(p.columns, 64);
  for (int c = 0; c < p.choices; ++c) {
    if (places[c] < 0) continue;
    u32* row = reinterpret_cast<u32*>(p.out + static_cast<i64>(places[c]) * padded * 2);
    source.ForEach(padded,
                   [&](int column, float4 v) { StoreOperand(row, column, Times(v, factor)); });
  }
  for (int c = 0; c < p.choices; ++c) {
    const i64 pair = static_cast<i64>(token) * p.choices + c, place = places[c];
    if (place < 0) continue;
    for (int i = threadIdx.x; i < p.hidden_panels; i += kConvertThreads) {
      p.hidden_exponents[place * p.hidden_panels + i] = 0;
    }
    for (int i = threadIdx.x; i < p.out_panels; i += kConvertThreads) {
      p.out_exponents[pair * p.out_panels + i] = 0;
    }
    if (threadIdx.x == 0) {
      p.scales[place] = PowerOfTwo(exponent);
      p.hidden_scales[place] = 1.0f;
    }
  }
}

// Gives `row` one exponent: the largest of its sixteens.
__device__ __forceinline__ void LevelRow(const LevelRowsParams& p, int row) {
  const int panels = p.features / 16;
  const i8* exponents = p.exponents + static_cast<i64>(row) * panels;
  uint4* halves = reinterpret_cast<uint4*>(p.rows + static_cast<i64>(row) * p.columns * 2);
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
    if (down == 0) continue;
    halves[2 * i] = ScaleHalves(halves[2 * i], down);
    halves[2 * i + 1] = ScaleHalves(halves[2 * i + 1], down);
  }
  if (threadIdx.x == 0) p.scales[row] = PowerOfTwo(largest);
}

// Rows are dealt to the blocks.
__global__ void __launch_bounds__(kLevelThreads)
    LevelRows(const __grid_constant__ LevelRowsParams p) {
  if (*p.any_exponent == 0) return;
  for (int row = blockIdx.x; row < p.counts[0]; row += gridDim.x) LevelRow(p, row);
}

// Eight numbers of a pair's row.
__device__ __forceinline__ void AddScaled(float (&sums)[8], const uint4& halves, float weight) {
  const u32 words[4] = {halves.x, halves.y, halves.z, halves.w};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    sums[2 * j] += weight * LowF16ToF32(words[j]);
    sums[2 * j + 1] += weight * HighF16ToF32(words[j]);
  }
}

// Block t sums the rows of token t's choices, in their order.
__global__ void __launch_bounds__(kCombineThreads)
    Combine(const __grid_constant__ CombineParams p) {
  constexpr int kAtOnce = 4;  // rows whose loads are under way together
  const int token = blockIdx.x;
  if (p.live_rows != nullptr && token >= *p.live_rows) return;
  const i32* ids = reinterpret_cast<const i32*>(p.ids + token * p.ids_row_bytes);
  const float* weights = reinterpret_cast<const float*>(p.weights + token * p.weights_row_bytes);
  float* out = reinterpret_cast<float*>(p.out + token * p.out_row_bytes);
  const bool any_exponent = *p.any_exponent != 0;
  for (int f = threadIdx.x * 8; f < p.features; f += kCombineThreads * 8) {
    float sums[8] = {};
    for (int first = 0; first < p.choices; first += kAtOnce) {
      uint4 rows[kAtOnce];
      float factors[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int choice = first + i;
        factors[i] = 0.0f;
        rows[i] = {0, 0, 0, 0};
        if (choice >= p.choices || ids[choice] < 0 || ids[choice] >= p.experts) continue;
        const i64 pair = static_cast<i64>(token) * p.choices + choice;
        rows[i] = *reinterpret_cast<const uint4*>(p.rows + (pair * p.features + f) * 2);
        factors[i] = weights[choice];
        if (any_exponent) {
          factors[i] *= PowerOfTwo(p.exponents[pair * (p.features / 16) + f / 16]);
        }
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) AddScaled(sums, rows[i], factors[i]);
    }
    if (p.aligned) {
      reinterpret_cast<float4*>(out + f)[0] = {sums[0], sums[1], sums[2], sums[3]};
      reinterpret_cast<float4*>(out + f)[1] = {sums[4], sums[5], sums[6], sums[7]};
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j) out[f + j] = sums[j];
    }
  }
}

}  // namespace tandem::cuda
