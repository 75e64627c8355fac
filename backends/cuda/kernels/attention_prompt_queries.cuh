// Queries of a warpgroup: from f32 in memory to f16 or bf16 in shared memory, swizzled for wgmma.
#pragma once

#include "base.cuh"
#include "params/attention.h"
#include "ptx/convert.cuh"
#include "attention_prompt_work.cuh"

namespace tandem::cuda {

template <class T>
__device__ __forceinline__ u32 PackPair(float low, float high) {
  if constexpr (kSame<T, f16>) {
    return F32ToF16x2(low, high);
  } else {
    return F32ToBF16x2(low, high);
  }
}

// A power of two that brings a number into [2^14, 2^15), the upper end of f16; and its inverse.
struct PowerOfTwo {
  float factor, inverse;
};
__device__ __forceinline__ PowerOfTwo ScaleToF16(float largest) {
  const u32 exponent = FloatBits(largest) >> 23 & 255;
  if (exponent == 255) return {1.0f, 1.0f};
  const u32 power = Min(268u - exponent, 253u);
  return {BitsFloat(power << 23), BitsFloat((254 - power) << 23)};
}

// Byte of element `column` of a row, in a matrix of slices of 64 columns with 128-byte swizzle.
__device__ __forceinline__ u32 SwizzledByte(u32 row, u32 column, u32 rows) {
  const u32 slice = column / 64, chunk = column % 64 / 8;
  return slice * rows * 128 + row * 128 + ((chunk ^ (row & 7)) << 4) + column % 8 * 2;
}

// Rows [row, row + 16) of the tile, by one warp. Each row is multiplied by a power of two, and
// factors[row] takes that back and is the scale of the scores.
template <class T, int Dk, int Rows>
__device__ void LoadQueryRows(const AttentionPromptParams& p, const PromptWork& work, int row,
                              float scale, u8* shared, float* factors) {
  constexpr int kVectors = CeilDiv(Dk / 4, kWarp);  // of 4 elements, for each lane
  constexpr int kTogether = kVectors > 2 ? 2 : 4;   // rows with loads in flight
  const int lane = LaneIndex();
  for (int first = row; first < row + 16; first += kTogether) {
    float4 x[kTogether][kVectors];
#pragma unroll
    for (int r = 0; r < kTogether; ++r) {
      const float* source = p.q + (work.token + first + r) * p.q_token + work.head * p.q_head;
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        const int column = 4 * (lane + kWarp * i);
        const bool inside = first + r < work.rows && column < Dk;
        x[r][i] = inside ? __ldg(reinterpret_cast<const float4*>(source + column))
                         : make_float4(0, 0, 0, 0);
      }
    }
#pragma unroll
    for (int r = 0; r < kTogether; ++r) {
      float largest = 0;
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        largest = fmaxf(largest, fmaxf(fmaxf(fabsf(x[r][i].x), fabsf(x[r][i].y)),
                                       fmaxf(fabsf(x[r][i].z), fabsf(x[r][i].w))));
      }
      const PowerOfTwo power = ScaleToF16(LanesMax(largest));
      const float factor = scale < 0 ? -power.factor : power.factor;
      if (lane == 0) factors[first + r] = power.inverse * fabsf(scale);
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        const int column = 4 * (lane + kWarp * i);
        if (column >= Dk) continue;
        uint2 packed = {PackPair<T>(x[r][i].x * factor, x[r][i].y * factor),
                        PackPair<T>(x[r][i].z * factor, x[r][i].w * factor)};
        *reinterpret_cast<uint2*>(shared + SwizzledByte(first + r, column, Rows)) = packed;
      }
    }
  }
}

}  // namespace tandem::cuda
