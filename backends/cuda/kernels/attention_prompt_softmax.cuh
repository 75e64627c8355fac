// The online softmax (Milakov and Gimelshein 2018) of the rows of a thread in a wgmma accumulator:
// element 4i + 2r + c is row r (of two, 8 apart), column 8i + 2(lane % 4) + c.
#pragma once

#include "base.cuh"
#include "ptx/convert.cuh"

namespace tandem::cuda {

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

__device__ __forceinline__ float NegativeInfinity() { return BitsFloat(0xff800000u); }

// Keys that a thread's two rows see, relative to the first key of the tile.
struct VisibleKeys {
  i32 low[2], high[2];
};

template <int N>
__device__ __forceinline__ void MaskScores(float (&s)[N], const VisibleKeys& keys) {
  const i32 column = LaneIndex() % 4 * 2;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int r = i / 2 % 2;
    const i32 key = column + i / 4 * 8 + i % 2;
    if (key >= keys.high[r] || key < keys.low[r]) s[i] = NegativeInfinity();
  }
}

// tanh, to about the precision of f32.
__device__ __forceinline__ float Tanh(float x) {
  const float e = Exp2(fminf(fabsf(x) * (2 * kLog2E), 64.0f));
  return copysignf(1.0f - __fdividef(2.0f, e + 1.0f), x);
}

// Base-2 logarithms: a row's weights are 2^(factor * score - max). `sum` is this thread's part.
struct SoftmaxRows {
  float factor[2];
  float max[2];
  float sum[2];

  __device__ __forceinline__ void Clear() {
    max[0] = max[1] = NegativeInfinity();
    sum[0] = sum[1] = 0;
  }

  // Scores to weights. Sums of earlier weights are to be multiplied by `shrink`.
  template <int N>
  __device__ __forceinline__ void Take(float (&s)[N], float (&shrink)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float largest = s[2 * r];
#pragma unroll
      for (int i = 0; i < N; i += 4) {
        largest = fmaxf(largest, fmaxf(s[i + 2 * r], s[i + 2 * r + 1]));
      }
      largest = fmaxf(max[r], LanesMax<4>(largest) * factor[r]);
      const float base = largest == NegativeInfinity() ? 0.0f : largest;
      shrink[r] = Exp2(max[r] - base);
      max[r] = largest;
      float total = 0;
#pragma unroll
      for (int i = 0; i < N; i += 4) {
        s[i + 2 * r] = Exp2(fmaf(s[i + 2 * r], factor[r], -base));
        s[i + 2 * r + 1] = Exp2(fmaf(s[i + 2 * r + 1], factor[r], -base));
        total += s[i + 2 * r] + s[i + 2 * r + 1];
      }
      sum[r] = sum[r] * shrink[r] + total;
    }
  }
};

template <int N>
__device__ __forceinline__ void ShrinkRows(float (&o)[N], const float (&shrink)[2]) {
#pragma unroll
  for (int i = 0; i < N; ++i) o[i] *= shrink[i / 2 % 2];
}

// What a row's sums become: out = o * factor.
struct RowResult {
  float factor, lse;
};

// A row without keys gives zeros. A sink takes weight, but has no value.
__device__ __forceinline__ RowResult FinishSoftmax(float max, float sum, bool has_sink,
                                                   float sink) {
  if (sum == 0) return {0.0f, NegativeInfinity()};
  const float top = has_sink ? fmaxf(max, sink * kLog2E) : max;
  const float shrink = Exp2(max - top);
  const float total = sum * shrink + (has_sink ? Exp2(sink * kLog2E - top) : 0.0f);
  return {shrink / total, (top + __log2f(total)) * kLn2};
}

}  // namespace tandem::cuda
