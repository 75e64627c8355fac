// Writes rows of K, V or latents into the pages of the cache, rounded as quant_32.cc rounds a row
// in one pass: bit for bit the same.
#pragma once

#include "base.cuh"
#include "kv_pages.cuh"
#include "params/store_kv.h"
#include "ptx/convert.cuh"

namespace tandem::cuda {

inline constexpr u16 kF16NaN = 0x7E00;
inline constexpr float kSmallestPeak = 0x1p-25f;  // half the smallest f16 number
inline constexpr float kLargestFloat = 3.4028234663852886e38f;
inline constexpr float kF16Max = 65504.0f;
inline constexpr float kBF16Max = 3.3895313892515355e38f;  // 0x7F7F0000

// What is too large saturates; NaN and infinities stay.
__device__ __forceinline__ float Saturate(float x, float largest) {
  return fabsf(x) <= kLargestFloat ? fminf(fmaxf(x, -largest), largest) : x;
}

__device__ __forceinline__ int RoundToRange(float x, float low, float high) {
  return __float2int_rn(fminf(fmaxf(x, low), high));
}

// The value of largest magnitude in the warp with its sign, the first of equals; NaN counts as
// nothing.
__device__ __forceinline__ float SignedPeak(float x) {
  const float largest = LanesMax(fabsf(x));
  const u32 holders = __ballot_sync(kAllLanes, fabsf(x) == largest);
  return holders == 0 ? 0.0f : Shuffle(x, __ffs(holders) - 1);
}

// The f16 bits of a scale: zero only if the scale is.
__device__ __forceinline__ u16 ScaleToF16(float scale) {
  if (scale == 0.0f) return 0;
  const u16 half = F32ToF16(Saturate(scale, kF16Max));
  return (half & 0x7FFF) == 0 ? half | 1 : half;
}

// A lane for each element of the block.
template <Kv kType>
__device__ void StoreBlock(float x, u8* codes, u16* scale) {
  const bool finite = __all_sync(kAllLanes, fabsf(x) <= kLargestFloat);
  const float peak = SignedPeak(x);
  const float divisor = kType == Kv::kQ8_0 ? 127.0f : -8.0f;
  const float ideal =
      fabsf(peak) < kSmallestPeak ? 0.0f : (kType == Kv::kQ8_0 ? fabsf(peak) : peak) / divisor;
  const u16 d = finite ? ScaleToF16(ideal) : kF16NaN;
  const float decoded = F16ToF32(d);
  const float inverse = finite && decoded != 0.0f ? 1.0f / decoded : 0.0f;
  const int lane = LaneIndex();
  if (lane == 0) *scale = d;
  if constexpr (kType == Kv::kQ8_0) {
    codes[lane] = static_cast<u8>(finite ? RoundToRange(x * inverse, -127.0f, 127.0f) : 0);
  } else {
    const int code = finite ? RoundToRange(x * inverse, -8.0f, 7.0f) + 8 : 0;
    const int high = __shfl_down_sync(kAllLanes, code, kKvBlock / 2);
    if (lane < kKvBlock / 2) codes[lane] = static_cast<u8>(code | high << 4);
  }
}

template <Kv kType>
__device__ __forceinline__ void StoreElement(float x, u8* codes, int i) {
  if constexpr (kType == Kv::kF32) {
    reinterpret_cast<float*>(codes)[i] = x;
  } else if constexpr (kType == Kv::kF16) {
    reinterpret_cast<u16*>(codes)[i] = F32ToF16(Saturate(x, kF16Max));
  } else {
    reinterpret_cast<u16*>(codes)[i] = F32ToBF16(Saturate(x, kBF16Max));
  }
}

// What a block does to a head of a token.
template <Kv kType>
__device__ void StoreKvHead(const StoreKvParams& p, i64 t, int h) {
  const i64 slot = p.slots[t];
  if (slot < 0 || slot >= p.pages * kPageTokens) return;
  const KvRow<kType> row(p.cache + slot / kPageTokens * p.page,
                         static_cast<int>(slot % kPageTokens), h, p.heads, p.width);
  const float* x = p.x + t * p.x_token + h * p.x_head;
  if constexpr (IsBlockType(kType)) {
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
      const int block = i / kKvBlock;
      StoreBlock<kType>(x[i], row.codes + block * CodeBytes(kType, kKvBlock), row.scales + block);
    }
  } else {
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) StoreElement<kType>(x[i], row.codes, i);
  }
}

// A block for each token (x) and head (y).
template <Kv kType>
__global__ void StoreKv(const __grid_constant__ StoreKvParams p) {
  const int t = blockIdx.x;
  if (p.live == nullptr || t < *p.live) StoreKvHead<kType>(p, t, blockIdx.y);
}

}  // namespace tandem::cuda
