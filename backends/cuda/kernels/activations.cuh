// Rows of activations in 8 bits in shared memory, for products with weights in tiles: blocks of 32
// with an f32 scale, largest magnitude / 127, as the CPU backend has them.
//
// The 32 codes of a block stand in the order of the matrix instruction mma.m16n8k32 (B): byte
// 8t + 4h + i is element 16h + 4t + i, so that lane (g, t) reads eight neighbours.
#pragma once

#include "base.cuh"
#include "ptx/convert.cuh"
#include "tiles.cuh"

namespace tandem::cuda {

// Integers that are added to these bits, those of 1.5 * 2^23, give the bits of the float that is as
// much larger, up to 2^22 in magnitude. That makes floats of sums without a conversion.
inline constexpr i32 kIntegerBits = 0x4B400000;
__device__ __forceinline__ float IntegerToFloat(i32 bits) {
  return BitsFloat(static_cast<u32>(bits)) - 12582912.0f;
}

// What is kept beside the codes. `kBias`: kIntegerBits minus the offset of the weight's codes times
// the sum of the block's codes; `kSum`: that sum times the scale; for each scale of a tile.
enum class InfoForm { kScale, kBias, kSum, kBias16, kSum16 };

template <WeightType kType>
inline constexpr InfoForm kInfoForm =
    kHasMin<kType>                ? (kTileScales<kType> == 1 ? InfoForm::kSum : InfoForm::kSum16)
    : kTileForm<kType>.offset > 0 ? (kTileScales<kType> == 1 ? InfoForm::kBias : InfoForm::kBias16)
                                  : InfoForm::kScale;

template <InfoForm kForm>
struct ActivationInfo;
template <>
struct ActivationInfo<InfoForm::kScale> {
  float scale;
};
template <>
struct alignas(8) ActivationInfo<InfoForm::kBias> {
  float scale;
  i32 bias[1];
};
template <>
struct alignas(8) ActivationInfo<InfoForm::kSum> {
  float scale;
  float sum[1];
};
template <>
struct alignas(16) ActivationInfo<InfoForm::kBias16> {
  float scale;
  i32 bias[2];
};
template <>
struct alignas(16) ActivationInfo<InfoForm::kSum16> {
  float scale;
  float sum[2];
};
template <WeightType kType>
using InfoOf = ActivationInfo<kInfoForm<kType>>;

template <WeightType kType>
__device__ __forceinline__ InfoOf<kType> MakeInfo(float scale, i32 first, i32 second) {
  constexpr InfoForm form = kInfoForm<kType>;
  constexpr i32 kOffset = kTileForm<kType>.offset;
  InfoOf<kType> info;
  info.scale = scale;
  if constexpr (form == InfoForm::kBias) info.bias[0] = kIntegerBits - kOffset * (first + second);
  if constexpr (form == InfoForm::kBias16) {
    info.bias[0] = kIntegerBits - kOffset * first;
    info.bias[1] = kIntegerBits - kOffset * second;
  }
  if constexpr (form == InfoForm::kSum) info.sum[0] = scale * static_cast<float>(first + second);
  if constexpr (form == InfoForm::kSum16) {
    info.sum[0] = scale * static_cast<float>(first);
    info.sum[1] = scale * static_cast<float>(second);
  }
  return info;
}

// The scale of a block whose largest magnitude is `largest`, and its inverse. Smaller blocks count
// as zeros, as the inverse would not be finite. What is not finite makes the scale so.
__device__ __forceinline__ float BlockScale(float largest, float& inverse) {
  const bool zero = largest <= 1e-30f;
  inverse = zero ? 0.0f : __fdividef(127.0f, largest);
  return zero ? 0.0f : largest * (1.0f / 127.0f);
}

__device__ __forceinline__ float Largest(const float4& v) {
  return MaxOrNaN(MaxOrNaN(fabsf(v.x), fabsf(v.y)), MaxOrNaN(fabsf(v.z), fabsf(v.w)));
}

// Quantises a block that four neighbouring lanes have: lane 4n + t has elements 4t..4t+3 in `a` and
// 16+4t..16+4t+3 in `b`. Written if `store`, the same for the four.
template <WeightType kType>
__device__ __forceinline__ void QuantizeBlock(const float4& a, const float4& b, u8* codes,
                                              InfoOf<kType>* info, int t, bool store) {
  float largest = MaxOrNaN(Largest(a), Largest(b));
  largest = MaxOrNaN(largest, ShuffleXor(largest, 1));
  largest = MaxOrNaN(largest, ShuffleXor(largest, 2));
  float f;
  const float scale = BlockScale(largest, f);
  uint2 packed;
  packed.x = RoundToS8x4(a.x * f, a.y * f, a.z * f, a.w * f);
  packed.y = RoundToS8x4(b.x * f, b.y * f, b.z * f, b.w * f);
  if (store) *reinterpret_cast<uint2*>(codes + t * 8) = packed;
  i32 sums[2] = {};
  if constexpr (kInfoForm<kType> != InfoForm::kScale) {
    sums[0] = Dp4a(packed.x, 0x01010101u, 0);
    sums[1] = Dp4a(packed.y, 0x01010101u, 0);
#pragma unroll
    for (int i = 1; i < 4; i *= 2) {
      sums[0] += ShuffleXor(sums[0], i);
      sums[1] += ShuffleXor(sums[1], i);
    }
  }
  if (store && t == 0) *info = MakeInfo<kType>(scale, sums[0], sums[1]);
}

}  // namespace tandem::cuda
