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
inline constexpr int kExpertStages = 8;

// A consumer's rows on their way out, a box of tokens at a time; padded against bank conflicts.
using ExpertStaging = u16[kExpertBox][64 + 8];

struct ExpertProductsShared {
  TokenRing<kExpertConsumers, kExpertTokens, kExpertStages> ring;
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
    return p.tiles[Min(index, Count(p) - 1) / CeilDiv(p.features, kRows)];
  }
  __device__ static __forceinline__ int Count(const ExpertProductsParams& p) {
    return p.counts[1] * CeilDiv(p.features, kRows);
  }
  __device__ __forceinline__ int boxes() const { return CeilDiv(places, kExpertBox); }

  __device__ __forceinline__ int FirstRow(int consumer, int m) const {
    return row + (kBoth ? consumer : consumer * kExpertRowTiles + m) * 64;
  }
};

template <bool kBoth>
__device__ __forceinline__ WeightPanels<kExpertRowTiles> PanelsOf(const ExpertProductsParams& p,
                                                                  const ExpertTile<kBoth>& tile,
                                                                  int consumer) {
  WeightPanels<kExpertRowTiles> result;
  const int warp = threadIdx.x / kWarp % 4;
#pragma unroll
  for (int m = 0; m < kExpertRowTiles; ++m) {
    const int panel = Min(tile.FirstRow(consumer, m) / 16 + warp, p.features / 16 - 1);
    const u8* weights = kBoth && m == 1 ? p.up : p.weights;
    result.panels[m] = weights + tile.expert * p.expert_bytes + panel * p.panel_bytes;
  }
  return result;
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

template <bool kBoth, int kTokens, class Reader, class Ring, class State>
__device__ __forceinline__ void ConsumeExpertTile(const ExpertProductsParams& p,
                                                  const ExpertTile<kBoth>& tile, int consumer,
                                                  Reader& reader,
                                                  const WeightPanels<kExpertRowTiles>& next,
                                                  Ring ring, State& state,
                                                  ExpertStaging& staging) {
  float sums[kExpertRowTiles][kTokens / 2];
  ConsumeTile<kTokens>(sums, reader, next, ring, state);
  FinishSums<kBoth, kTokens>(p, tile, sums);
  if (tile.FirstRow(consumer, 0) < p.features) {
    StoreHalves<kBoth, kTokens>(p, tile, consumer, 0, sums[0], staging);
  }
  if (!kBoth && tile.FirstRow(consumer, 1) < p.features) {
    StoreHalves<kBoth, kTokens>(p, tile, consumer, 1, sums[1], staging);
  }
}

template <class Weights, bool kBoth>
__global__ void __launch_bounds__((kExpertConsumers + 1) * kWarpgroup, 1)
    ExpertProducts(const __grid_constant__ ExpertProductsParams p) {
  using Tile = ExpertTile<kBoth>;
  extern __shared__ __align__(1024) u8 dynamic_shared[];
  auto& shared = *reinterpret_cast<ExpertProductsShared*>(dynamic_shared);
  if (threadIdx.x == 0) shared.ring.Init();
  __syncthreads();

  const int count = Tile::Count(p), role = WarpIndex() / 4;
  PipelineState<kExpertStages> state;
  if (role == kExpertConsumers) {
    RegistersShrink<kProducerRegisters>();
    if (threadIdx.x != kExpertConsumers * kWarpgroup) return;
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
      const Tile tile(p, i, Tile::Load(p, i));
      ProduceTile<kExpertBox>(shared.ring, state, &p.x, tile.place, tile.boxes(),
                              CeilDiv(p.k_tiles, kStepTiles));
    }
  } else {
    RegistersGrow<kConsumerRegisters<kExpertConsumers>>();
    if (static_cast<int>(blockIdx.x) >= count) return;
    const RingAddresses<kExpertTokens, kExpertStages> ring(shared.ring);
    Tile tile(p, blockIdx.x, Tile::Load(p, blockIdx.x));
    ExpertTiles ahead = Tile::Load(p, blockIdx.x + gridDim.x);
    WeightReader<Weights, kExpertRowTiles> reader(p.k_tiles, PanelsOf(p, tile, role));
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
      const Tile following(p, Min<int>(i + gridDim.x, count - 1), ahead);
      ahead = Tile::Load(p, i + 2 * gridDim.x);  // a tile early, as this takes time
      const WeightPanels<kExpertRowTiles> next = PanelsOf(p, following, role);
      switch (tile.boxes()) {
        case 1:
          ConsumeExpertTile<kBoth, 32>(p, tile, role, reader, next, ring, state,
                                       shared.staging[role]);
          break;
        case 2:
          ConsumeExpertTile<kBoth, 64>(p, tile, role, reader, next, ring, state,
                                       shared.staging[role]);
          break;
        case 3:
          ConsumeExpertTile<kBoth, 96>(p, tile, role, reader, next, ring, state,
                                       shared.staging[role]);
          break;
        default:
          ConsumeExpertTile<kBoth, 128>(p, tile, role, reader, next, ring, state,
                                       shared.staging[role]);
      }
      tile = following;
    }
  }
}

}  // namespace tandem::cuda
