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

// What is kept beside the codes. `kBias`: minus the offset of the weight's codes times the sum of
// the block's codes; `kSum`: that sum times the scale; for each scale of a tile.
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
  if constexpr (form == InfoForm::kBias) info.bias[0] = -kOffset * (first + second);
  if constexpr (form == InfoForm::kBias16) {
    info.bias[0] = -kOffset * first;
    info.bias[1] = -kOffset * second;
  }
  if constexpr (form == InfoForm::kSum) info.sum[0] = scale * static_cast<float>(first + second);
  if constexpr (form == InfoForm::kSum16) {
    info.sum[0] = scale * static_cast<float>(first);
    info.sum[1] = scale * static_cast<float>(second);
  }
  return info;
}

// The scale of a block whose largest magnitude is `largest`, and its inverse. Smaller blocks count
// as zeros, as the inverse would not be finite.
__device__ __forceinline__ float BlockScale(float largest, float& inverse) {
  const bool zero = !(largest > 1e-30f);
  inverse = zero ? 0.0f : 127.0f / largest;
  return zero ? 0.0f : largest / 127.0f;
}

__device__ __forceinline__ u32 PackCodes(float a, float b, float c, float d) {
  const u32 low = (static_cast<u32>(__float2int_rn(a)) & 255) |
                  (static_cast<u32>(__float2int_rn(b)) & 255) << 8;
  const u32 high = (static_cast<u32>(__float2int_rn(c)) & 255) |
                   (static_cast<u32>(__float2int_rn(d)) & 255) << 8;
  return low | high << 16;
}

// Quantises a block of which eight neighbouring lanes have four elements each, those of lane l
// beginning at element 4 (l % 8). Written if `store`, the same for the eight.
template <WeightType kType>
__device__ __forceinline__ void QuantizeBlock(const float4& v, u8* codes, InfoOf<kType>* info,
                                              int lane, bool store) {
  float largest = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
  largest = LanesMax<8>(largest);
  // Zero, or NaN if an element is not finite, which the largest need not show.
  const float poison = 0.0f * (v.x + v.y + v.z + v.w);
  float inverse;
  const float scale = BlockScale(largest, inverse) + LanesSum<8>(poison);
  const u32 packed = PackCodes(v.x * inverse, v.y * inverse, v.z * inverse, v.w * inverse);
  const int part = lane % 8;
  if (store) *reinterpret_cast<u32*>(codes + part % 4 * 8 + part / 4 * 4) = packed;
  i32 sum = Dp4a(packed, 0x01010101u, 0);
  sum += ShuffleXor(sum, 1);
  sum += ShuffleXor(sum, 2);
  const i32 other = ShuffleXor(sum, 4);
  if (store && part == 0) *info = MakeInfo<kType>(scale, sum, other);
}

}  // namespace tandem::cuda
