// Reads quantised weights laid out in tiles: their codes as bytes or f16 numbers in the order of
// the matrix instructions, and their scales. The bytes of a unit are described in
// backends/device/tiles.h; `unit` points to its first byte, in shared or global memory.
//
// Lane l of a warp, with g = l / 4 and t = l % 4, has rows g and g + 8 of a tile ("row 0 and 1"
// below) and elements 4t..4t+3 and 16+4t..16+4t+3 of them ("half 0 and 1").
#pragma once

#include "base.cuh"
#include "ptx/convert.cuh"
#include "weight_type.cuh"

namespace tandem::cuda {

inline constexpr int kTileRows = 16;
inline constexpr int kTileElements = 32;

// What the scales of a unit look like.
enum class ScaleForm {
  kHalf,        // d f16 for each tile
  kHalfMin,     // d and m f16 for each tile
  kExponent,    // e8m0 for each tile
  kSixBit,      // d f16, a scale of six bits for each tile
  kSixBitMin,   // d and dmin f16, a scale and a min of six bits for each tile
  kSixBit16,    // d f16, a scale of six bits for each half of a tile
  kByte16,      // d f16, a scale of eight bits for each half of a tile
  kNibble16Min  // d and dmin f16, a scale and a min of four bits for each half of a tile
};

// The values of codes: value = scale * (code - offset), or scale * code + min, or scale *
// table[code].
struct TileForm {
  int unit_tiles, unit_bytes;
  ScaleForm form;
  int scales;            // where six-bit, 8-bit and 4-bit scales begin
  int codes, code_bits;  // the lower bits of the codes: where, how many
  int high, high_bits;   // the upper ones
  int offset;            // taken from codes
  bool table;            // codes select from a table; their nibbles are in straight order
};

template <WeightType kType>
inline constexpr TileForm kTileForm = {};
template <>
inline constexpr TileForm kTileForm<WeightType::kQ4_0> = {1, 288,  ScaleForm::kHalf, 0, 32, 4, 0, 0,
                                                          8, false};
template <>
inline constexpr TileForm kTileForm<WeightType::kQ4_1> = {
    1, 320, ScaleForm::kHalfMin, 0, 64, 4, 0, 0, 0, false};
template <>
inline constexpr TileForm kTileForm<WeightType::kQ5_0> = {
    1, 352, ScaleForm::kHalf, 0, 32, 4, 288, 1, 16, false};
template <>
inline constexpr TileForm kTileForm<WeightType::kQ5_1> = {
    1, 384, ScaleForm::kHalfMin, 0, 64, 4, 320, 1, 0, false};
template <>
inline constexpr TileForm kTileForm<WeightType::kQ8_0> = {1, 544,  ScaleForm::kHalf, 0, 32, 8, 0, 0,
                                                          0, false};
template <>
inline constexpr TileForm kTileForm<WeightType::kIQ4_NL> = {
    1, 288, ScaleForm::kHalf, 0, 32, 4, 0, 0, 0, true};
template <>
inline constexpr TileForm kTileForm<WeightType::kMXFP4> = {
    1, 272, ScaleForm::kExponent, 0, 16, 4, 0, 0, 0, true};
template <>
inline constexpr TileForm kTileForm<WeightType::kQ2_K> = {
    8, 1344, ScaleForm::kNibble16Min, 64, 320, 2, 0, 0, 0, false};
template <>
inline constexpr TileForm kTileForm<WeightType::kQ3_K> = {
    8, 1760, ScaleForm::kSixBit16, 32, 224, 2, 1248, 1, 4, false};
template <>
inline constexpr TileForm kTileForm<WeightType::kQ4_K> = {
    8, 2304, ScaleForm::kSixBitMin, 64, 256, 4, 0, 0, 0, false};
template <>
inline constexpr TileForm kTileForm<WeightType::kQ5_K> = {
    8, 2816, ScaleForm::kSixBitMin, 64, 256, 4, 2304, 1, 0, false};
template <>
inline constexpr TileForm kTileForm<WeightType::kQ6_K> = {
    8, 3360, ScaleForm::kByte16, 32, 288, 4, 2336, 2, 32, false};
template <>
inline constexpr TileForm kTileForm<WeightType::kIQ4_XS> = {
    8, 2176, ScaleForm::kSixBit, 32, 128, 4, 0, 0, 0, true};

template <WeightType kType>
inline constexpr bool kInTiles = kTileForm<kType>.unit_tiles > 0;
template <WeightType kType>
inline constexpr bool kHasMin = kTileForm<kType>.form == ScaleForm::kHalfMin ||
                                kTileForm<kType>.form == ScaleForm::kSixBitMin ||
                                kTileForm<kType>.form == ScaleForm::kNibble16Min;
// Scales of a row of a tile: one, or one for each half.
template <WeightType kType>
inline constexpr int kTileScales =
    kTileForm<kType>.form == ScaleForm::kSixBit16 || kTileForm<kType>.form == ScaleForm::kByte16 ||
            kTileForm<kType>.form == ScaleForm::kNibble16Min
        ? 2
        : 1;

// Codes

// A lane's codes of a tile, as they are in memory: for 4 bits the words of its two rows, for 8 bits
// its registers; in `high` the upper bits, of register r at bits r, r + 8, ... (1 bit) or 2r, 2r +
// 8, ... (2 bits).
template <WeightType kType>
struct TileCodes {
  u32 low[kTileForm<kType>.code_bits / 2];
  u32 high;
};

template <WeightType kType>
__device__ __forceinline__ TileCodes<kType> LoadTileCodes(const u8* unit, int tile, int lane) {
  constexpr TileForm f = kTileForm<kType>;
  TileCodes<kType> codes;
  constexpr int kBytes = sizeof(codes.low);
  const u8* low = unit + f.codes + (tile * 32 + lane) * kBytes;
  if constexpr (kBytes == 16) {
    const uint4 v = *reinterpret_cast<const uint4*>(low);
    codes.low[0] = v.x, codes.low[1] = v.y, codes.low[2] = v.z, codes.low[3] = v.w;
  } else if constexpr (kBytes == 8) {
    const uint2 v = *reinterpret_cast<const uint2*>(low);
    codes.low[0] = v.x, codes.low[1] = v.y;
  } else {
    codes.low[0] = *reinterpret_cast<const u32*>(low);
  }
  codes.high = 0;
  if constexpr (f.high_bits == 1) {
    const u8* high = unit + f.high + (tile * 16 + lane / 2) * 4;
    codes.high = *reinterpret_cast<const u32*>(high) >> (lane % 2 * 4);
  }
  if constexpr (f.high_bits == 2) {
    codes.high = *reinterpret_cast<const u32*>(unit + f.high + (tile * 32 + lane) * 4);
  }
  return codes;
}

// Sixteen bytes to select from by 4-bit codes, plus `shift`.
struct ByteTable {
  u32 words[4];
};
TANDEM_HOST_DEVICE constexpr ByteTable MakeTable(const i32 (&values)[16], i32 shift) {
  ByteTable table = {};
  for (int i = 0; i < 16; ++i) {
    table.words[i / 4] |= static_cast<u32>((values[i] + shift) & 255) << (i % 4 * 8);
  }
  return table;
}
template <WeightType kType>
TANDEM_HOST_DEVICE constexpr ByteTable TableOf(i32 shift) {
  if constexpr (kType == WeightType::kMXFP4) {  // e2m1, doubled
    constexpr i32 kValues[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    return MakeTable(kValues, shift);
  } else {
    constexpr i32 kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
    return MakeTable(kValues, shift);
  }
}

// The table's bytes for the eight nibbles of `codes`. A permutation selects among eight bytes by
// three bits of each nibble; a third one chooses, by bit 3, between the halves of the table.
__device__ __forceinline__ void LookUp(const ByteTable& table, u32 codes, u32& low, u32& high) {
  const u32 select = codes & 0x77777777u;
  const u32 choose = (codes >> 1 & 0x44444444u) | 0x32103210u;
  low = Permute(Permute(table.words[0], table.words[1], select),
                Permute(table.words[2], table.words[3], select), choose);
  high = Permute(Permute(table.words[0], table.words[1], select >> 16),
                 Permute(table.words[2], table.words[3], select >> 16), choose >> 16);
}

// The codes as bytes in the four registers of A of mma.m16n8k32; table values plus `kShift`, which
// other types ignore.
template <WeightType kType, int kShift = 0>
__device__ __forceinline__ void UnpackBytes(const TileCodes<kType>& codes, u32 (&a)[4]) {
  constexpr TileForm f = kTileForm<kType>;
  if constexpr (f.table) {
    constexpr ByteTable kTable = TableOf<kType>(kShift);
    LookUp(kTable, codes.low[0], a[0], a[2]);
    LookUp(kTable, codes.low[1], a[1], a[3]);
  } else if constexpr (f.code_bits == 8) {
#pragma unroll
    for (int r = 0; r < 4; ++r) a[r] = codes.low[r];
  } else if constexpr (f.code_bits == 4) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      a[row] = codes.low[row] & 0x0F0F0F0Fu;
      a[row + 2] = codes.low[row] >> 4 & 0x0F0F0F0Fu;
    }
  } else {
#pragma unroll
    for (int r = 0; r < 4; ++r) a[r] = codes.low[0] >> (2 * r) & 0x03030303u;
  }
  if constexpr (f.high_bits > 0) {
    constexpr u32 kMask = (f.high_bits == 2 ? 0x03030303u : 0x01010101u) << f.code_bits;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int up = f.code_bits - r * f.high_bits;
      a[r] |= (up >= 0 ? codes.high << up : codes.high >> -up) & kMask;
    }
  }
}

// A table for products with bytes, by which each code is looked up twice and the products of both
// results are added: codes below 8 give their value and 0, the others -1 and their value plus 1.
// This needs fewer instructions than choosing between two results. A permutation whose selector has
// its highest bit set gives the sign of the byte that it selects, and the values of the lower half
// of the table of IQ4_NL are negative, those of the upper half positive.
template <WeightType kType>
inline constexpr bool kTwoLookUps = kType == WeightType::kIQ4_NL || kType == WeightType::kIQ4_XS;

// In registers whose content the compiler does not know, since it would rather make constants anew
// for every use.
struct SplitTable {
  u32 words[4];
};
template <WeightType kType>
__device__ __forceinline__ SplitTable LoadSplitTable() {
  SplitTable table = {};
  if constexpr (kTwoLookUps<kType>) {
    constexpr ByteTable kLower = TableOf<kType>(0), kUpper = TableOf<kType>(1);
#pragma unroll
    for (int i = 0; i < 4; ++i) table.words[i] = Opaque(i < 2 ? kLower.words[i] : kUpper.words[i]);
  }
  return table;
}

// As UnpackBytes; the weights are the sums of `a` and `b`.
template <WeightType kType>
__device__ __forceinline__ void UnpackTwice(const SplitTable& table, const TileCodes<kType>& codes,
                                            u32 (&a)[4], u32 (&b)[4]) {
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const u32 lower = codes.low[row], upper = lower ^ 0x88888888u;
    a[row] = Permute(table.words[0], table.words[1], lower);
    a[row + 2] = Permute(table.words[0], table.words[1], lower >> 16);
    b[row] = Permute(table.words[2], table.words[3], upper);
    b[row + 2] = Permute(table.words[2], table.words[3], upper >> 16);
  }
}

// Scales

__device__ __forceinline__ u32 LoadWord(const u8* p) { return *reinterpret_cast<const u32*>(p); }

// 2^(e - 128), see MXFP4Scale in quant_blocks.h.
__device__ __forceinline__ float ExponentScale(u32 e) {
  return BitsFloat(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

// The six bits of four values of entry `entry` of `kEntries`, as bytes.
template <int kEntries>
__device__ __forceinline__ u32 LoadSixBits(const u8* scales, int entry, int g) {
  const u32 low = LoadWord(scales + (entry / 2 * 8 + g) * 4) >> (entry % 2 * 4);
  const u32 high = LoadWord(scales + ((kEntries / 2 + entry / 4) * 8 + g) * 4) >> (entry % 4 * 2);
  return (low & 0x0F0F0F0Fu) | (high << 4 & 0x30303030u);
}

__device__ __forceinline__ u32 ByteOf(u32 word, int i) { return word >> (8 * i) & 255; }
__device__ __forceinline__ float UnsignedByte(u32 word, int i) {
  return static_cast<float>(ByteOf(word, i));
}
__device__ __forceinline__ float SignedByte(u32 word, int i) {
  return static_cast<float>(static_cast<i8>(ByteOf(word, i)));
}

// Of rows g and g + 8 of a tile: value = scale * (code - offset) [+ min].
template <WeightType kType>
struct TileScales {
  float scale[2][kTileScales<kType>];  // [row][half]
  float min[2][kTileScales<kType>];    // where kHasMin
};

template <WeightType kType>
__device__ __forceinline__ TileScales<kType> LoadTileScales(const u8* unit, int tile, int g) {
  constexpr TileForm f = kTileForm<kType>;
  TileScales<kType> s;
  if constexpr (f.form == ScaleForm::kHalf) {
    const u32 d = LoadWord(unit + g * 4);
    s.scale[0][0] = LowF16ToF32(d);
    s.scale[1][0] = HighF16ToF32(d);
  } else if constexpr (f.form == ScaleForm::kHalfMin) {
    const uint2 v = *reinterpret_cast<const uint2*>(unit + g * 8);
    s.scale[0][0] = LowF16ToF32(v.x);
    s.scale[1][0] = HighF16ToF32(v.x);
    s.min[0][0] = LowF16ToF32(v.y);
    s.min[1][0] = HighF16ToF32(v.y);
  } else if constexpr (f.form == ScaleForm::kExponent) {
    const u32 e = *reinterpret_cast<const u16*>(unit + g * 2);
    s.scale[0][0] = ExponentScale(e & 255);
    s.scale[1][0] = ExponentScale(e >> 8);
  } else if constexpr (f.form == ScaleForm::kSixBit) {
    const u32 d = LoadWord(unit + g * 4);
    const u32 six = LoadSixBits<4>(unit + f.scales, tile / 2, g) >> (tile % 2 * 16);
    s.scale[0][0] = LowF16ToF32(d) * (UnsignedByte(six, 0) - 32.0f);
    s.scale[1][0] = HighF16ToF32(d) * (UnsignedByte(six, 1) - 32.0f);
  } else if constexpr (f.form == ScaleForm::kSixBitMin) {
    const uint2 v = *reinterpret_cast<const uint2*>(unit + g * 8);
    const u32 six = LoadSixBits<8>(unit + f.scales, tile, g);
    s.scale[0][0] = LowF16ToF32(v.x) * UnsignedByte(six, 0);
    s.scale[1][0] = HighF16ToF32(v.x) * UnsignedByte(six, 1);
    s.min[0][0] = -LowF16ToF32(v.y) * UnsignedByte(six, 2);
    s.min[1][0] = -HighF16ToF32(v.y) * UnsignedByte(six, 3);
  } else if constexpr (f.form == ScaleForm::kSixBit16) {
    const u32 d = LoadWord(unit + g * 4), six = LoadSixBits<8>(unit + f.scales, tile, g);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      s.scale[0][half] = LowF16ToF32(d) * (UnsignedByte(six, 2 * half) - 32.0f);
      s.scale[1][half] = HighF16ToF32(d) * (UnsignedByte(six, 2 * half + 1) - 32.0f);
    }
  } else if constexpr (f.form == ScaleForm::kByte16) {
    const u32 d = LoadWord(unit + g * 4), bytes = LoadWord(unit + f.scales + (tile * 8 + g) * 4);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      s.scale[0][half] = LowF16ToF32(d) * SignedByte(bytes, 2 * half);
      s.scale[1][half] = HighF16ToF32(d) * SignedByte(bytes, 2 * half + 1);
    }
  } else {
    const uint2 v = *reinterpret_cast<const uint2*>(unit + g * 8);
    const u32 bytes = LoadWord(unit + f.scales + (tile * 8 + g) * 4);
    const u32 scale = bytes & 0x0F0F0F0Fu, min = bytes >> 4 & 0x0F0F0F0Fu;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      s.scale[0][half] = LowF16ToF32(v.x) * UnsignedByte(scale, 2 * half);
      s.scale[1][half] = HighF16ToF32(v.x) * UnsignedByte(scale, 2 * half + 1);
      s.min[0][half] = -LowF16ToF32(v.y) * UnsignedByte(min, 2 * half);
      s.min[1][half] = -HighF16ToF32(v.y) * UnsignedByte(min, 2 * half + 1);
    }
  }
  return s;
}

// f16 numbers

// Each scale (and min) twice in a register.
template <WeightType kType>
struct TileScalesF16 {
  u32 scale[2][kTileScales<kType>];
  u32 min[2][kTileScales<kType>];
};

template <WeightType kType>
__device__ __forceinline__ TileScalesF16<kType> LoadTileScalesF16(const u8* unit, int tile, int g) {
  constexpr ScaleForm form = kTileForm<kType>.form;
  TileScalesF16<kType> s;
  if constexpr (form == ScaleForm::kHalf || form == ScaleForm::kHalfMin) {
    constexpr int kNumbers = form == ScaleForm::kHalf ? 1 : 2;
    const u8* at = unit + g * 4 * kNumbers;
    const u32 d = LoadWord(at);
    s.scale[0][0] = Permute(d, d, 0x1010);
    s.scale[1][0] = Permute(d, d, 0x3232);
    if constexpr (form == ScaleForm::kHalfMin) {
      const u32 m = LoadWord(at + 4);
      s.min[0][0] = Permute(m, m, 0x1010);
      s.min[1][0] = Permute(m, m, 0x3232);
    }
  } else {
    const TileScales<kType> exact = LoadTileScales<kType>(unit, tile, g);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
#pragma unroll
      for (int half = 0; half < kTileScales<kType>; ++half) {
        s.scale[row][half] = F32ToF16x2(exact.scale[row][half], exact.scale[row][half]);
        if constexpr (kHasMin<kType>) {
          s.min[row][half] = F32ToF16x2(exact.min[row][half], exact.min[row][half]);
        }
      }
    }
  }
  return s;
}

// The weights of a tile as two matrices A of mma.m16n8k16 (or of wgmma, whose fragments are the
// same), one for each 16 elements of the row. In `a[half]`: register row: elements 4t, 4t + 1;
// register row + 2: elements 4t + 2, 4t + 3. So element 4t + j of 16 stands in column
// 2t + j % 2 + 8 (j / 2) of A, and the rows of B must be in that order.
//
// Values are rounded once from scale * code (+ min), where types with blocks of 256 have their
// scales (and mins) rounded to f16 before.
template <WeightType kType>
__device__ __forceinline__ void UnpackF16(const TileCodes<kType>& codes,
                                          const TileScalesF16<kType>& scales, u32 (&a)[2][4]) {
  constexpr TileForm f = kTileForm<kType>;
  constexpr bool kBias = f.table || f.code_bits == 8;  // bytes made unsigned by adding 128
  constexpr u32 kZero = 0x6400u + (kBias ? 128 : f.offset);
  u32 bytes[4];
  UnpackBytes<kType, 128>(codes, bytes);
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int row = r % 2, half = r / 2, which = kTileScales<kType> == 2 ? half : 0;
    if constexpr (f.code_bits == 8) bytes[r] ^= 0x80808080u;
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      // Byte x in the lower bits of the mantissa of 1024 makes 1024 + x.
      const u32 shifted = Permute(bytes[r], 0x64646464u, pair == 0 ? 0x4140 : 0x4342);
      const u32 code = SubF16x2(shifted, kZero * 0x10001u);
      const u32 scale = scales.scale[row][which];
      if constexpr (kHasMin<kType>) {
        a[half][row + 2 * pair] = FmaF16x2(code, scale, scales.min[row][which]);
      } else {
        a[half][row + 2 * pair] = MulF16x2(code, scale);
      }
    }
  }
}

}  // namespace tandem::cuda
