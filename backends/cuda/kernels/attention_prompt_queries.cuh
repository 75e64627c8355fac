// Queries of a warpgroup: from f32 in memory to f16 or bf16 in shared memory, swizzled for wgmma.
#pragma once

#include "attention_prompt_work.cuh"
#include "base.cuh"
#include "params/attention_prompt.h"
#include "ptx/convert.cuh"

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

// The largest power of two that is no larger than x.
__host__ __device__ constexpr int PowerOfTwoBelow(int x) {
  int power = 1;
  while (2 * power <= x) power *= 2;
  return power;
}

// Byte of element `column` of a row, in a matrix of slices of 64 columns with 128-byte swizzle.
__device__ __forceinline__ u32 SwizzledByte(u32 row, u32 column, u32 rows) {
  const u32 slice = column / 64, chunk = column % 64 / 8;
  return slice * rows * 128 + row * 128 + ((chunk ^ (row & 7)) << 4) + column % 8 * 2;
}

// 16 query rows of a warp on their way from memory to shared memory, `Passes` at a time: a pass
// takes a few whole rows, each by a group of kLanes lanes.
template <class T, int Dk, int Rows>
struct QueryLoader {
  static constexpr int kLanes = Dk % 64 == 0 ? 16 : Dk % 32 == 0 ? 8 : 4;
  static constexpr int kVectors = Dk / 4 / kLanes;  // of 4 elements, for each lane and pass
  static constexpr int kPassRows = kWarp / kLanes;
  static constexpr int kPasses = 16 / kPassRows;
  static_assert(kVectors * 4 * kLanes == Dk);

  static __device__ __forceinline__ int Row(int pass) {
    return pass * kPassRows + LaneIndex() / kLanes;
  }
  static __device__ __forceinline__ int Column(int vector) {
    return 4 * (LaneIndex() % kLanes + kLanes * vector);
  }

  // Rows beyond the last one repeat it; what becomes of them is not stored.
  template <int Passes>
  static __device__ __forceinline__ void Load(const AttentionPromptParams& p,
                                              const PromptWork& work, int first,
                                              float4 (&x)[Passes][kVectors]) {
    const float* head = p.q + work.token * p.q_token + work.head * p.q_head + Column(0);
#pragma unroll
    for (int i = 0; i < Passes; ++i) {
      const float* source = head + Min(first + Row(i), work.rows - 1) * p.q_token;
#pragma unroll
      for (int j = 0; j < kVectors; ++j) {
        x[i][j] = *reinterpret_cast<const float4*>(source + 4 * kLanes * j);
      }
    }
  }

  // Each row is multiplied by a power of two; factors[row] takes that back and is the scale of the
  // scores.
  template <int Passes>
  static __device__ __forceinline__ void Store(const float4 (&x)[Passes][kVectors], int first,
                                               float scale, u8* shared, float* factors) {
#pragma unroll
    for (int i = 0; i < Passes; ++i) {
      float largest = 0;
#pragma unroll
      for (int j = 0; j < kVectors; ++j) {
        largest = fmaxf(largest, fmaxf(fmaxf(fabsf(x[i][j].x), fabsf(x[i][j].y)),
                                       fmaxf(fabsf(x[i][j].z), fabsf(x[i][j].w))));
      }
      const PowerOfTwo power = ScaleToF16(LanesMax<kLanes>(largest));
      const float factor = scale < 0 ? -power.factor : power.factor;
      const int row = first + Row(i);
      if (LaneIndex() % kLanes == 0) factors[row] = power.inverse * fabsf(scale);
#pragma unroll
      for (int j = 0; j < kVectors; ++j) {
        const uint2 packed = {PackPair<T>(x[i][j].x * factor, x[i][j].y * factor),
                              PackPair<T>(x[i][j].z * factor, x[i][j].w * factor)};
        *reinterpret_cast<uint2*>(shared + SwizzledByte(row, Column(j), Rows)) = packed;
      }
    }
  }
};

}  // namespace tandem::cuda
