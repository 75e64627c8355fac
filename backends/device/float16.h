// Conversions between float and the two 16-bit float formats. Bit for bit what the F16C and
// AVX512-BF16 instructions give: round to nearest, ties to even; NaN stays NaN and becomes quiet.
#pragma once

#include <bit>
#include <cstdint>

namespace tandem {

// IEEE binary16 (fp16): 1 sign, 5 exponent, 10 mantissa bits.
inline constexpr float kF16Max = 65504.0f;
inline constexpr float kF16SmallestDenormal = 0x1p-24f;

// Exact; denormals, infinities and the NaN payload included.
constexpr float F16ToF32(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7FFFu;
  if (magnitude > 0x7C00u) return std::bit_cast<float>(sign | 0x7FC00000u | magnitude << 13);
  if (magnitude == 0x7C00u) return std::bit_cast<float>(sign | 0x7F800000u);
  if (magnitude < 0x0400u) {
    const float value = static_cast<float>(magnitude) * kF16SmallestDenormal;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
  }
  // Both exponents are biased, by 15 and by 127.
  return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
}

// Magnitudes of 65520 and more become infinite.
constexpr uint16_t F32ToF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  uint32_t half;
  if (magnitude > 0x7F800000u) {
    half = 0x7E00u | (magnitude >> 13 & 0x3FFu);
  } else if (magnitude >= std::bit_cast<uint32_t>(65520.0f)) {
    half = 0x7C00u;
  } else if (magnitude < std::bit_cast<uint32_t>(0x1p-14f)) {
    // One unit in the last place of 0.5 is the smallest denormal: the addition does the rounding.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    half = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5f);
  } else {
    const uint32_t ties_to_even = 0xFFFu + (magnitude >> 13 & 1u);
    half = (magnitude - (112u << 23) + ties_to_even) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

// bfloat16: the upper half of a float.
constexpr float BF16ToF32(uint16_t bf16) {
  return std::bit_cast<float>(static_cast<uint32_t>(bf16) << 16);
}

constexpr uint16_t F32ToBF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x0040u);
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace tandem
