// Activations as operand B of products on tensor cores: f16, with a power of two for each row that
// brings its largest number to [2^13, 2^14), so that no size of activations overflows and small
// numbers keep their bits. Elements are permuted in each 16 as tile_weights.cuh says.
#pragma once

#include "params/convert_rows.h"
#include "ptx/convert.cuh"

namespace tandem::cuda {

inline constexpr int kConvertThreads = kConvertRowsThreads;

// The exponent e of the power of two that brings `largest` to [2^13, 2^14); zero and denormal
// numbers count as the smallest normal one.
__device__ __forceinline__ int ExponentForF16(float largest) {
  const int exponent = static_cast<int>(FloatBits(largest) >> 23 & 0xff) - 127;
  return Max(exponent - 13, -126);
}
__device__ __forceinline__ float PowerOfTwo(int exponent) {
  return BitsFloat(static_cast<u32>(exponent + 127) << 23);
}

__device__ __forceinline__ float Silu(float x) { return x / (1.0f + Exp2(-1.44269504f * x)); }

// Place in its 16 of element 4t, with that of 4t + 1 after it; those of 4t + 2 and 4t + 3 are eight
// further on.
__device__ __forceinline__ int PermutedPlace(int element) { return element / 4 * 2; }

__device__ __forceinline__ float4 LoadFour(const float* x, bool aligned) {
  if (aligned) return *reinterpret_cast<const float4*>(x);
  return {x[0], x[1], x[2], x[3]};
}

template <bool kSwiGlu>
__device__ __forceinline__ float4 ConvertSource(const float* x, const float* up, int column,
                                                bool aligned) {
  float4 v = LoadFour(x + column, aligned);
  if constexpr (kSwiGlu) {
    const float4 u = LoadFour(up + column, aligned);
    v = {Silu(v.x) * u.x, Silu(v.y) * u.y, Silu(v.z) * u.z, Silu(v.w) * u.w};
  }
  return v;
}

__device__ __forceinline__ float BlockMax(float x) {
  __shared__ float warps[kConvertThreads / kWarp];
  x = LanesMax(x);
  if (LaneIndex() == 0) warps[threadIdx.x / kWarp] = x;
  __syncthreads();
  return LanesMax<kConvertThreads / kWarp>(warps[threadIdx.x % (kConvertThreads / kWarp)]);
}

__device__ __forceinline__ float LargestOf(float4 v) {
  return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
}

// Four elements of a row of operand B, the first of which is `column`.
__device__ __forceinline__ void StoreOperand(u32* row, int column, float4 v) {
  const int place = (column & ~15) + PermutedPlace(column & 15);
  row[place / 2] = F32ToF16x2(v.x, v.y);
  row[place / 2 + 4] = F32ToF16x2(v.z, v.w);
}
__device__ __forceinline__ float4 Times(float4 v, float factor) {
  return {v.x * factor, v.y * factor, v.z * factor, v.w * factor};
}

// A row's source, four columns at a time for each thread: kHeld of them in registers; 0: read twice.
template <bool kSwiGlu, int kHeld>
class RowSource {
 public:
  __device__ __forceinline__ RowSource(const float* x, const float* up, int columns, bool aligned)
      : x_(x), up_(up), columns_(columns), aligned_(aligned) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) held_[i] = Read(i);
  }

  __device__ __forceinline__ float Largest() const {
    float largest = 0.0f;
    ForEach(columns_, [&](int /*column*/, float4 v) { largest = fmaxf(largest, LargestOf(v)); });
    return largest;
  }

  // each(first column, numbers) of columns [0, end); those beyond the row's are zero.
  template <class Each>
  __device__ __forceinline__ void ForEach(int end, Each each) const {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        if (ColumnOf(i) < end) each(ColumnOf(i), held_[i]);
      }
    } else {
      for (int i = 0; ColumnOf(i) < end; ++i) each(ColumnOf(i), Read(i));
    }
  }

 private:
  __device__ static __forceinline__ int ColumnOf(int i) {
    return (i * kConvertThreads + threadIdx.x) * 4;
  }
  __device__ __forceinline__ float4 Read(int i) const {
    if (ColumnOf(i) >= columns_) return {0.0f, 0.0f, 0.0f, 0.0f};
    return ConvertSource<kSwiGlu>(x_, up_, ColumnOf(i), aligned_);
  }

  const float *x_, *up_;
  int columns_;
  bool aligned_;
  float4 held_[kHeld == 0 ? 1 : kHeld];
};

// Block (r, g) converts row r of group g. Infinite numbers and NaN stay what they are.
template <bool kSwiGlu, int kHeld>
__global__ void __launch_bounds__(kConvertThreads)
    ConvertRows(const __grid_constant__ ConvertRowsParams p) {
  const int row = blockIdx.x, group = blockIdx.y;
  if (p.live_rows != nullptr && row >= *p.live_rows) return;
  const i64 offset = row * p.x_row_bytes + group * p.x_group_bytes;
  const RowSource<kSwiGlu, kHeld> source(reinterpret_cast<const float*>(p.x + offset),
                                         reinterpret_cast<const float*>(p.up + offset), p.columns,
                                         p.aligned);
  const int exponent = ExponentForF16(BlockMax(source.Largest()));
  const float factor = PowerOfTwo(-exponent);
  const i64 out_row = static_cast<i64>(group) * p.group_rows + row;
  const int padded = RoundUp(p.columns, 64);
  u32* out = reinterpret_cast<u32*>(p.out + out_row * padded * 2);
  source.ForEach(padded, [&](int column, float4 v) { StoreOperand(out, column, Times(v, factor)); });
  if (threadIdx.x == 0) p.scales[out_row] = PowerOfTwo(exponent);
}

}  // namespace tandem::cuda
