// A block's tile of the experts' products, and how its sums become rows of f16 numbers; see
// product_tile.cuh and params/experts.h.
#pragma once

#include "convert_rows.cuh"
#include "params/experts.h"
#include "ptx/mbarrier.cuh"
#include "ptx/mma.cuh"
#include "tile_steps.cuh"

namespace tandem::cuda {

inline constexpr int kExpertRowTiles = 2;  // gate and up, or two of down

// What a consumer needs to store a tile of kTokens places: a matrix of its sums on their way out,
// padded against bank conflicts, and of each place the scale and the row of the output.
inline constexpr int kStagingStride = 64 + 8;
template <int kTokens>
struct ExpertStaging {
  alignas(16) u16 halves[kTokens][kStagingStride];
  alignas(16) float scales[kTokens];
  i32 rows[kTokens];
};

// One block's work: rows of an expert's matrices (of both) by a tile of its places.
template <bool kBoth, int kConsumers>
struct ExpertTile {
  static constexpr int kRows = kConsumers * (kBoth ? 64 : kExpertRowTiles * 64);
  int expert, row, place, places;

  // Tiles of one expert follow each other, and of those the ones that share rows of weights.
  __device__ __forceinline__ ExpertTile(const ExpertProductsParams& p, int index,
                                        const ExpertTiles& tiles) {
    const int row_tiles = CeilDiv(p.features, kRows);
    const int local = index - tiles.first_tile * row_tiles;
    const int begin = local % tiles.tiles * tiles.width;
    expert = tiles.expert;
    row = local / tiles.tiles * kRows;
    place = tiles.place + begin;
    places = Min(tiles.width, tiles.pairs - begin);
  }
  // The tiles among which tile `index` is; anything beyond the last.
  __device__ static __forceinline__ ExpertTiles Load(const ExpertProductsParams& p, int index) {
    return p.tiles[Max(0, Min(index, Count(p) - 1)) / CeilDiv(p.features, kRows)];
  }
  __device__ static __forceinline__ int Count(const ExpertProductsParams& p) {
    return p.counts[1] * CeilDiv(p.features, kRows);
  }
  __device__ __forceinline__ int boxes() const { return CeilDiv(places, kExpertBox); }

  __device__ __forceinline__ int FirstRow(int consumer, int m) const {
    return row + (kBoth ? consumer : consumer * kExpertRowTiles + m) * 64;
  }
};

// The exponent of 16 numbers of which `largest` is the largest: zero as long as f16 numbers have
// room for them and enough bits, so for 2^-12 to 2^15; else a multiple of these 27 steps.
__device__ __forceinline__ int CoarseExponent(float largest) {
  const int exponent = static_cast<int>(FloatBits(largest) >> 23 & 0xff);
  if (exponent == 0 || exponent == 0xff) return 0;
  return (exponent - 127 + 12 + 27 * 5) / 27 * 27 - 27 * 5;
}

// The largest magnitudes of the 16 rows of the warp, of the pair of columns of the lane, in bf16,
// which keeps the exponents.
__device__ __forceinline__ u32 LargestOfRows(const float* d) {
  u32 largest = F32ToBF16x2Truncated(fmaxf(fabsf(d[0]), fabsf(d[2])),
                                     fmaxf(fabsf(d[1]), fabsf(d[3])));
#pragma unroll
  for (int i = 4; i < kWarp; i *= 2) largest = MaxBF16x2(largest, ShuffleXor(largest, i));
  return largest;
}

// Whether the exponents of both columns must be zero, by the rows of the lane alone: none is too
// large, and each column has one that is not too small. False for NaN.
__device__ __forceinline__ bool SurelyLevel(const float* d) {
  const float left = fmaxf(fabsf(d[0]), fabsf(d[2])), right = fmaxf(fabsf(d[1]), fabsf(d[3]));
  return fminf(left, right) >= 0x1p-12f && fmaxf(left, right) < 0x1p15f;
}

// Divides the numbers of a warp's 16 rows by the powers of two that they need, and writes these
// down. The lane's columns are `column` and the next one.
__device__ __forceinline__ void ApplyExponents(const ExpertProductsParams& p, float* d, int column,
                                               int places, int panel, const i32* rows) {
  if (__all_sync(kAllLanes, SurelyLevel(d))) return;
  const u32 largest = LargestOfRows(d);
  const int e0 = CoarseExponent(LowBF16ToF32(largest));
  const int e1 = CoarseExponent(HighBF16ToF32(largest));
  if ((e0 | e1) == 0) return;
  const float f0 = PowerOfTwo(-e0), f1 = PowerOfTwo(-e1);
  d[0] *= f0, d[2] *= f0;
  d[1] *= f1, d[3] *= f1;
  if (LaneIndex() >= 4) return;
  *p.any_exponent = 1;
  const int panels = p.features / 16;
  if (column < places) p.exponents[static_cast<i64>(rows[column]) * panels + panel] = e0;
  if (column + 1 < places) p.exponents[static_cast<i64>(rows[column + 1]) * panels + panel] = e1;
}

// A panel's 16 rows of two pieces of 8 tokens: matrix j of four is tokens of piece j / 2, rows j % 2
// * 8 of the panel.
__device__ __forceinline__ void StageHalves(const u32 (&halves)[4], u16* to) {
  const int lane = LaneIndex();
#if __CUDA_ARCH__ >= 900
  const int token = lane / 16 * 8 + lane % 8;
  StoreMatrix4Transposed(halves, SharedAddress(to + token * kStagingStride + lane / 8 % 2 * 8));
#else
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    u16* at = to + (j / 2 * 8 + lane % 4 * 2) * kStagingStride + j % 2 * 8 + lane / 4;
    at[0] = static_cast<u16>(halves[j]);
    at[kStagingStride] = static_cast<u16>(halves[j] >> 16);
  }
#endif
}

// Stores 64 rows of a consumer's sums as f16, as rows of tokens. kPermuted: in the order of operand
// B of the next product.
template <bool kPermuted, int kTokens, bool kBoth, int kConsumers, class Staging>
__device__ __forceinline__ void StoreHalves(const ExpertProductsParams& p,
                                            const ExpertTile<kBoth, kConsumers>& tile, int consumer,
                                            int m, float (&sums)[kTokens / 2], Staging& staging) {
  const int lane = LaneIndex(), warp = threadIdx.x / kWarp % 4, t = lane % 4;
  const int first = tile.FirstRow(consumer, m), panel = first / 16 + warp;
  if (first >= p.features) return;
  if (m > 0) NamedBarrierSync(1 + consumer, kWarpgroup);  // the matrix before has been read
#pragma unroll
  for (int pieces = 0; pieces < kTokens / 8; pieces += 2) {
    u32 halves[4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int column = (pieces + i) * 8;
      float* d = &sums[column / 2];
      if (panel < p.features / 16) {
        ApplyExponents(p, d, column + 2 * t, tile.places, panel, staging.rows);
      }
      halves[2 * i] = F32ToF16x2(d[0], d[1]);
      halves[2 * i + 1] = F32ToF16x2(d[2], d[3]);
    }
    StageHalves(halves, &staging.halves[pieces * 8][warp * 16]);
  }
  NamedBarrierSync(1 + consumer, kWarpgroup);
  // Four lanes for a token: 16 numbers each.
  const int feature = lane % 4 * 16;
  if (first + feature >= p.features) return;
#pragma unroll
  for (int box = 0; box < kTokens / 32; ++box) {
    const int token = box * 32 + warp * 8 + lane / 4;
    if (token >= tile.places) break;
    const uint4 a = *reinterpret_cast<const uint4*>(&staging.halves[token][feature]);
    const uint4 b = *reinterpret_cast<const uint4*>(&staging.halves[token][feature + 8]);
    const i64 at = static_cast<i64>(staging.rows[token]) * p.out_columns + first + feature;
    uint4* out = reinterpret_cast<uint4*>(p.out + at * 2);
    out[0] = kPermuted ? uint4{a.x, a.z, b.x, b.z} : a;
    out[1] = kPermuted ? uint4{a.y, a.w, b.y, b.w} : b;
  }
}

// The sums times the scales of the tokens; with both: silu(gate) * up, in sums[0].
template <int kTokens, bool kBoth>
__device__ __forceinline__ void FinishSums(const float* scales,
                                           float (&sums)[kExpertRowTiles][kTokens / 2]) {
  const int t = LaneIndex() % 4;
#pragma unroll
  for (int i = 0; i < kTokens / 2; i += 2) {
    const float2 pair = *reinterpret_cast<const float2*>(&scales[i / 4 * 8 + 2 * t]);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float scale = j == 0 ? pair.x : pair.y;
      if constexpr (kBoth) {
        sums[0][i + j] = Silu(sums[0][i + j] * scale) * (sums[1][i + j] * scale);
      } else {
        sums[0][i + j] *= scale;
        sums[1][i + j] *= scale;
      }
    }
  }
}

// The scale and the row of the place of each thread; loaded before the products, needed after them.
struct PlaceOfThread {
  float scale;
  i32 row;

  template <class Tile>
  __device__ __forceinline__ PlaceOfThread(const ExpertProductsParams& p, const Tile& tile) {
    const int place = tile.place + Min<int>(threadIdx.x % kWarpgroup, tile.places - 1);
    scale = p.x_scales[place];
    row = p.pairs == nullptr ? place : p.pairs[place];
  }
};

// What becomes of a consumer's sums.
template <int kTokens, bool kBoth, int kConsumers, class Staging>
__device__ __forceinline__ void StoreExpertTile(const ExpertProductsParams& p,
                                                const ExpertTile<kBoth, kConsumers>& tile,
                                                int consumer, const PlaceOfThread& place,
                                                float (&sums)[kExpertRowTiles][kTokens / 2],
                                                Staging& staging) {
  const int thread = threadIdx.x % kWarpgroup;
  if (thread < kTokens) {
    staging.scales[thread] = place.scale;
    staging.rows[thread] = place.row;
  }
  NamedBarrierSync(1 + consumer, kWarpgroup);
  FinishSums<kTokens, kBoth>(staging.scales, sums);
  StoreHalves<kBoth, kTokens>(p, tile, consumer, 0, sums[0], staging);
  if (!kBoth) StoreHalves<kBoth, kTokens>(p, tile, consumer, 1, sums[1], staging);
}

}  // namespace tandem::cuda
