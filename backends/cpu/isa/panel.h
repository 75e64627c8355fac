// Unpacking 256 elements of kLanes weight rows: one function for each block format, which reads
// them from a span, whatever their layout, and hands the parts to a Panel, or to anything that has
// its functions: factors before the quants that they belong to, quants of a half in order, at most
// two groups at a time, and EndGroup when one is complete. The blocks are those of
// backends/device/quant_blocks.h.
//
// element = scale * quant + min of its group of 32. Where the halves of a group have scales of
// their own (kHalves), they are integer factors of the quants, and there may be some for the min as
// well.
#pragma once

#include "backends/cpu/isa/lanes.h"
#include "backends/device/layout.h"

namespace tandem::cpu::TANDEM_CPU_ISA {

inline constexpr int kGroup = 32;   // elements
inline constexpr int kGroups = 8;   // of a panel
inline constexpr int kQuadsOf = 8;  // of a group

// What a signed quant is handed over as: with the bias of its format added if To wants it so.
template <typename To>
inline Ints Biased(Ints quants) {  // of a format whose bias is 128
  return To::kBiased ? Xor(quants, SetI8(-128)) : quants;
}
template <typename To>
inline Ints Unbiased(Ints quants_with_bias, int bias) {
  return To::kBiased ? quants_with_bias : SubI8(quants_with_bias, SetI8(bias));
}

// The form in which an i32 multiplies sums of products: AVX2 multiplies pairs of i16.
inline Ints Factor(Ints v) {
  return TANDEM_CPU_ISA::kBiased ? v : Or(And(v, SetI32(0xffff)), ShiftLeft(v, 16));
}

// What the quants of a span are multiplied with.
struct alignas(64) Factors {
  Ints half_scales[kGroups][2];  // as Factor gives them
  Ints half_mins[kGroups][2];    // i32
  Floats scales[kGroups];
  Floats mins[kGroups];

  void SetHalfScale(int half, Ints v) { half_scales[half / 2][half % 2] = Factor(v); }
  void SetHalfMin(int half, Ints v) { half_mins[half / 2][half % 2] = v; }
  void SetScale(int g, Floats v) { scales[g] = v; }
  void SetMin(int g, Floats v) { mins[g] = v; }
};

// A span in memory, for products with many columns.
struct Panel : Factors {
  static constexpr bool kBiased = TANDEM_CPU_ISA::kBiased;
  Ints quants[kGroups][kQuadsOf];  // four consecutive elements of each row

  void SetQuants(int g, int j, Ints v) { quants[g][j] = v; }
  void EndGroup(int) {}
};

inline Ints LowNibbles(Ints v) { return And(v, SetI8(15)); }
inline Ints HighNibbles(Ints v) { return And(ShiftRight(v, 4), SetI8(15)); }

// The blocks of a span of kLanes rows that lie one after the other, read as 16 bytes of each row at
// a time and transposed while still packed.
template <typename Format>
class RowSpan {
 public:
  explicit RowSpan(Rows rows) {
    int at = 0;
    for (; at + kWide <= kBytes; at += kWide) LoadWide(rows + at, words_ + at / 4);
#pragma GCC unroll 4
    for (; at + 16 <= kBytes; at += 16) Load16(rows + at, words_ + at / 4);
    if constexpr (kBytes % 4 != 0) {
      Load16(rows + (kBytes - 16), tail_);
    } else if (at < kBytes) {
      Load16(rows + (kBytes - 16), words_ + (kBytes - 16) / 4);
    }
  }

  // Four bytes from offset `at` of a block.
  Ints Word(int block, int at) const {
    const int offset = block * Format::kBytes + at;
    return IsInTail(offset) ? WordOf(tail_, offset - kTailBegin) : WordOf(words_, offset);
  }
  // The f16 at an even offset.
  Floats F16(int block, int at) const {
    const int offset = block * Format::kBytes + at;
    const Ints word = IsInTail(offset) ? tail_[(offset - kTailBegin) / 4] : words_[offset / 4];
    const bool low = (IsInTail(offset) ? offset - kTailBegin : offset) % 4 == 0;
    return low ? F16Low(word) : F16High(word);
  }
  // The byte at an offset, as i32.
  Ints Byte(int block, int at) const {
    const int offset = block * Format::kBytes + at;
    return ByteOf(words_[offset / 4], offset % 4);
  }

 private:
  static constexpr int kBytes = Format::kSpanBytes;
  static constexpr int kTailBegin = kBytes - 16;

  // Where the bytes do not fill words, the last ones are in the tail alone.
  static bool IsInTail(int offset) { return kBytes % 4 != 0 && offset >= kBytes / 16 * 16; }
  static Ints WordOf(const Ints* words, int offset) {
    const int i = offset / 4, bits = offset % 4 * 8;
    if (bits == 0) return words[i];
    return Or(ShiftRight(words[i], bits), ShiftLeft(words[i + 1], 32 - bits));
  }

  Ints words_[(kBytes + 3) / 4];
  Ints tail_[4];  // the last 16 bytes
};

// The same blocks in an interleaved panel (backends/device/layout.h): nothing to transpose.
template <typename Format>
class InterleavedSpan {
 public:
  // The first heads and words of the span, those of the first of the kLanes rows.
  InterleavedSpan(const std::byte* heads, const std::byte* words) : heads_(heads), words_(words) {}

  Ints Word(int block, int at) const {
    return LoadInts(words_ + (block * kWords + (at - kWordsAt) / 4) * kWordBytes);
  }
  Floats F16(int block, int at) const {
    if (kHead.bytes == 2 && at == kHead.at) return LoadF16(heads_ + block * 2 * kPanelRows);
    return at % 4 == 0 ? F16Low(Word(block, at)) : F16High(Word(block, at - 2));
  }
  Ints Byte(int block, int) const { return LoadBytes(heads_ + block * kPanelRows); }

 private:
  static constexpr BlockHead kHead = HeadOf(Format::kType);
  static constexpr int kWordsAt = kHead.at == 0 ? kHead.bytes : 0;
  static constexpr int kWords = (Format::kBytes - kHead.bytes) / 4;
  static constexpr int kWordBytes = 4 * kPanelRows;

  const std::byte* heads_;
  const std::byte* words_;
};

// Formats of blocks of 32: Derived gives Group(span, to, g), which unpacks block g.
template <typename Derived, int kBlockBytes>
struct SmallBlocks {
  static constexpr int kBlock = 32, kBytes = kBlockBytes, kSpanBytes = kGroups * kBytes;
  static constexpr bool kHalves = false;

  template <typename Span, typename To>
  static void Unpack(const Span& span, int groups, To& to) {
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) {
      if (g == groups) return;
      Derived::Group(span, to, g);
      to.EndGroup(g);
    }
  }
};

// Nibbles of 16 bytes from offset `at` of a block: the low ones are the first half of the group.
template <typename Span, typename To, typename Make>
inline void UnpackNibbles(const Span& span, int block, int at, To& to, int g, Make make) {
#pragma GCC unroll 16
  for (int j = 0; j < 4; ++j) {
    const Ints packed = span.Word(block, at + 4 * j);
    to.SetQuants(g, j, make(LowNibbles(packed), j));
    to.SetQuants(g, j + 4, make(HighNibbles(packed), j + 4));
  }
}

struct Q4_0Panel : SmallBlocks<Q4_0Panel, 18> {
  static constexpr DType kType = DType::kQ4_0;
  static constexpr int kLargest = 15;
  static constexpr bool kSigned = false, kMins = true;
  template <typename Span, typename To>
  static void Group(const Span& span, To& to, int g) {
    UnpackNibbles(span, g, 2, to, g, [](Ints q, int) { return q; });
    const Floats scale = span.F16(g, 0);
    to.SetScale(g, scale);
    to.SetMin(g, Mul(scale, Set(-8.0f)));
  }
};

struct Q4_1Panel : SmallBlocks<Q4_1Panel, 20> {
  static constexpr DType kType = DType::kQ4_1;
  static constexpr int kLargest = 15;
  static constexpr bool kSigned = false, kMins = true;
  template <typename Span, typename To>
  static void Group(const Span& span, To& to, int g) {
    UnpackNibbles(span, g, 4, to, g, [](Ints q, int) { return q; });
    to.SetScale(g, span.F16(g, 0));
    to.SetMin(g, span.F16(g, 2));
  }
};

// Bits 4j to 4j + 3 of each lane as the fifth bits of four bytes.
inline Ints FifthBits(Ints bits, int j) {
  const char b = static_cast<char>(j / 2);
  const Ints byte_of_lane = Repeat(_mm_add_epi8(
      _mm_set1_epi8(b), _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12)));
  return BytesWithBits(Lookup(bits, byte_of_lane), SetI32(j % 2 == 0 ? 0x08040201 : 0x80402010),
                       SetI8(16));
}

struct Q5_0Panel : SmallBlocks<Q5_0Panel, 22> {
  static constexpr DType kType = DType::kQ5_0;
  static constexpr int kLargest = 31;
  static constexpr bool kSigned = false, kMins = true;
  template <typename Span, typename To>
  static void Group(const Span& span, To& to, int g) {
    UnpackNibbles(span, g, 6, to, g,
                  [bits = span.Word(g, 2)](Ints q, int j) { return Or(q, FifthBits(bits, j)); });
    const Floats scale = span.F16(g, 0);
    to.SetScale(g, scale);
    to.SetMin(g, Mul(scale, Set(-16.0f)));
  }
};

struct Q5_1Panel : SmallBlocks<Q5_1Panel, 24> {
  static constexpr DType kType = DType::kQ5_1;
  static constexpr int kLargest = 31;
  static constexpr bool kSigned = false, kMins = true;
  template <typename Span, typename To>
  static void Group(const Span& span, To& to, int g) {
    UnpackNibbles(span, g, 8, to, g,
                  [bits = span.Word(g, 4)](Ints q, int j) { return Or(q, FifthBits(bits, j)); });
    to.SetScale(g, span.F16(g, 0));
    to.SetMin(g, span.F16(g, 2));
  }
};

struct Q8_0Panel : SmallBlocks<Q8_0Panel, 34> {
  static constexpr DType kType = DType::kQ8_0;
  static constexpr int kLargest = 128;
  static constexpr bool kSigned = true, kMins = false;
  static constexpr int kBias = 128;
  template <typename Span, typename To>
  static void Group(const Span& span, To& to, int g) {
#pragma GCC unroll 16
    for (int j = 0; j < kQuadsOf; ++j) to.SetQuants(g, j, Biased<To>(span.Word(g, 2 + 4 * j)));
    to.SetScale(g, span.F16(g, 0));
  }
};

// The values of a 4-bit code book, for Lookup.
template <typename To>
inline Ints Iq4Values() {
  const __m128i values =
      _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
  return Biased<To>(Repeat(values));
}

struct IQ4_NLPanel : SmallBlocks<IQ4_NLPanel, 18> {
  static constexpr DType kType = DType::kIQ4_NL;
  static constexpr int kLargest = 127;
  static constexpr bool kSigned = true, kMins = false;
  static constexpr int kBias = 128;
  template <typename Span, typename To>
  static void Group(const Span& span, To& to, int g) {
    UnpackNibbles(span, g, 2, to, g,
                  [values = Iq4Values<To>()](Ints q, int) { return Lookup(values, q); });
    to.SetScale(g, span.F16(g, 0));
  }
};

// Quants are twice the e2m1 values, plus 12.
struct MXFP4Panel : SmallBlocks<MXFP4Panel, 17> {
  static constexpr DType kType = DType::kMXFP4;
  static constexpr int kLargest = 24;
  static constexpr bool kSigned = false, kMins = true;
  template <typename Span, typename To>
  static void Group(const Span& span, To& to, int g) {
    const Ints values =
        Repeat(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    UnpackNibbles(span, g, 1, to, g, [values](Ints q, int) { return Lookup(values, q); });
    const Floats scale = HalfPowerOfTwo(span.Byte(g, 0));
    to.SetScale(g, scale);
    to.SetMin(g, Mul(scale, Set(-12.0f)));
  }
  // 2^(e - 128) from bits: (e - 1) << 23, but 1 << 21 and 1 << 22 for the denormal e = 0 and 1.
  static Floats HalfPowerOfTwo(Ints e) {
    const Ints normal = ShiftLeft(MaxI32(SubI32(e, SetI32(1)), ZeroInts()), 23);
    const Ints below_two = MaxI32(SubI32(SetI32(2), e), ZeroInts());           // 2, 1, 0, 0 ...
    const Ints twice = And(ShiftLeft(below_two, 1), SetI32(2));                // 0, 2, 0, 0 ...
    const Ints denormal = ShiftLeft(Or(ShiftRight(below_two, 1), twice), 21);  // 1, 2, 0, 0 ...
    return FromBits(Or(normal, denormal));
  }
};

}  // namespace tandem::cpu::TANDEM_CPU_ISA
