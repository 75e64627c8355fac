// The element types of weights: how the numbers of a row are brought into vector registers.
//
// A plain format loads 8 elements as floats. A block format unpacks a span, 256 elements of a row,
// to 8 groups of 32 one-byte quants; element = scale * quant + min of its group. A format says how
// its quants are to be read:
//   kSigned    quants are i8 (else u8, at most 63)
//   kHalves    the two 16-element halves of a group have integer scales of their own as factors
//   kMins      there is a min; with kHalves, each half has an integer factor for it too
#pragma once

#include <array>
#include <bit>

#include "backends/cpu/simd.h"
#include "backends/device/dtype.h"

namespace tandem::cpu {

inline constexpr int kGroup = 32;  // elements
inline constexpr int kSpan = 256;  // elements
inline constexpr int kSpanGroups = 8;

struct alignas(32) Span {
  simd::Bytes quants[kSpanGroups];
  simd::Bytes half_scales[kSpanGroups];  // i16: 8 of the first half, 8 of the second
  simd::Bytes half_mins[kSpanGroups];
  float scales[kSpanGroups];
  float mins[kSpanGroups];
};

// Plain formats.
struct F32Format {
  static constexpr DType kType = DType::kF32;
  static simd::F32x8 Load(const std::byte* row, int64_t i) {
    return simd::Load(reinterpret_cast<const float*>(row) + i);
  }
  static float At(const std::byte* row, int64_t i) { return simd::ReadAs<float>(row + 4 * i); }
};

struct F16Format {
  static constexpr DType kType = DType::kF16;
  static simd::F32x8 Load(const std::byte* row, int64_t i) {
    return simd::FromF16(simd::LoadBytes16(row + 2 * i));
  }
  static float At(const std::byte* row, int64_t i) { return simd::LoadF16(row + 2 * i); }
};

struct Bf16Format {
  static constexpr DType kType = DType::kBF16;
  static simd::F32x8 Load(const std::byte* row, int64_t i) {
    return simd::FromBf16(simd::LoadBytes16(row + 2 * i));
  }
  static float At(const std::byte* row, int64_t i) {
    return std::bit_cast<float>(uint32_t{simd::ReadAs<uint16_t>(row + 2 * i)} << 16);
  }
};

// Formats of blocks of 32: a span is up to 8 blocks. Derived gives kBytes, Quants(block, d) and
// what to do with the scale. Groups beyond `groups` get scale 0.
template <typename Derived>
struct SmallBlocks {
  static constexpr int kBlock = 32;
  static constexpr bool kHalves = false;

  static void Unpack(const std::byte* block, int groups, Span& span) {
    for (int g = 0; g < kSpanGroups; ++g) span.scales[g] = span.mins[g] = 0.0f;
    for (int g = 0; g < groups; ++g, block += Derived::kBytes) {
      span.quants[g] = Derived::Quants(block);
      span.scales[g] = Derived::Scale(block);
    }
    Derived::Mins(block - groups * Derived::kBytes, groups, span);
  }
};

// Unsigned quants that stand for `quant - kOffset`: scale * (q - offset) = scale q - offset scale.
template <typename Derived>
struct OffsetBlocks : SmallBlocks<Derived> {
  static constexpr bool kSigned = false;
  static constexpr bool kMins = true;
  static void Mins(const std::byte*, int, Span& span) {
    simd::Store(span.mins, simd::Mul(simd::Load(span.scales), simd::Set(-Derived::kOffset)));
  }
};

// Unsigned quants with a stored f16 min after the scale.
template <typename Derived>
struct MinBlocks : SmallBlocks<Derived> {
  static constexpr bool kSigned = false;
  static constexpr bool kMins = true;
  static float Scale(const std::byte* block) { return simd::LoadF16(block); }
  static void Mins(const std::byte* block, int groups, Span& span) {
    for (int g = 0; g < groups; ++g) span.mins[g] = simd::LoadF16(block + g * Derived::kBytes + 2);
  }
};

template <typename Derived>
struct SignedBlocks : SmallBlocks<Derived> {
  static constexpr bool kSigned = true;
  static constexpr bool kMins = false;
  static float Scale(const std::byte* block) { return simd::LoadF16(block); }
  static void Mins(const std::byte*, int, Span&) {}
};

struct Q4_0Format : OffsetBlocks<Q4_0Format> {
  static constexpr DType kType = DType::kQ4_0;
  static constexpr int kBytes = 18;
  static constexpr float kOffset = 8.0f;
  static float Scale(const std::byte* block) { return simd::LoadF16(block); }
  static simd::Bytes Quants(const std::byte* block) { return simd::Nibbles(block + 2); }
};

struct Q4_1Format : MinBlocks<Q4_1Format> {
  static constexpr DType kType = DType::kQ4_1;
  static constexpr int kBytes = 20;
  static simd::Bytes Quants(const std::byte* block) { return simd::Nibbles(block + 4); }
};

// Nibbles with a fifth bit from 32 bits.
inline simd::Bytes FiveBits(const std::byte* nibbles, const std::byte* fifth) {
  const simd::Bytes bits = simd::SpreadBits(simd::ReadAs<uint32_t>(fifth));
  return simd::Or(simd::Nibbles(nibbles), simd::And(bits, simd::SetI8(16)));
}

struct Q5_0Format : OffsetBlocks<Q5_0Format> {
  static constexpr DType kType = DType::kQ5_0;
  static constexpr int kBytes = 22;
  static constexpr float kOffset = 16.0f;
  static float Scale(const std::byte* block) { return simd::LoadF16(block); }
  static simd::Bytes Quants(const std::byte* block) { return FiveBits(block + 6, block + 2); }
};

struct Q5_1Format : MinBlocks<Q5_1Format> {
  static constexpr DType kType = DType::kQ5_1;
  static constexpr int kBytes = 24;
  static simd::Bytes Quants(const std::byte* block) { return FiveBits(block + 8, block + 4); }
};

struct Q8_0Format : SignedBlocks<Q8_0Format> {
  static constexpr DType kType = DType::kQ8_0;
  static constexpr int kBytes = 34;
  static simd::Bytes Quants(const std::byte* block) { return simd::LoadBytes(block + 2); }
};

// The values of a 4-bit code book, for Lookup.
inline simd::Bytes Iq4Values() {
  static constexpr std::array<int8_t, 16> kValues = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                     1,    13,   25,  38,  53,  69,  89,  113};
  return simd::Twice(simd::LoadBytes16(kValues.data()));
}

struct IQ4_NLFormat : SignedBlocks<IQ4_NLFormat> {
  static constexpr DType kType = DType::kIQ4_NL;
  static constexpr int kBytes = 18;
  static simd::Bytes Quants(const std::byte* block) {
    return simd::Lookup(Iq4Values(), simd::Nibbles(block + 2));
  }
};

// Quants are twice the e2m1 values, plus 12.
struct MXFP4Format : OffsetBlocks<MXFP4Format> {
  static constexpr DType kType = DType::kMXFP4;
  static constexpr int kBytes = 17;
  static constexpr float kOffset = 12.0f;
  // 2^(e - 128), a denormal number for e < 2.
  static float Scale(const std::byte* block) {
    const auto e = static_cast<uint32_t>(*block);
    return std::bit_cast<float>(e < 2 ? 0x200000u << e : (e - 1) << 23);
  }
  static simd::Bytes Quants(const std::byte* block) {
    static constexpr std::array<int8_t, 16> kValues = {12, 13, 14, 15, 16, 18, 20, 24,
                                                       12, 11, 10, 9,  8,  6,  4,  0};
    return simd::Lookup(simd::Twice(simd::LoadBytes16(kValues.data())), simd::Nibbles(block + 1));
  }
};

// Formats of blocks of 256: a span is one block.
struct Q2_KFormat {
  static constexpr DType kType = DType::kQ2_K;
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 84;
  static constexpr bool kSigned = false, kHalves = true, kMins = true;

  static void Unpack(const std::byte* block, int, Span& span) {
    const float d = simd::LoadF16(block + 80), dmin = simd::LoadF16(block + 82);
    for (int n = 0; n < 2; ++n) {
      simd::Bytes packed = simd::LoadBytes(block + 16 + 32 * n);
      for (int j = 0; j < 4; ++j, packed = simd::ShiftRight(packed, 2)) {
        const int g = 4 * n + j;
        const int first = static_cast<int>(block[2 * g]);
        const int second = static_cast<int>(block[2 * g + 1]);
        span.quants[g] = simd::And(packed, simd::SetI8(3));
        span.half_scales[g] = simd::HalvesI16(first & 15, second & 15);
        span.half_mins[g] = simd::HalvesI16(first >> 4, second >> 4);
        span.scales[g] = d;
        span.mins[g] = -dmin;
      }
    }
  }
};

struct Q3_KFormat {
  static constexpr DType kType = DType::kQ3_K;
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 110;
  static constexpr bool kSigned = true, kHalves = true, kMins = false;

  static void Unpack(const std::byte* block, int, Span& span) {
    const float d = simd::LoadF16(block + 108);
    const simd::Bytes high = simd::LoadBytes(block);
    std::array<int8_t, 16> scale = Scales(block + 96);
    for (int n = 0; n < 2; ++n) {
      simd::Bytes packed = simd::LoadBytes(block + 32 + 32 * n);
      for (int j = 0; j < 4; ++j, packed = simd::ShiftRight(packed, 2)) {
        const int g = 4 * n + j;
        const simd::Bytes bit = simd::SetI8(1 << g);
        const simd::Bytes is_set = simd::EqualI8(simd::And(high, bit), bit);
        const simd::Bytes low = simd::And(packed, simd::SetI8(3));
        span.quants[g] = simd::SubI8(low, simd::AndNot(is_set, simd::SetI8(4)));
        span.half_scales[g] = simd::HalvesI16(scale[2 * g], scale[2 * g + 1]);
        span.scales[g] = d;
      }
    }
  }

  // 16 scales of 6 bits, less 32: 4 low bits each in the first 8 bytes, 2 high bits in the last 4.
  static std::array<int8_t, 16> Scales(const std::byte* packed) {
    std::array<int8_t, 16> scales;
    for (int k = 0; k < 16; ++k) {
      const int low = static_cast<int>(packed[k % 8]) >> (k < 8 ? 0 : 4) & 15;
      const int high = static_cast<int>(packed[8 + k % 4]) >> (2 * (k / 4)) & 3;
      scales[k] = static_cast<int8_t>((low | high << 4) - 32);
    }
    return scales;
  }
};

// Scales and mins of Q4_K and Q5_K: f16 d, f16 dmin, then eight pairs of 6 bits in 12 bytes.
inline void UnpackSixBitScales(const std::byte* block, Span& span) {
  const auto a = simd::ReadAs<uint32_t>(block + 4), b = simd::ReadAs<uint32_t>(block + 8),
             c = simd::ReadAs<uint32_t>(block + 12);
  const uint32_t scales[2] = {a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030)};
  const uint32_t mins[2] = {b & 0x3f3f3f3f, (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030)};
  const float d = simd::LoadF16(block), dmin = simd::LoadF16(block + 2);
  simd::Store(span.scales, simd::Mul(simd::FloatsOfU8(scales), simd::Set(d)));
  simd::Store(span.mins, simd::Mul(simd::FloatsOfU8(mins), simd::Set(-dmin)));
}

struct Q4_KFormat {
  static constexpr DType kType = DType::kQ4_K;
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 144;
  static constexpr bool kSigned = false, kHalves = false, kMins = true;

  static void Unpack(const std::byte* block, int, Span& span) {
    UnpackSixBitScales(block, span);
    for (int i = 0; i < 4; ++i) {
      const simd::Bytes packed = simd::LoadBytes(block + 16 + 32 * i);
      span.quants[2 * i] = simd::And(packed, simd::SetI8(15));
      span.quants[2 * i + 1] = simd::And(simd::ShiftRight(packed, 4), simd::SetI8(15));
    }
  }
};

struct Q5_KFormat {
  static constexpr DType kType = DType::kQ5_K;
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 176;
  static constexpr bool kSigned = false, kHalves = false, kMins = true;

  static void Unpack(const std::byte* block, int, Span& span) {
    UnpackSixBitScales(block, span);
    simd::Bytes fifth = simd::LoadBytes(block + 16);
    auto with_fifth = [&fifth](simd::Bytes nibbles) {
      const simd::Bytes bit = simd::ShiftLeft(simd::And(fifth, simd::SetI8(1)), 4);
      fifth = simd::ShiftRight(fifth, 1);
      return simd::Or(simd::And(nibbles, simd::SetI8(15)), bit);
    };
    for (int i = 0; i < 4; ++i) {
      const simd::Bytes packed = simd::LoadBytes(block + 48 + 32 * i);
      span.quants[2 * i] = with_fifth(packed);
      span.quants[2 * i + 1] = with_fifth(simd::ShiftRight(packed, 4));
    }
  }
};

struct Q6_KFormat {
  static constexpr DType kType = DType::kQ6_K;
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 210;
  static constexpr bool kSigned = true, kHalves = true, kMins = false;

  static void Unpack(const std::byte* block, int, Span& span) {
    const float d = simd::LoadF16(block + 208);
    for (int n = 0; n < 2; ++n) {
      const simd::Bytes a = simd::LoadBytes(block + 64 * n);
      const simd::Bytes b = simd::LoadBytes(block + 64 * n + 32);
      simd::Bytes high = simd::LoadBytes(block + 128 + 32 * n);
      const simd::Bytes low[4] = {a, b, simd::ShiftRight(a, 4), simd::ShiftRight(b, 4)};
      for (int j = 0; j < 4; ++j, high = simd::ShiftRight(high, 2)) {
        const int g = 4 * n + j;
        const simd::Bytes two_bits = simd::ShiftLeft(simd::And(high, simd::SetI8(3)), 4);
        const simd::Bytes six_bits = simd::Or(simd::And(low[j], simd::SetI8(15)), two_bits);
        span.quants[g] = simd::SubI8(six_bits, simd::SetI8(32));
        const auto* scale = reinterpret_cast<const int8_t*>(block + 192 + 2 * g);
        span.half_scales[g] = simd::HalvesI16(scale[0], scale[1]);
        span.scales[g] = d;
      }
    }
  }
};

struct IQ4_XSFormat {
  static constexpr DType kType = DType::kIQ4_XS;
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 136;
  static constexpr bool kSigned = true, kHalves = false, kMins = false;

  static void Unpack(const std::byte* block, int, Span& span) {
    const float d = simd::LoadF16(block);
    const int high = simd::ReadAs<uint16_t>(block + 2);
    const simd::Bytes values = Iq4Values();
    for (int g = 0; g < kSpanGroups; ++g) {
      const int low = static_cast<int>(block[4 + g / 2]) >> (4 * (g % 2)) & 15;
      span.scales[g] = d * static_cast<float>((low | (high >> (2 * g) & 3) << 4) - 32);
      span.quants[g] = simd::Lookup(values, simd::Nibbles(block + 8 + 16 * g));
    }
  }
};

template <typename... F>
struct FormatList {};

using PlainFormats = FormatList<F32Format, F16Format, Bf16Format>;
using BlockFormats =
    FormatList<Q4_0Format, Q4_1Format, Q5_0Format, Q5_1Format, Q8_0Format, Q2_KFormat, Q3_KFormat,
               Q4_KFormat, Q5_KFormat, Q6_KFormat, IQ4_NLFormat, IQ4_XSFormat, MXFP4Format>;

// The function that `pick.operator()<Format>()` gives for the format of `type`; null if the list
// has none. This is how a kernel file makes its table of one instance for each format.
template <typename Function, typename Pick, typename... F>
Function* SelectFormat(DType type, FormatList<F...>, Pick pick) {
  struct Entry {
    DType type;
    Function* function;
  };
  const Entry table[] = {{F::kType, pick.template operator()<F>()}...};
  for (const Entry& entry : table) {
    if (entry.type == type) return entry.function;
  }
  return nullptr;
}

}  // namespace tandem::cpu
