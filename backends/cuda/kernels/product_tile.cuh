// A block's tile of a product, and how its sums become rows of the output. A warpgroup has sums of
// kRowTiles times 64 rows of weights, as wgmma leaves them (ptx/wgmma.cuh); four warps with
// mma.sync have the same.
#pragma once

#include "params/product_tiles.h"
#include "ptx/convert.cuh"
#include "ptx/mbarrier.cuh"
#include "tile_steps.cuh"

namespace tandem::cuda {

// What a consumer's sums are turned in, kStagingTokens tokens at a time: rows of tokens, padded so
// that the lanes of a warp, which hold 8 rows of weights of 4 pairs of tokens, meet 32 banks.
inline constexpr int kStagingTokens = 32;
template <int kRowTiles>
using StagingRow = float[kRowTiles * 64 + 4];

// A tile of work: rows of weights by tokens of a group.
template <int kConsumers, int kRowTiles, int kTokens>
struct ProductTile {
  static constexpr int kRows = kConsumers * kRowTiles * 64;
  int group, row, token;
  int split;

  // The parts of K of a tile follow each other.
  __device__ __forceinline__ ProductTile(const ProductTilesParams& p, int live, int index) {
    split = index % p.splits;
    index /= p.splits;
    const int token_tiles = CeilDiv(live, kTokens), row_tiles = CeilDiv(p.out_features, kRows);
    token = index % token_tiles * kTokens;
    row = index / token_tiles % row_tiles * kRows;
    group = index / token_tiles / row_tiles;
  }
  __device__ static __forceinline__ int Count(const ProductTilesParams& p, int live) {
    return p.splits * p.groups * CeilDiv(p.out_features, kRows) * CeilDiv(live, kTokens);
  }

  // The steps of part `part`, or one beyond, begin here.
  __device__ static __forceinline__ int StepOf(const ProductTilesParams& p, int part) {
    const int steps = CeilDiv(p.tiles, kStepTiles), pieces = CeilDiv(steps, kSplitSteps);
    return Min(steps, pieces * part / p.splits * kSplitSteps);
  }
  __device__ __forceinline__ int FirstStep(const ProductTilesParams& p) const {
    return StepOf(p, split);
  }
  __device__ __forceinline__ int Steps(const ProductTilesParams& p) const {
    return StepOf(p, split + 1) - StepOf(p, split);
  }
};

// A token's row of `features` sums, by one warp. Out: f32, or f16, for which there is no bias.
template <class Out>
__device__ __forceinline__ void StoreRow(const ProductTilesParams& p, const float* sums,
                                         float scale, int first, int features, u8* row) {
  const int lane = LaneIndex();
  if constexpr (kSame<Out, f16>) {
    u32* out = reinterpret_cast<u32*>(row + first * 2);
    for (int f = lane * 2; f < features; f += kWarp * 2) {
      out[f / 2] = F32ToF16x2(sums[f] * scale, sums[f + 1] * scale);
    }
    return;
  }
  float* out = reinterpret_cast<float*>(row) + first;
  if (p.aligned && p.bias == nullptr) {
    for (int f = lane * 4; f < features; f += kWarp * 4) {
      const float4 v = *reinterpret_cast<const float4*>(sums + f);
      *reinterpret_cast<float4*>(out + f) = {v.x * scale, v.y * scale, v.z * scale, v.w * scale};
    }
  } else {
    for (int f = lane; f < features; f += kWarp) {
      out[f] = sums[f] * scale + (p.bias == nullptr ? 0.0f : p.bias[first + f]);
    }
  }
}

// Stores the sums of one consumer, token by token through shared memory.
template <class Out, int kConsumers, int kRowTiles, int kTokens>
__device__ __forceinline__ void StoreProducts(
    const ProductTilesParams& p, const ProductTile<kConsumers, kRowTiles, kTokens>& tile, int live,
    int consumer, const float (&sums)[kRowTiles][kTokens / 2], StagingRow<kRowTiles>* staging) {
  constexpr int kFeatures = kRowTiles * 64, kParts = kTokens / kStagingTokens;
  const int lane = LaneIndex(), warp = threadIdx.x / kWarp % 4, g = lane / 4, t = lane % 4;
  const int first = tile.row + consumer * kFeatures;
  const int features = Min(kFeatures, p.out_features - first);
  float scales[kParts];
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const int token = Min(tile.token + part * kStagingTokens + lane, live - 1);
    const i64 row = static_cast<i64>(tile.group) * p.x_group_rows + token;
    scales[part] = p.x_scales == nullptr ? 1.0f : p.x_scales[row];
  }
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    NamedBarrierSync(1 + consumer, kWarpgroup);
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int piece = 0; piece < kStagingTokens / 8; ++piece) {
        const float* d = &sums[m][(part * kStagingTokens / 8 + piece) * 4];
        float* to = &staging[piece * 8 + 2 * t][m * 64 + warp * 16 + g];
        to[0] = d[0];
        to[kFeatures + 4] = d[1];
        to[8] = d[2];
        to[kFeatures + 4 + 8] = d[3];
      }
    }
    NamedBarrierSync(1 + consumer, kWarpgroup);
#pragma unroll 2
    for (int i = warp; i < kStagingTokens; i += 4) {
      const float scale = Shuffle(scales[part], i);
      const int token = tile.token + part * kStagingTokens + i;
      if (token >= live) break;
      u8* row = p.out + tile.split * p.split_bytes + token * p.out_row_bytes +
                tile.group * p.out_group_bytes;
      StoreRow<Out>(p, staging[i], scale, first, features, row);
    }
  }
}

}  // namespace tandem::cuda
