// Quantised weights in tiles (backends/device/tiles.h), unpacked as operand A of the products of 16
// k: the 16 weights that a lane has of a tile, as two fragments. The k of a product is permuted:
// position 2t + (j & 1) + 8 (j >> 1) of 16 holds element 4t + j, which is how convert_rows.cuh
// writes the other operand, so that a lane needs no weights but its own.
#pragma once

#include "ptx/convert.cuh"
#include "tiles.cuh"

namespace tandem::cuda {

// Load: what a lane needs of a tile, of a unit in shared memory. Unpack: a[0..3], the fragment of
// elements 0..15 of the tile, and a[4..7], of 16..31.
template <WeightType kType>
class TileWeights {
 public:
  static constexpr int kUnitTiles = kTileForm<kType>.unit_tiles;
  static constexpr int kUnitBytes = kTileForm<kType>.unit_bytes;

  struct Raw {
    TileCodes<kType> codes;
    TileScalesF16<kType> scales;
  };

  __device__ static __forceinline__ Raw Load(const u8* unit, int tile, int lane) {
    return {LoadTileCodes<kType>(unit, tile, lane),
            LoadTileScalesF16<kType>(unit, tile, lane / 4)};
  }

  __device__ __forceinline__ void Unpack(const Raw& raw, u32 (&a)[8]) const {
    u32 halves[2][4];
    UnpackF16<kType>(raw.codes, raw.scales, halves);
#pragma unroll
    for (int i = 0; i < 8; ++i) a[i] = halves[i / 4][i % 4];
  }
};

// A constant in a register: as blocks have one dimension, threadIdx.y is zero, but the compiler does
// not know it. Otherwise it would move the constant to a register before each use.
__device__ __forceinline__ u32 InRegister(u32 x) {
  u32 zero;
  asm volatile("mov.u32 %0, %%tid.y;" : "=r"(zero));
  return x + zero;
}

// The same with fewer instructions.
template <>
class TileWeights<WeightType::kIQ4_NL> {
 public:
  static constexpr int kUnitTiles = 1;
  static constexpr int kUnitBytes = 288;

  struct Raw {
    u32 codes[2];  // rows g and g + 8
    u32 scales;
  };

  __device__ static __forceinline__ Raw Load(const u8* unit, int /*tile*/, int lane) {
    Raw raw;
    const uint2 codes = *reinterpret_cast<const uint2*>(unit + 32 + lane * 8);
    raw.codes[0] = codes.x, raw.codes[1] = codes.y;
    raw.scales = *reinterpret_cast<const u32*>(unit + lane / 4 * 4);
    return raw;
  }

  __device__ __forceinline__ void Unpack(const Raw& raw, u32 (&a)[8]) const {
    UnpackRow<0>(raw.codes[0], Permute(raw.scales, 0, 0x1010), a);
    UnpackRow<1>(raw.codes[1], Permute(raw.scales, 0, 0x3232), a);
  }

 private:
  template <int kRow>
  __device__ __forceinline__ void UnpackRow(u32 codes, u32 scale, u32 (&a)[8]) const {
    const u32 index = codes & 0x77777777u;
    const u32 upper = Lop3<0xEA>(codes >> 1, upper_bit_, bytes_);  // (a & b) | c
    UnpackFour(index, upper, scale, a[kRow], a[kRow + 2]);
    UnpackFour(index >> 16, upper >> 16, scale, a[kRow + 4], a[kRow + 6]);
  }

  __device__ __forceinline__ void UnpackFour(u32 index, u32 upper, u32 scale, u32& low,
                                             u32& high) const {
    const u32 bytes = Permute(Permute(table_[0], table_[1], index),
                              Permute(table_[2], table_[3], index), upper);
    low = Scaled(Permute(bytes, exponent_, 0x4140), scale);
    high = Scaled(Permute(bytes, exponent_, 0x4342), scale);
  }

  __device__ __forceinline__ u32 Scaled(u32 biased, u32 scale) const {
    return MulF16x2(SubF16x2(biased, bias_), scale);
  }

  // kIQ4Values + 128, so that a value is the low byte of the f16 number 1024 + value.
  u32 table_[4] = {InRegister(0x3F2D1801u), InRegister(0x766A5D4Fu), InRegister(0xA6998D81u),
                   InRegister(0xF1D9C5B5u)};
  u32 upper_bit_ = InRegister(0x44444444u), bytes_ = InRegister(0x32103210u);
  u32 exponent_ = InRegister(0x64646464u);
  u32 bias_ = InRegister(0x64806480u);  // 1152
};

// f16 numbers in tiles of their own, as f16_tiles.cuh makes them of other weights: in a unit the
// fragments of elements 0..15, lane after lane, then those of 16..31.
template <>
class TileWeights<WeightType::kF16> {
 public:
  static constexpr int kUnitTiles = 1;
  static constexpr int kUnitBytes = 1024;

  // Read when they are unpacked, as they are operands then: earlier, while products of the step
  // before are under way, their registers must not be written.
  struct Raw {
    const uint4* fragments;
  };

  __device__ static __forceinline__ Raw Load(const u8* unit, int /*tile*/, int lane) {
    return {reinterpret_cast<const uint4*>(unit) + lane};
  }

  __device__ __forceinline__ void Unpack(const Raw& raw, u32 (&a)[8]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4 halves = raw.fragments[i * kWarp];
      a[4 * i] = halves.x;
      a[4 * i + 1] = halves.y;
      a[4 * i + 2] = halves.z;
      a[4 * i + 3] = halves.w;
    }
  }
};

}  // namespace tandem::cuda
