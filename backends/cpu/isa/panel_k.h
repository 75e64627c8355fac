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

  template <typename To>
  static void Unpack(Rows rows, To& to) {
    const RawSpan<kBytes> raw(rows);
    const Floats d = raw.F16(80), negative_min = Mul(raw.F16(82), Set(-1.0f));
#pragma GCC unroll 16
    for (int half = 0; half < 16; ++half) {
      const Ints both = ByteOf(raw.words[half / 4], half % 4);
      to.SetHalfScale(half, And(both, SetI32(15)));
      to.SetHalfMin(half, ShiftRight(both, 4));
    }
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) {
      const Ints* packed = raw.words + 4 + g / 4 * kQuadsOf;
      to.SetScale(g, d);
      to.SetMin(g, negative_min);
#pragma GCC unroll 16
      for (int j = 0; j < kQuadsOf; ++j) to.SetQuants(g, j, TwoBits(packed[j], g % 4 * 2));
      to.EndGroup(g);
    }
  }
};

struct Q3_KPanel {
  static constexpr DType kType = DType::kQ3_K;
  static constexpr int kBlock = 256, kBytes = 110, kSpanBytes = kBytes, kLargest = 4;
  static constexpr bool kSigned = true, kHalves = true, kMins = false;

  template <typename To>
  static void Unpack(Rows rows, To& to) {
    const RawSpan<kBytes> raw(rows);
    UnpackScales(raw, to);
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) {
      const Ints* packed = raw.words + 8 + g / 4 * kQuadsOf;
#pragma GCC unroll 16
      for (int j = 0; j < kQuadsOf; ++j) {
        // A clear high bit means minus 4.
        const Ints clear = AndNot(ShiftRight(raw.words[j], g), SetI8(1));
        const Ints quants = SubI8(TwoBits(packed[j], g % 4 * 2), ShiftLeft(clear, 2));
        to.SetQuants(g, j, Biased<To>(quants));
      }
      to.EndGroup(g);
    }
  }

  // 16 scales of 6 bits, less 32: 4 low bits each in 8 bytes from 96, 2 high bits in the next 4.
  template <typename To>
  static void UnpackScales(const RawSpan<kBytes>& raw, To& to) {
    // The tail begins two bytes before the scales and ends with the f16 after them.
    auto word = [&raw](int i) {
      return Or(ShiftRight(raw.tail[i], 16), ShiftLeft(raw.tail[i + 1], 16));
    };
    const Floats d = F16High(raw.tail[3]);
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
template <typename Raw, typename To>
inline void UnpackSixBitScales(const Raw& raw, To& to) {
  const Floats d = raw.F16(0), negative_min = Mul(raw.F16(2), Set(-1.0f));
  const Ints a = raw.words[1], b = raw.words[2], c = raw.words[3];
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

  template <typename To>
  static void Unpack(Rows rows, To& to) {
    const RawSpan<kBytes> raw(rows);
    UnpackSixBitScales(raw, to);
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; g += 2) {
      const Ints* packed = raw.words + 4 + g / 2 * kQuadsOf;
#pragma GCC unroll 16
      for (int j = 0; j < kQuadsOf; ++j) {
        to.SetQuants(g, j, LowNibbles(packed[j]));
        to.SetQuants(g + 1, j, HighNibbles(packed[j]));
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

  template <typename To>
  static void Unpack(Rows rows, To& to) {
    const RawSpan<kBytes> raw(rows);
    UnpackSixBitScales(raw, to);
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; g += 2) {
      const Ints* packed = raw.words + 12 + g / 2 * kQuadsOf;
#pragma GCC unroll 16
      for (int j = 0; j < kQuadsOf; ++j) {
        auto fifth = [&](int group) {
          return ShiftLeft(And(ShiftRight(raw.words[4 + j], group), SetI8(1)), 4);
        };
        to.SetQuants(g, j, Or(LowNibbles(packed[j]), fifth(g)));
        to.SetQuants(g + 1, j, Or(HighNibbles(packed[j]), fifth(g + 1)));
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

  template <typename To>
  static void Unpack(Rows rows, To& to) {
    const RawSpan<kBytes> raw(rows);
    const Floats d = F16High(raw.tail[3]);
#pragma GCC unroll 16
    for (int half = 0; half < 16; ++half) {
      const Ints scale = SignedByteOf(raw.words[48 + half / 4], half % 4);
      to.SetHalfScale(half, scale);
    }
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) {
      // Of 128 elements: low nibbles of 64 bytes, then high ones; two bits of 32 bytes.
      const int n = g / 4, i = g % 4;
      const Ints* low = raw.words + 16 * n + i % 2 * kQuadsOf;
      const Ints* high = raw.words + 32 + kQuadsOf * n;
      to.SetScale(g, d);
#pragma GCC unroll 16
      for (int j = 0; j < kQuadsOf; ++j) {
        const Ints nibbles = i < 2 ? LowNibbles(low[j]) : HighNibbles(low[j]);
        const Ints six = Or(nibbles, ShiftLeft(TwoBits(high[j], 2 * i), 4));
        to.SetQuants(g, j, Biased<To>(SubI8(six, SetI8(32))));
      }
      to.EndGroup(g);
    }
  }
};

struct IQ4_XSPanel {
  static constexpr DType kType = DType::kIQ4_XS;
  static constexpr int kBlock = 256, kBytes = 136, kSpanBytes = kBytes, kLargest = 127;
  static constexpr bool kSigned = true, kHalves = false, kMins = false;

  template <typename To>
  static void Unpack(Rows rows, To& to) {
    const RawSpan<kBytes> raw(rows);  // f16 d, eight pairs of high bits, eight low nibbles
    const Floats d = raw.F16(0);
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) {
      const Ints low = And(ShiftRight(raw.words[1], 4 * g), SetI32(15));
      const Ints high = And(ShiftRight(raw.words[0], 16 + 2 * g), SetI32(3));
      const Ints scale = SubI32(Or(low, ShiftLeft(high, 4)), SetI32(32));
      to.SetScale(g, Mul(d, ToFloats(scale)));
      UnpackNibbles(raw, 8 + 16 * g, to, g,
                    [values = Iq4Values<To>()](Ints q, int) { return Lookup(values, q); });
      to.EndGroup(g);
    }
  }
};

}  // namespace tandem::cpu::TANDEM_CPU_ISA
