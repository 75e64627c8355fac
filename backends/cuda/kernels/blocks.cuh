// Single elements of rows as files have them: plain numbers and block-quantised formats
// (backends/device/quant_blocks.h). For kernels that are not about speed.
#pragma once

#include "base.cuh"
#include "ptx/convert.cuh"
#include "weight_type.cuh"

namespace tandem::cuda {

__device__ constexpr i8 kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
__device__ constexpr i8 kMXFP4Values[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

__device__ inline float ReadF16(const u8* p) {
  return F16ToF32(static_cast<u16>(p[0] | p[1] << 8));
}

// The 4-bit code of element i of a block of 32.
__device__ inline int Nibble(const u8* qs, int i) { return qs[i % 16] >> (i / 16 * 4) & 15; }

// Bit i of 32.
__device__ inline int Bit(const u8* qh, int i) { return qh[i / 8] >> (i % 8) & 1; }

// 2^(e - 128).
__device__ inline float MXFP4Scale(u8 e) {
  return BitsFloat(e < 2 ? 0x00200000u << e : static_cast<u32>(e - 1) << 23);
}

template <WeightType kType>
__device__ float SmallBlockElement(const u8* block, int i) {
  if constexpr (kType == WeightType::kQ4_0) return ReadF16(block) * static_cast<float>(Nibble(block + 2, i) - 8);
  if constexpr (kType == WeightType::kQ4_1) {
    return ReadF16(block) * static_cast<float>(Nibble(block + 4, i)) + ReadF16(block + 2);
  }
  if constexpr (kType == WeightType::kQ5_0) {
    return ReadF16(block) *
           static_cast<float>((Nibble(block + 6, i) | Bit(block + 2, i) << 4) - 16);
  }
  if constexpr (kType == WeightType::kQ5_1) {
    return ReadF16(block) * static_cast<float>(Nibble(block + 8, i) | Bit(block + 4, i) << 4) +
           ReadF16(block + 2);
  }
  if constexpr (kType == WeightType::kQ8_0) return ReadF16(block) * static_cast<float>(static_cast<i8>(block[2 + i]));
  if constexpr (kType == WeightType::kIQ4_NL) {
    return ReadF16(block) * static_cast<float>(kIQ4Values[Nibble(block + 2, i)]);
  }
  if constexpr (kType == WeightType::kMXFP4) {
    return MXFP4Scale(block[0]) * static_cast<float>(kMXFP4Values[Nibble(block + 1, i)]);
  }
  return 0.0f;
}

// Scale and min of group 0..7 of Q4_K and Q5_K.
struct ScaleMin {
  int scale, min;
};
__device__ inline ScaleMin UnpackScaleMin(const u8* s, int g) {
  if (g < 4) return {s[g] & 63, s[g + 4] & 63};
  return {(s[g + 4] & 15) | (s[g - 4] >> 6) << 4, (s[g + 4] >> 4) | (s[g] >> 6) << 4};
}

__device__ inline int UnpackQ3KScale(const u8* s, int g) {
  const int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4;
  return (low | (s[8 + g % 4] >> (2 * (g / 4)) & 3) << 4) - 32;
}

template <WeightType kType>
__device__ float SuperBlockElement(const u8* block, int i) {
  const int half = i / 128, l = i % 32;
  if constexpr (kType == WeightType::kQ2_K) {
    const int q = block[16 + 32 * half + l] >> (2 * (i % 128 / 32)) & 3;
    const int s = block[i / 16];
    return ReadF16(block + 80) * static_cast<float>((s & 15) * q) -
           ReadF16(block + 82) * static_cast<float>(s >> 4);
  }
  if constexpr (kType == WeightType::kQ3_K) {
    const int low = block[32 + 32 * half + l] >> (2 * (i % 128 / 32)) & 3;
    const int high = block[l] >> (i / 32) & 1;
    const int scale = UnpackQ3KScale(block + 96, i / 16);
    return ReadF16(block + 108) * static_cast<float>(scale * ((low | high << 2) - 4));
  }
  if constexpr (kType == WeightType::kQ4_K || kType == WeightType::kQ5_K) {
    const u8* qs = block + (kType == WeightType::kQ4_K ? 16 : 48);
    int q = qs[i / 64 * 32 + l] >> (i % 64 / 32 * 4) & 15;
    if constexpr (kType == WeightType::kQ5_K) q |= (block[16 + l] >> (i / 32) & 1) << 4;
    const ScaleMin s = UnpackScaleMin(block + 4, i / 32);
    return ReadF16(block) * static_cast<float>(s.scale * q) -
           ReadF16(block + 2) * static_cast<float>(s.min);
  }
  if constexpr (kType == WeightType::kQ6_K) {
    const int low = block[64 * half + i % 64] >> (i % 128 / 64 * 4) & 15;
    const int high = block[128 + 32 * half + l] >> (2 * (i % 128 / 32)) & 3;
    const int scale = static_cast<i8>(block[192 + i / 16]);
    return ReadF16(block + 208) * static_cast<float>(scale * ((low | high << 4) - 32));
  }
  if constexpr (kType == WeightType::kIQ4_XS) {
    const int g = i / 32;
    const int low = block[4 + g / 2] >> (4 * (g % 2)) & 15;
    const int high = (block[2] | block[3] << 8) >> (2 * g) & 3;
    return ReadF16(block) * static_cast<float>((low | high << 4) - 32) *
           static_cast<float>(kIQ4Values[Nibble(block + 8 + 16 * g, i % 32)]);
  }
  return 0.0f;
}

template <WeightType kType>
__device__ constexpr int BlockBytes() {
  switch (kType) {
    case WeightType::kQ4_0:
    case WeightType::kIQ4_NL:
      return 18;
    case WeightType::kQ4_1:
      return 20;
    case WeightType::kQ5_0:
      return 22;
    case WeightType::kQ5_1:
      return 24;
    case WeightType::kQ8_0:
      return 34;
    case WeightType::kMXFP4:
      return 17;
    case WeightType::kQ2_K:
      return 84;
    case WeightType::kQ3_K:
      return 110;
    case WeightType::kQ4_K:
      return 144;
    case WeightType::kQ5_K:
      return 176;
    case WeightType::kQ6_K:
      return 210;
    case WeightType::kIQ4_XS:
      return 136;
    default:
      return 0;
  }
}

template <WeightType kType>
inline constexpr bool kIsSuperBlock = kType == WeightType::kQ2_K || kType == WeightType::kQ3_K || kType == WeightType::kQ4_K ||
                                      kType == WeightType::kQ5_K || kType == WeightType::kQ6_K || kType == WeightType::kIQ4_XS;

// Element i of a row.
template <WeightType kType>
__device__ float Element(const u8* row, i64 i) {
  if constexpr (kType == WeightType::kF32) return reinterpret_cast<const float*>(row)[i];
  if constexpr (kType == WeightType::kF16) return F16ToF32(reinterpret_cast<const u16*>(row)[i]);
  if constexpr (kType == WeightType::kBF16) return BF16ToF32(reinterpret_cast<const u16*>(row)[i]);
  if constexpr (kIsSuperBlock<kType>) {
    return SuperBlockElement<kType>(row + i / 256 * BlockBytes<kType>(), static_cast<int>(i % 256));
  }
  return SmallBlockElement<kType>(row + i / 32 * BlockBytes<kType>(), static_cast<int>(i % 32));
}

}  // namespace tandem::cuda
