#include "backends/device/float16.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "gtest/gtest.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tandem {
namespace {

static_assert(F32ToF16(1.0f) == 0x3C00 && F16ToF32(0x3C00) == 1.0f);
static_assert(F32ToBF16(1.0f) == 0x3F80 && BF16ToF32(0x3F80) == 1.0f);

uint32_t Bits(float value) { return std::bit_cast<uint32_t>(value); }

// The value of a finite half, by the definition of the format.
float ByDefinition(uint32_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>(half >> 15 ? -magnitude : magnitude);
}

TEST(F16Test, EveryFiniteHalfHasItsValueAndComesBack) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    if ((half & 0x7C00) == 0x7C00) continue;
    ASSERT_EQ(Bits(F16ToF32(half)), Bits(ByDefinition(half))) << half;
    ASSERT_EQ(F32ToF16(F16ToF32(half)), half);
  }
}

TEST(F16Test, InfinitiesStayAndNaNsBecomeQuiet) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(F16ToF32(0x7C00), infinity);
  EXPECT_EQ(F16ToF32(0xFC00), -infinity);
  EXPECT_EQ(F32ToF16(infinity), 0x7C00);
  EXPECT_EQ(F32ToF16(-infinity), 0xFC00);
  for (uint32_t mantissa = 1; mantissa < 0x400; ++mantissa) {
    const uint32_t bits = Bits(F16ToF32(static_cast<uint16_t>(0x7C00 | mantissa)));
    ASSERT_EQ(bits, 0x7FC00000u | mantissa << 13);
    ASSERT_EQ(F32ToF16(std::bit_cast<float>(0xFF800000u | mantissa << 13)), 0xFE00 | mantissa);
  }
  EXPECT_EQ(F32ToF16(std::bit_cast<float>(0x7F800001u)), 0x7E00) << "payload below fp16";
}

// Between each two neighbours: just below the middle, the middle, just above it.
TEST(F16Test, RoundsToNearestWithTiesToEven) {
  for (uint32_t low = 0; low < 0x7C00; ++low) {
    const uint32_t high = low + 1;
    const float above = high == 0x7C00 ? 65536.0f : F16ToF32(high);  // where the next one would be
    const float middle = (F16ToF32(low) + above) / 2;
    ASSERT_EQ(F32ToF16(std::nextafter(middle, 0.0f)), low) << middle;
    ASSERT_EQ(F32ToF16(middle), low % 2 == 0 ? low : high) << middle;
    ASSERT_EQ(F32ToF16(std::nextafter(middle, 1e9f)), high) << middle;
    ASSERT_EQ(F32ToF16(-middle), 0x8000 | (low % 2 == 0 ? low : high)) << middle;
  }
}

#if defined(__x86_64__)
// The hardware's answers: bits of the half, bits of the float.
[[gnu::target("f16c")]] uint16_t HardwareF32ToF16(uint32_t bits) {
  const __m128 value = _mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(bits)));
  return static_cast<uint16_t>(
      _mm_extract_epi16(_mm_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT), 0));
}

[[gnu::target("f16c")]] uint32_t HardwareF16ToF32(uint16_t half) {
  const __m128 value = _mm_cvtph_ps(_mm_cvtsi32_si128(half));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_castps_si128(value)));
}

TEST(F16Test, AgreesWithTheHardware) {
  // Clang does not know "f16c" here; every CPU with AVX2 has it.
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "no F16C here";
  for (uint32_t half = 0; half < 0x10000; ++half) {
    ASSERT_EQ(Bits(F16ToF32(half)), HardwareF16ToF32(half)) << half;
  }
  constexpr uint64_t kStride = 1009;  // a prime: all exponents, and mantissas of every kind
  for (uint64_t bits = 0; bits <= 0xFFFFFFFFu; bits += kStride) {
    const auto word = static_cast<uint32_t>(bits);
    ASSERT_EQ(F32ToF16(std::bit_cast<float>(word)), HardwareF32ToF16(word)) << word;
  }
}
#endif

TEST(BF16Test, EveryNumberComesBackAndNaNsBecomeQuiet) {
  for (uint32_t bf16 = 0; bf16 < 0x10000; ++bf16) {
    const bool nan = (bf16 & 0x7FFF) > 0x7F80;
    ASSERT_EQ(Bits(BF16ToF32(bf16)), bf16 << 16);
    ASSERT_EQ(F32ToBF16(BF16ToF32(bf16)), nan ? bf16 | 0x40 : bf16);
  }
  EXPECT_TRUE(std::isnan(BF16ToF32(F32ToBF16(std::bit_cast<float>(0x7F800001u)))));
}

TEST(BF16Test, RoundsToNearestWithTiesToEven) {
  for (uint32_t low = 0; low < 0x7F80; ++low) {
    const uint32_t middle = low << 16 | 0x8000;
    ASSERT_EQ(F32ToBF16(std::bit_cast<float>(middle - 1)), low);
    ASSERT_EQ(F32ToBF16(std::bit_cast<float>(middle)), low % 2 == 0 ? low : low + 1);
    ASSERT_EQ(F32ToBF16(std::bit_cast<float>(middle + 1)), low + 1);
  }
}

}  // namespace
}  // namespace tandem
