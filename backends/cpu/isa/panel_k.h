// Panels of the formats whose blocks have 256 elements; see panel.h.
#pragma once

#include "backends/cpu/isa/panel.h"

namespace tandem::cpu::TANDEM_CPU_ISA {

// Two bits of each byte.
inline Ints TwoBits(Ints v, int shift) { return And(ShiftRight(v, shift), SetI8(3)); }

struct Q2_KPanel {
  static constexpr DType kType = DType::kQ2_K;
  static constexpr int kBlock = 256, kBytes = 84, kSpanBytes = kBytes, kLargest = 3;
  static constexpr bool kSigned = false, kHalves = true, kMins = true;

  template <typename Span, typename To>
  static void Unpack(const Span& span, int, To& to) {
    const Floats d = span.F16(0, 80), negative_min = Mul(span.F16(0, 82), Set(-1.0f));
#pragma GCC unroll 16
    for (int half = 0; half < 16; ++half) {
      const Ints both = ByteOf(span.Word(0, half / 4 * 4), half % 4);
      to.SetHalfScale(half, And(both, SetI32(15)));
      to.SetHalfMin(half, ShiftRight(both, 4));
    }
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) {
      const int packed = 16 + g / 4 * kGroup;
      to.SetScale(g, d);
      to.SetMin(g, negative_min);
#pragma GCC unroll 16
      for (int j = 0; j < kQuadsOf; ++j)
        to.SetQuants(g, j, TwoBits(span.Word(0, packed + 4 * j), g % 4 * 2));
      to.EndGroup(g);
    }
  }
};

struct Q3_KPanel {
  static constexpr DType kType = DType::kQ3_K;
  static constexpr int kBlock = 256, kBytes = 110, kSpanBytes = kBytes, kLargest = 4;
  static constexpr bool kSigned = true, kHalves = true, kMins = false;
  static constexpr int kBias = 4;

  template <typename Span, typename To>
  static void Unpack(const Span& span, int, To& to) {
    UnpackScales(span, to);
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) {
      const int packed = 32 + g / 4 * kGroup;
#pragma GCC unroll 16
      for (int j = 0; j < kQuadsOf; ++j) {
        const Ints mask = span.Word(0, 4 * j);
        const Ints high = And(g < 2 ? ShiftLeft(mask, 2 - g) : ShiftRight(mask, g - 2), SetI8(4));
        const Ints quants = Or(TwoBits(span.Word(0, packed + 4 * j), g % 4 * 2), high);
        to.SetQuants(g, j, Unbiased<To>(quants, kBias));
      }
      to.EndGroup(g);
    }
  }

  // 16 scales of 6 bits, less 32: 4 low bits each in 8 bytes from 96, 2 high bits in the next 4.
  template <typename Span, typename To>
  static void UnpackScales(const Span& span, To& to) {
    auto word = [&span](int i) { return span.Word(0, 96 + 4 * i); };
    const Floats d = span.F16(0, 108);
    const Ints high = word(2);
#pragma GCC unroll 16
    for (int i = 0; i < 4; ++i) {
      const Ints low = LowNibbles(ShiftRight(word(i % 2), i < 2 ? 0 : 4));
      const Ints scales = SubI8(Or(low, ShiftLeft(TwoBits(high, 2 * i), 4)), SetI8(32));
#pragma GCC unroll 16
      for (int j = 0; j < 4; ++j) {
        const int half = 4 * i + j;
        to.SetHalfScale(half, SignedByteOf(scales, j));
      }
    }
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) to.SetScale(g, d);
  }
};

// Scales and mins of Q4_K and Q5_K: f16 d, f16 dmin, then eight pairs of 6 bits in 12 bytes.
template <typename Span, typename To>
inline void UnpackSixBitScales(const Span& span, To& to) {
  const Floats d = span.F16(0, 0), negative_min = Mul(span.F16(0, 2), Set(-1.0f));
  const Ints a = span.Word(0, 4), b = span.Word(0, 8), c = span.Word(0, 12);
  const Ints six = SetI8(0x3f), four = SetI8(0x0f), two = SetI8(0x30);
  const Ints scales[2] = {And(a, six), Or(And(c, four), And(ShiftRight(a, 2), two))};
  const Ints mins[2] = {And(b, six), Or(And(ShiftRight(c, 4), four), And(ShiftRight(b, 2), two))};
#pragma GCC unroll 16
  for (int g = 0; g < kGroups; ++g) {
    to.SetScale(g, Mul(ToFloats(ByteOf(scales[g / 4], g % 4)), d));
    to.SetMin(g, Mul(ToFloats(ByteOf(mins[g / 4], g % 4)), negative_min));
  }
}

struct Q4_KPanel {
  static constexpr DType kType = DType::kQ4_K;
  static constexpr int kBlock = 256, kBytes = 144, kSpanBytes = kBytes, kLargest = 15;
  static constexpr bool kSigned = false, kHalves = false, kMins = true;

  template <typename Span, typename To>
  static void Unpack(const Span& span, int, To& to) {
    UnpackSixBitScales(span, to);
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; g += 2) {
#pragma GCC unroll 16
      for (int j = 0; j < kQuadsOf; ++j) {
        const Ints packed = span.Word(0, 16 + g / 2 * kGroup + 4 * j);
        to.SetQuants(g, j, LowNibbles(packed));
        to.SetQuants(g + 1, j, HighNibbles(packed));
      }
      to.EndGroup(g);
      to.EndGroup(g + 1);
    }
  }
};

struct Q5_KPanel {
  static constexpr DType kType = DType::kQ5_K;
  static constexpr int kBlock = 256, kBytes = 176, kSpanBytes = kBytes, kLargest = 31;
  static constexpr bool kSigned = false, kHalves = false, kMins = true;

  template <typename Span, typename To>
  static void Unpack(const Span& span, int, To& to) {
    UnpackSixBitScales(span, to);
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; g += 2) {
#pragma GCC unroll 16
      for (int j = 0; j < kQuadsOf; ++j) {
        const Ints packed = span.Word(0, 48 + g / 2 * kGroup + 4 * j);
        auto fifth = [bits = span.Word(0, 16 + 4 * j)](int group) {
          return ShiftLeft(And(ShiftRight(bits, group), SetI8(1)), 4);
        };
        to.SetQuants(g, j, Or(LowNibbles(packed), fifth(g)));
        to.SetQuants(g + 1, j, Or(HighNibbles(packed), fifth(g + 1)));
      }
      to.EndGroup(g);
      to.EndGroup(g + 1);
    }
  }
};

struct Q6_KPanel {
  static constexpr DType kType = DType::kQ6_K;
  static constexpr int kBlock = 256, kBytes = 210, kSpanBytes = kBytes, kLargest = 32;
  static constexpr bool kSigned = true, kHalves = true, kMins = false;
  static constexpr int kBias = 32;

  template <typename Span, typename To>
  static void Unpack(const Span& span, int, To& to) {
    const Floats d = span.F16(0, 208);
#pragma GCC unroll 16
    for (int half = 0; half < 16; ++half) {
      const Ints scale = SignedByteOf(span.Word(0, 192 + half / 4 * 4), half % 4);
      to.SetHalfScale(half, scale);
    }
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) {
      // Of 128 elements: low nibbles of 64 bytes, then high ones; two bits of 32 bytes.
      const int n = g / 4, i = g % 4;
      const int low = 64 * n + i % 2 * kGroup, high = 128 + kGroup * n;
      to.SetScale(g, d);
#pragma GCC unroll 16
      for (int j = 0; j < kQuadsOf; ++j) {
        const Ints packed = span.Word(0, low + 4 * j);
        const Ints nibbles = i < 2 ? LowNibbles(packed) : HighNibbles(packed);
        const Ints bits = TwoBits(span.Word(0, high + 4 * j), 2 * i);
        const Ints six = Or(nibbles, ShiftLeft(bits, 4));
        to.SetQuants(g, j, Unbiased<To>(six, kBias));
      }
      to.EndGroup(g);
    }
  }
};

struct IQ4_XSPanel {
  static constexpr DType kType = DType::kIQ4_XS;
  static constexpr int kBlock = 256, kBytes = 136, kSpanBytes = kBytes, kLargest = 127;
  static constexpr bool kSigned = true, kHalves = false, kMins = false;
  static constexpr int kBias = 128;

  template <typename Span, typename To>
  static void Unpack(const Span& span, int, To& to) {
    // f16 d, eight pairs of high bits, eight low nibbles
    const Floats d = span.F16(0, 0);
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) {
      const Ints low = And(ShiftRight(span.Word(0, 4), 4 * g), SetI32(15));
      const Ints high = And(ShiftRight(span.Word(0, 0), 16 + 2 * g), SetI32(3));
      const Ints scale = SubI32(Or(low, ShiftLeft(high, 4)), SetI32(32));
      to.SetScale(g, Mul(d, ToFloats(scale)));
      UnpackNibbles(span, 0, 8 + 16 * g, to, g,
                    [values = Iq4Values<To>()](Ints q, int) { return Lookup(values, q); });
      to.EndGroup(g);
    }
  }
};

}  // namespace tandem::cpu::TANDEM_CPU_ISA
