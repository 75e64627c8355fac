// Products of many tokens with f32 weights, such as those of routers, nearly as exact as in f32: a
// number is the sum of two tf32 numbers, and three of their four products are added.
#pragma once

#include "params/product_f32.h"
#include "ptx/convert.cuh"
#include "ptx/mma.cuh"

namespace tandem::cuda {

inline constexpr int kF32Tokens = 16;          // of a block
inline constexpr int kF32OutputWarps = 4;      // 16 outputs each
inline constexpr int kF32SplitWarps = 2;       // parts of k
inline constexpr int kF32Threads = kF32OutputWarps * kF32SplitWarps * kWarp;
inline constexpr int kF32Outputs = kF32OutputWarps * 16;

// Four numbers as pairs of tf32 numbers.
struct SplitFour {
  u32 high[4], low[4];

  __device__ __forceinline__ explicit SplitFour(float4 v) {
    const float x[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      high[i] = F32ToTF32(x[i]);
      low[i] = F32ToTF32(x[i] - BitsFloat(high[i]));
    }
  }
};

// D += A B for 16 k, of which lane t % 4 has 4t..4t+3: two products of 8 k in an order of their own.
__device__ __forceinline__ void MultiplySplit(float (&d)[4], const SplitFour& upper,
                                              const SplitFour& lower, const SplitFour& token) {
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const u32 high[4] = {upper.high[i], lower.high[i], upper.high[i + 1], lower.high[i + 1]};
    const u32 low[4] = {upper.low[i], lower.low[i], upper.low[i + 1], lower.low[i + 1]};
    MmaTF32(d, low, token.high[i], token.high[i + 1]);
    MmaTF32(d, high, token.low[i], token.low[i + 1]);
    MmaTF32(d, high, token.high[i], token.high[i + 1]);
  }
}

// Block (i, j, g): outputs of tile i by tokens of tile j, of group g.
__global__ void __launch_bounds__(kF32Threads)
    ProductF32(const __grid_constant__ ProductF32Params p) {
  const int live = p.live_rows == nullptr ? p.tokens : Min(*p.live_rows, p.tokens);
  const int first_token = blockIdx.y * kF32Tokens, group = blockIdx.z;
  if (first_token >= live) return;
  const int lane = LaneIndex(), warp = WarpIndex(), g = lane / 4, t = lane % 4;
  const int first = blockIdx.x * kF32Outputs + warp % kF32OutputWarps * 16;
  const int part = warp / kF32OutputWarps;

  // Rows beyond the last: the last again, not stored.
  const auto row_of = [&](const u8* base, i64 row_bytes, int row, int rows) {
    return reinterpret_cast<const float4*>(base + Min(row, rows - 1) * row_bytes) + t;
  };
  const u8* w = p.w + group * p.w_group_bytes;
  const u8* x = p.x + group * p.x_group_bytes;
  const float4* upper = row_of(w, p.w_row_bytes, first + g, p.outputs);
  const float4* lower = row_of(w, p.w_row_bytes, first + g + 8, p.outputs);
  const float4* tokens[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) tokens[i] = row_of(x, p.x_row_bytes, first_token + i * 8 + g, live);

  float sums[2][4] = {};
  const int steps = p.k / 16, begin = steps * part / kF32SplitWarps;
  const int end = steps * (part + 1) / kF32SplitWarps;
#pragma unroll 4
  for (int i = begin; i < end; ++i) {
    const SplitFour a(upper[i * 4]), b(lower[i * 4]);
#pragma unroll
    for (int j = 0; j < 2; ++j) MultiplySplit(sums[j], a, b, SplitFour(tokens[j][i * 4]));
  }

  __shared__ float parts[kF32SplitWarps][kF32OutputWarps][2][4][kWarp];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    parts[part][warp % kF32OutputWarps][i / 4][i % 4][lane] = sums[i / 4][i % 4];
  }
  __syncthreads();
  if (part != 0) return;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int token = first_token + i / 4 * 8 + 2 * t + i % 2, output = first + g + i % 4 / 2 * 8;
    if (token >= live || output >= p.outputs) continue;
    float sum = p.bias == nullptr ? 0.0f : p.bias[output];
#pragma unroll
    for (int j = 0; j < kF32SplitWarps; ++j) sum += parts[j][warp][i / 4][i % 4][lane];
    u8* row = p.out + token * p.out_row_bytes + group * p.out_group_bytes;
    reinterpret_cast<float*>(row)[output] = sum;
  }
}

}  // namespace tandem::cuda
