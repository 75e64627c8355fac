// Byte layouts of the block-quantised element types, as GGUF files store them, and the tables and
// bit tricks that every backend needs to read them. `d`, `m` and `dmin` hold fp16 bits (float16.h).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "backends/device/dtype.h"

namespace tandem {

static_assert(std::endian::native == std::endian::little, "blocks are little endian");

inline constexpr int kSmallBlock = 32;   // elements of a Q4_0 .. MXFP4 block
inline constexpr int kSuperBlock = 256;  // elements of a K-type or IQ4_XS block

// Values of the 4-bit codes of IQ4_NL and IQ4_XS: dense near zero, as weights are.
inline constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

// Values of the 4-bit codes of MXFP4 (e2m1 floats), doubled to be integers. Code 8 is minus zero.
inline constexpr int8_t kMXFP4Values[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

// In all blocks of 32 with 4-bit codes, byte j holds the code of element j in its low nibble and
// that of element j + 16 in its high nibble.

struct BlockQ4_0 {  // y = d * (q - 8)
  static constexpr DType kType = DType::kQ4_0;
  uint16_t d;
  uint8_t qs[16];  // q, 0..15
};

struct BlockQ4_1 {  // y = d * q + m
  static constexpr DType kType = DType::kQ4_1;
  uint16_t d;
  uint16_t m;      // value of code 0
  uint8_t qs[16];  // q, 0..15
};

struct BlockQ5_0 {  // y = d * (q - 16)
  static constexpr DType kType = DType::kQ5_0;
  uint16_t d;
  uint8_t qh[4];   // bit 4 of q: element j in bit j of this 32-bit number
  uint8_t qs[16];  // bits 0..3 of q
};

struct BlockQ5_1 {  // y = d * q + m
  static constexpr DType kType = DType::kQ5_1;
  uint16_t d;
  uint16_t m;      // value of code 0
  uint8_t qh[4];   // bit 4 of q, as in Q5_0
  uint8_t qs[16];  // bits 0..3 of q
};

struct BlockQ8_0 {  // y = d * q
  static constexpr DType kType = DType::kQ8_0;
  uint16_t d;
  int8_t qs[32];  // q; the encoders here write -127..127 only
};

struct BlockIQ4_NL {  // y = d * kIQ4Values[q]
  static constexpr DType kType = DType::kIQ4_NL;
  uint16_t d;
  uint8_t qs[16];  // q, 0..15
};

struct BlockMXFP4 {  // y = MXFP4Scale(e) * kMXFP4Values[q]
  static constexpr DType kType = DType::kMXFP4;
  uint8_t e;       // exponent of the scale, see MXFP4Scale
  uint8_t qs[16];  // q, 0..15
};

// Blocks of 256, in groups of 16 or 32 that have scales of their own.

struct BlockQ2_K {  // groups of 16: y = d * scale * q - dmin * min
  static constexpr DType kType = DType::kQ2_K;
  uint8_t scales[16];  // group i: scale in the low nibble, min in the high one
  uint8_t qs[64];      // element 128h + 32j + l: bits 2j, 2j+1 of byte 32h + l
  uint16_t d;
  uint16_t dmin;
};

struct BlockQ3_K {  // groups of 16: y = d * (scale - 32) * (q - 4)
  static constexpr DType kType = DType::kQ3_K;
  uint8_t hmask[32];   // bit 2 of q: element 32g + l in bit g of byte l
  uint8_t qs[64];      // bits 0, 1 of q, as in Q2_K
  uint8_t scales[12];  // 6 bits a group: see UnpackQ3KScale
  uint16_t d;
};

struct BlockQ4_K {  // groups of 32: y = d * scale * q - dmin * min
  static constexpr DType kType = DType::kQ4_K;
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];  // 6 bits for each scale and min: see UnpackScaleMin
  uint8_t qs[128];     // byte 32h + l: element 64h + l in the low nibble, 64h + 32 + l in the high
};

struct BlockQ5_K {  // groups of 32: y = d * scale * q - dmin * min
  static constexpr DType kType = DType::kQ5_K;
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];  // as in Q4_K
  uint8_t qh[32];      // bit 4 of q: element 32g + l in bit g of byte l
  uint8_t qs[128];     // bits 0..3 of q, as in Q4_K
};

struct BlockQ6_K {  // groups of 16: y = d * scale * (q - 32)
  static constexpr DType kType = DType::kQ6_K;
  uint8_t ql[128];    // bits 0..3: byte 64h + l: element 128h + l low, 128h + 64 + l high (l < 64)
  uint8_t qh[64];     // bits 4, 5: element 128h + 32j + l: bits 2j, 2j+1 of byte 32h + l (l < 32)
  int8_t scales[16];  // scale of each group
  uint16_t d;
};

struct BlockIQ4_XS {  // groups of 32: y = d * (scale - 32) * kIQ4Values[q]
  static constexpr DType kType = DType::kIQ4_XS;
  uint16_t d;
  uint16_t scales_h;    // bits 4, 5 of the scale of group i: bits 2i, 2i+1
  uint8_t scales_l[4];  // bits 0..3: group i in byte i/2, the even one in the low nibble
  uint8_t qs[128];      // group i: bytes 16i .. 16i+15, in the order of IQ4_NL
};

// As in GetDTypeInfo: a test checks that the two agree.
static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20);
static_assert(sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4_NL) == 18 && sizeof(BlockMXFP4) == 17);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210 && sizeof(BlockIQ4_XS) == 136);

template <class... Blocks, class F>
constexpr bool VisitOneOf(DType dtype, F f) {
  return ((dtype == Blocks::kType && (f(std::type_identity<Blocks>()), true)) || ...);
}

// Calls `f` with std::type_identity<Block> of the block struct of `dtype`. False, and no call, for
// types of plain numbers.
template <class F>
constexpr bool VisitBlockType(DType dtype, F f) {
  return VisitOneOf<BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, BlockIQ4_NL, BlockMXFP4,
                    BlockQ2_K, BlockQ3_K, BlockQ4_K, BlockQ5_K, BlockQ6_K, BlockIQ4_XS>(dtype, f);
}

struct ScaleMin {
  uint8_t scale;  // 0..63
  uint8_t min;    // 0..63
};

// Scale and min of group `group` (0..7) of a Q4_K or Q5_K block. Groups 0..3 have their 6 bits in
// bytes 0..3 (scale) and 4..7 (min); groups 4..7 have 4 bits in bytes 8..11 and their upper 2 bits
// in what the bytes of groups 0..3 leave free.
constexpr ScaleMin UnpackScaleMin(const uint8_t (&scales)[12], int group) {
  if (group < 4) {
    return {static_cast<uint8_t>(scales[group] & 63), static_cast<uint8_t>(scales[group + 4] & 63)};
  }
  return {static_cast<uint8_t>((scales[group + 4] & 15) | (scales[group - 4] >> 6) << 4),
          static_cast<uint8_t>((scales[group + 4] >> 4) | (scales[group] >> 6) << 4)};
}

// Scale of group `group` (0..15) of a Q3_K block, with its offset of 32 taken away: -32..31.
constexpr int UnpackQ3KScale(const uint8_t (&scales)[12], int group) {
  const int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
  const int high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
  return (low | high << 4) - 32;
}

// Scale of group `group` (0..7) of an IQ4_XS block, with its offset of 32 taken away: -32..31.
constexpr int UnpackIQ4XSScale(const BlockIQ4_XS& block, int group) {
  const int low = block.scales_l[group / 2] >> (4 * (group % 2)) & 15;
  const int high = block.scales_h >> (2 * group) & 3;
  return (low | high << 4) - 32;
}

// 2^(e - 128): half the e8m0 scale, since kMXFP4Values are doubled. e < 2 gives float denormals.
constexpr float MXFP4Scale(uint8_t e) {
  const uint32_t bits = e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23;
  return std::bit_cast<float>(bits);
}

}  // namespace tandem
