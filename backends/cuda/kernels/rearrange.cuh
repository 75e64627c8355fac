// Weights from the rows of blocks of files to tiles. The bytes of both are described in
// backends/device/quant_blocks.h and tiles.h.
#pragma once

#include "params/rearrange.h"
#include "ptx/convert.cuh"
#include "tiles.cuh"

namespace tandem::cuda {

inline constexpr int kRearrangeThreads = 256;

// Bytes of a block, and where its parts begin.
struct BlockForm {
  int bytes;
  int codes;   // the lower bits of the codes
  int high;    // the upper bits
  int d;       // d, and dmin or m after it
  int scales;  // of a block of 256
};
template <WeightType kType>
inline constexpr BlockForm kBlockForm = {};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kQ4_0> = {18, 2, 0, 0, 0};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kQ4_1> = {20, 4, 0, 0, 0};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kQ5_0> = {22, 6, 2, 0, 0};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kQ5_1> = {24, 8, 4, 0, 0};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kQ8_0> = {34, 2, 0, 0, 0};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kIQ4_NL> = {18, 2, 0, 0, 0};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kMXFP4> = {17, 1, 0, 0, 0};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kQ2_K> = {84, 16, 0, 80, 0};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kQ3_K> = {110, 32, 0, 108, 96};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kQ4_K> = {144, 16, 0, 0, 4};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kQ5_K> = {176, 48, 16, 0, 4};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kQ6_K> = {210, 0, 128, 208, 192};
template <>
inline constexpr BlockForm kBlockForm<WeightType::kIQ4_XS> = {136, 8, 0, 0, 4};

// Four bytes: of mxfp4 at any address, of other types at an even one.
template <WeightType kType>
__device__ __forceinline__ u32 LoadBytes(const u8* p) {
  if constexpr (kType == WeightType::kMXFP4) {
    return p[0] | p[1] << 8 | p[2] << 16 | static_cast<u32>(p[3]) << 24;
  } else {
    const u16* halves = reinterpret_cast<const u16*>(p);
    return halves[0] | static_cast<u32>(halves[1]) << 16;
  }
}

// Codes of elements 32 tile + 4 first .. + 3 of a block (first: 0..7), a byte each: the lower bits.
template <WeightType kType>
__device__ __forceinline__ u32 LowBits(const u8* block, int tile, int first) {
  constexpr TileForm f = kTileForm<kType>;
  const u8* codes = block + kBlockForm<kType>.codes;
  const int half = first / 4;
  if constexpr (f.code_bits == 8) return LoadBytes<kType>(codes + 4 * first);
  if constexpr (f.code_bits == 2) {
    return LoadBytes<kType>(codes + tile / 4 * 32 + 4 * first) >> (tile % 4 * 2) & 0x03030303u;
  }
  int at, high_nibble;
  if constexpr (kType == WeightType::kQ4_K || kType == WeightType::kQ5_K) {
    at = tile / 2 * 32 + 4 * first;
    high_nibble = tile % 2;
  } else if constexpr (kType == WeightType::kQ6_K) {
    at = tile / 4 * 64 + tile % 2 * 32 + 4 * first;
    high_nibble = tile / 2 % 2;
  } else {  // blocks of 32, or groups of 32 like them
    at = tile * 16 + first % 4 * 4;
    high_nibble = half;
  }
  return LoadBytes<kType>(codes + at) >> (4 * high_nibble) & 0x0F0F0F0Fu;
}

// The upper bits, in the lowest bits of each byte.
template <WeightType kType>
__device__ __forceinline__ u32 HighBits(const u8* block, int tile, int first) {
  constexpr TileForm f = kTileForm<kType>;
  const u8* high = block + kBlockForm<kType>.high;
  if constexpr (f.high_bits == 2) {
    return LoadBytes<kType>(high + tile / 4 * 32 + 4 * first) >> (tile % 4 * 2) & 0x03030303u;
  } else if constexpr (f.unit_tiles == 8) {
    return LoadBytes<kType>(high + 4 * first) >> tile & 0x01010101u;
  } else {
    const u32 bits = high[first / 2] >> (first % 2 * 4) & 15u;
    return bits * 0x00204081u & 0x01010101u;
  }
}

// Four bytes of four bits to eight nibbles of which only the lower four are used.
__device__ __forceinline__ u32 PackNibbles(u32 bytes) {
  const u32 pairs = bytes | bytes >> 4;
  return (pairs & 0xFF) | (pairs >> 8 & 0xFF00);
}

// The codes of a lane of a tile; `rows`: blocks of rows g and g + 8.
template <WeightType kType>
__device__ __forceinline__ void StoreCodes(const u8* const (&rows)[2], u8* unit, int tile,
                                           int lane) {
  constexpr TileForm f = kTileForm<kType>;
  const int t = lane % 4;
  u32 low[4], high = 0;
#pragma unroll
  for (int r = 0; r < 4; ++r) low[r] = LowBits<kType>(rows[r % 2], tile, t + r / 2 * 4);
  u32 words[4] = {low[0], low[1], low[2], low[3]};
  if constexpr (f.code_bits == 4) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      words[row] = f.table ? PackNibbles(low[row]) | PackNibbles(low[row + 2]) << 16
                           : low[row] | low[row + 2] << 4;
    }
  }
  if constexpr (f.code_bits == 2) words[0] = low[0] | low[1] << 2 | low[2] << 4 | low[3] << 6;
  constexpr int kWords = f.code_bits / 2;
  u32* to = reinterpret_cast<u32*>(unit + f.codes) + (tile * 32 + lane) * kWords;
#pragma unroll
  for (int i = 0; i < kWords; ++i) to[i] = words[i];
  if constexpr (f.high_bits > 0) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      high |= HighBits<kType>(rows[r % 2], tile, t + r / 2 * 4) << (r * f.high_bits);
    }
    u32* to_high = reinterpret_cast<u32*>(unit + f.high);
    if constexpr (f.high_bits == 2) {
      to_high[tile * 32 + lane] = high;
    } else {
      const u32 odd = ShuffleXor(high, 1);
      if (lane % 2 == 0) to_high[tile * 16 + lane / 2] = high | odd << 4;
    }
  }
}

// Six bits of scale `i` of a block: of kSixBitMin the eight scales and then the eight mins.
template <WeightType kType>
__device__ __forceinline__ u32 SixBitScale(const u8* block, int i) {
  const u8* s = block + kBlockForm<kType>.scales;
  constexpr ScaleForm form = kTileForm<kType>.form;
  if constexpr (form == ScaleForm::kSixBitMin) {
    const int group = i % 8, shift = i / 8 * 4;
    if (group < 4) return s[i / 8 * 4 + group] & 63;
    return (s[group + 4] >> shift & 15) | (s[i / 8 * 4 + group - 4] >> 6) << 4;
  } else if constexpr (form == ScaleForm::kSixBit16) {
    return (s[i % 8] >> (i / 8 * 4) & 15) | (s[8 + i % 4] >> (i / 4 * 2) & 3) << 4;
  } else {  // iq4_xs: the upper bits stand before the lower ones
    return (s[i / 2] >> (i % 2 * 4) & 15) | (s[i / 4 - 2] >> (i % 4 * 2) & 3) << 4;
  }
}

// Value `v` of six-bit entry `entry`, see tiles.h.
template <WeightType kType>
__device__ __forceinline__ u32 SixBitValue(const u8* const (&rows)[2], int entry, int v) {
  constexpr ScaleForm form = kTileForm<kType>.form;
  if constexpr (form == ScaleForm::kSixBitMin) {
    return SixBitScale<kType>(rows[v % 2], v / 2 * 8 + entry);
  } else {
    return SixBitScale<kType>(rows[v % 2], entry * 2 + v / 2);
  }
}

// Scales of the pair of rows g, `i` of eight threads of it.
template <WeightType kType>
__device__ __forceinline__ void StoreScales(const u8* const (&rows)[2], u8* unit, int g, int i) {
  constexpr TileForm f = kTileForm<kType>;
  constexpr ScaleForm form = f.form;
  constexpr BlockForm b = kBlockForm<kType>;
  if constexpr (form == ScaleForm::kExponent) {
    if (i < 2) unit[g * 2 + i] = rows[i][0];
    return;
  }
  constexpr int kHalves = kHasMin<kType> ? 4 : 2;
  if (i < kHalves) {
    reinterpret_cast<u16*>(unit)[g * kHalves + i] =
        *reinterpret_cast<const u16*>(rows[i % 2] + b.d + i / 2 * 2);
  }
  u32* words = reinterpret_cast<u32*>(unit + f.scales);
  if constexpr (form == ScaleForm::kByte16 || form == ScaleForm::kNibble16Min) {
    u32 word = 0;  // of tile i
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      word |= static_cast<u32>(rows[v % 2][b.scales + 2 * i + v / 2]) << (8 * v);
    }
    words[i * 8 + g] = word;
  } else if constexpr (form == ScaleForm::kSixBit || form == ScaleForm::kSixBit16 ||
                       form == ScaleForm::kSixBitMin) {
    constexpr int kEntries = form == ScaleForm::kSixBit ? 4 : 8, kLow = kEntries / 2;
    if (i >= kLow + kEntries / 4) return;
    u32 word = 0;
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      u32 byte = 0;
      if (i < kLow) {
        for (int e = 0; e < 2; ++e) {
          byte |= (SixBitValue<kType>(rows, 2 * i + e, v) & 15) << (4 * e);
        }
      } else {
        for (int e = 0; e < 4; ++e) {
          byte |= (SixBitValue<kType>(rows, (i - kLow) * 4 + e, v) >> 4) << (2 * e);
        }
      }
      word |= byte << (8 * v);
    }
    words[i * 8 + g] = word;
  }
}

// A warp takes a tile at a time, and a quarter or all of the scales of its unit. Grid: any number
// of blocks of kRearrangeThreads threads.
template <WeightType kType>
__global__ void __launch_bounds__(kRearrangeThreads)
    RearrangeToTiles(const __grid_constant__ RearrangeParams p) {
  constexpr TileForm f = kTileForm<kType>;
  constexpr int kBytes = kBlockForm<kType>.bytes, kWarps = kRearrangeThreads / kWarp;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4;
  const i64 row_bytes = static_cast<i64>(p.units) * kBytes;
  const i64 tiles = p.panels * p.units * f.unit_tiles;
  for (i64 i = blockIdx.x * kWarps + warp; i < tiles; i += gridDim.x * kWarps) {
    const i64 index = i / f.unit_tiles, panel = index / p.units;
    const int tile = i % f.unit_tiles;
    const u8* row = p.from + (panel * kTileRows + g) * row_bytes + index % p.units * kBytes;
    const u8* const rows[2] = {row, row + 8 * row_bytes};
    u8* unit = p.to + index * f.unit_bytes;
    StoreCodes<kType>(rows, unit, tile, lane);
    if (f.unit_tiles == 1) {
      StoreScales<kType>(rows, unit, g, lane % 4);
    } else if (tile < 2) {
      StoreScales<kType>(rows, unit, g, tile * 4 + lane % 4);
    }
  }
}

}  // namespace tandem::cuda
