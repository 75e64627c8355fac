// Products of the experts' matrices with the tokens that chose them, sm_90a: see tile_loop.cuh and
// params/experts.h.
#pragma once

#include "convert_rows.cuh"
#include "params/experts.h"
#include "ptx/mma.cuh"
#include "tile_loop.cuh"

namespace tandem::cuda {

inline constexpr int kExpertConsumers = 2;
inline constexpr int kExpertRowTiles = 2;  // gate and up, or two of down
inline constexpr int kExpertTokens = 128;  // of the widest tile
inline constexpr int kExpertStages = 6;

// A consumer's rows on their way out, a box of tokens at a time; padded against bank conflicts.
using ExpertStaging = u16[kExpertBox][64 + 8];

template <class Weights>
struct ExpertProductsShared {
  static constexpr int kStages = kWeightSteps<Weights> == 1 ? kExpertStages : 4;
  TileRing<Weights, kExpertConsumers, kExpertRowTiles, kExpertTokens, kStages> ring;
  alignas(16) ExpertStaging staging[kExpertConsumers];
};

// One block's work: rows of an expert's matrices (of both) by a tile of its places.
template <bool kBoth>
struct ExpertTile {
  static constexpr int kRows = kExpertConsumers * (kBoth ? 64 : kExpertRowTiles * 64);
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

// Panels beyond the last of a matrix are the next matrix's; their sums are not stored.
template <bool kBoth>
__device__ __forceinline__ WeightBoxes BoxesOf(const ExpertProductsParams& p,
                                               const ExpertTile<kBoth>& tile) {
  const int panel = (tile.expert * p.features + tile.row) / 16;
  if (kBoth) return {{&p.weights, &p.up}, kExpertConsumers * 2, panel, 4};
  return {{&p.weights, &p.weights}, 1, panel, 0};
}

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

// Divides the numbers of a consumer's 16 rows by the powers of two that they need, and writes these
// down. `exponents`: of the first of the tile's places.
template <class RowOf>
__device__ __forceinline__ void ApplyExponents(const ExpertProductsParams& p, float* d, int column,
                                               int places, int panel, RowOf row_of) {
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
  if (column < places) p.exponents[static_cast<i64>(row_of(column)) * panels + panel] = e0;
  if (column + 1 < places) p.exponents[static_cast<i64>(row_of(column + 1)) * panels + panel] = e1;
}

// Stores 64 rows of a consumer's sums as f16, as rows of tokens. kPermuted: in the order of operand
// B of the next product.
template <bool kPermuted, int kTokens, bool kBoth>
__device__ __forceinline__ void StoreHalves(const ExpertProductsParams& p,
                                            const ExpertTile<kBoth>& tile, int consumer, int m,
                                            float (&sums)[kTokens / 2], ExpertStaging& staging) {
  const int lane = LaneIndex(), warp = threadIdx.x / kWarp % 4, t = lane % 4;
  const int first = tile.FirstRow(consumer, m), panel = first / 16 + warp;
  const auto row_of = [&](int i) {
    return p.pairs == nullptr ? tile.place + i : p.pairs[tile.place + i];
  };
  const bool panel_exists = panel < p.features / 16;
#pragma unroll
  for (int box = 0; box < kTokens / kExpertBox; ++box) {
    NamedBarrierSync(1 + consumer, kWarpgroup);
#pragma unroll
    for (int pieces = 0; pieces < kExpertBox / 8; pieces += 2) {
      u32 halves[4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = box * kExpertBox + (pieces + i) * 8;
        float* d = &sums[column / 2];
        if (panel_exists) ApplyExponents(p, d, column + 2 * t, tile.places, panel, row_of);
        halves[2 * i] = F32ToF16x2(d[0], d[1]);
        halves[2 * i + 1] = F32ToF16x2(d[2], d[3]);
      }
      // Matrix j of four: tokens of piece j / 2, rows j % 2 * 8 of the panel.
      const int token = (pieces + lane / 16) * 8 + lane % 8;
      StoreMatrix4Transposed(halves,
                             SharedAddress(&staging[token][warp * 16 + lane / 8 % 2 * 8]));
    }
    NamedBarrierSync(1 + consumer, kWarpgroup);
    // Four lanes for a token: 16 numbers each.
    const int token = warp * 8 + lane / 4, feature = lane % 4 * 16;
    const int place = box * kExpertBox + token;
    if (place < tile.places && first + feature < p.features) {
      const uint4 a = *reinterpret_cast<const uint4*>(&staging[token][feature]);
      const uint4 b = *reinterpret_cast<const uint4*>(&staging[token][feature + 8]);
      uint4* out = reinterpret_cast<uint4*>(
          p.out + (static_cast<i64>(row_of(place)) * p.features + first + feature) * 2);
      out[0] = kPermuted ? uint4{a.x, a.z, b.x, b.z} : a;
      out[1] = kPermuted ? uint4{a.y, a.w, b.y, b.w} : b;
    }
  }
}

// The sums times the scales of the tokens; with both: silu(gate) * up, in sums[0].
template <bool kBoth, int kTokens>
__device__ __forceinline__ void FinishSums(const ExpertProductsParams& p,
                                           const ExpertTile<kBoth>& tile,
                                           float (&sums)[kExpertRowTiles][kTokens / 2]) {
  const int t = LaneIndex() % 4;
#pragma unroll
  for (int i = 0; i < kTokens / 2; i += 2) {
    const int column = i / 4 * 8 + 2 * t;
    float scales[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      scales[j] = p.x_scales[tile.place + Min(column + j, tile.places - 1)];
      if constexpr (kBoth) {
        sums[0][i + j] = Silu(sums[0][i + j] * scales[j]) * (sums[1][i + j] * scales[j]);
      } else {
        sums[0][i + j] *= scales[j];
        sums[1][i + j] *= scales[j];
      }
    }
  }
}

template <bool kBoth, int kTokens, class Consumer>
__device__ __forceinline__ void ConsumeExpertTile(const ExpertProductsParams& p,
                                                  const ExpertTile<kBoth>& tile, int index,
                                                  Consumer& consumer, ExpertStaging& staging) {
  float sums[kExpertRowTiles][kTokens / 2];
  consumer.template Multiply<kTokens>(CeilDiv(p.k_tiles, kStepTiles), sums);
  FinishSums<kBoth, kTokens>(p, tile, sums);
  if (tile.FirstRow(index, 0) < p.features) {
    StoreHalves<kBoth, kTokens>(p, tile, index, 0, sums[0], staging);
  }
  if (!kBoth && tile.FirstRow(index, 1) < p.features) {
    StoreHalves<kBoth, kTokens>(p, tile, index, 1, sums[1], staging);
  }
}

template <WeightType kType, bool kBoth>
__global__ void __launch_bounds__((kExpertConsumers + 1) * kWarpgroup, 1)
    ExpertProducts(const __grid_constant__ ExpertProductsParams p) {
  using Weights = TileWeights<kType>;
  using Tile = ExpertTile<kBoth>;
  extern __shared__ __align__(1024) u8 dynamic_shared[];
  auto& shared = *reinterpret_cast<ExpertProductsShared<Weights>*>(dynamic_shared);
  if (threadIdx.x == 0) shared.ring.Init();
  __syncthreads();

  const int count = Tile::Count(p), role = WarpIndex() / 4;
  if (role == kExpertConsumers) {
    RegistersShrink<kProducerRegisters>();
    if (threadIdx.x != kExpertConsumers * kWarpgroup) return;
    StateOf<decltype(shared.ring)> state;
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
      const Tile tile(p, i, Tile::Load(p, i));
      ProduceTile<kExpertBox, Weights>(shared.ring, state, &p.x, tile.place, tile.boxes(),
                                       BoxesOf(p, tile), CeilDiv(p.k_tiles, kStepTiles));
    }
  } else {
    RegistersGrow<kConsumerRegisters<kExpertConsumers>>();
    Consumer<Weights, kExpertRowTiles, decltype(shared.ring)> consumer(shared.ring, role);
    ExpertTiles ahead = Tile::Load(p, blockIdx.x);
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
      const Tile tile(p, i, ahead);
      ahead = Tile::Load(p, i + gridDim.x);
      switch (tile.boxes()) {
        case 1:
          ConsumeExpertTile<kBoth, 32>(p, tile, role, consumer, shared.staging[role]);
          break;
        case 2:
          ConsumeExpertTile<kBoth, 64>(p, tile, role, consumer, shared.staging[role]);
          break;
        case 3:
          ConsumeExpertTile<kBoth, 96>(p, tile, role, consumer, shared.staging[role]);
          break;
        default:
          ConsumeExpertTile<kBoth, 128>(p, tile, role, consumer, shared.staging[role]);
      }
    }
  }
}

}  // namespace tandem::cuda
