// Sorts the pairs of tokens and chosen experts by expert. Deterministic: within an expert they keep
// the order of tokens.
#pragma once

#include "params/experts.h"

namespace tandem::cuda {

inline constexpr int kSortThreads = 1024;
inline constexpr int kSortWarps = kSortThreads / kWarp;

// The expert of a pair; negative if it is none of the `experts`.
__device__ __forceinline__ int ExpertOf(const SortPairsParams& p, int pair) {
  int id;
  if (p.ids_row_bytes == p.choices * 4) {
    id = reinterpret_cast<const i32*>(p.ids)[pair];
  } else {
    const u8* row = p.ids + pair / p.choices * p.ids_row_bytes;
    id = reinterpret_cast<const i32*>(row)[pair % p.choices];
  }
  return id >= 0 && id < p.experts ? id : -1;
}

__device__ __forceinline__ int BlockSum(int x, int* scratch) {
  x = __reduce_add_sync(kAllLanes, x);
  __syncthreads();
  if (LaneIndex() == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  return __reduce_add_sync(kAllLanes, scratch[LaneIndex()]);
}

// Tiles of nearly equal width, as few as `widest` allows.
__device__ __forceinline__ ExpertTiles SplitInTiles(int expert, int place, int pairs,
                                                    int first_tile, int widest) {
  const int tiles = CeilDiv(pairs, widest);
  const int width = tiles == 0 ? 0 : RoundUp(CeilDiv(pairs, tiles), kExpertBox);
  return {expert, place, pairs, first_tile, tiles, width, {}};
}

// Block e writes the places and the tiles of expert e. Each block counts the pairs of all experts,
// so that no block waits for another. Shared memory: an i32 for each expert.
__global__ void __launch_bounds__(kSortThreads)
    SortPairs(const __grid_constant__ SortPairsParams p) {
  extern __shared__ i32 histogram[];
  __shared__ i32 scratch[kSortWarps];
  const int expert = blockIdx.x, lane = LaneIndex(), warp = threadIdx.x / kWarp;
  const int tokens = p.live_rows == nullptr ? p.tokens : Min(*p.live_rows, p.tokens);
  const int pairs = tokens * p.choices;
  for (int i = threadIdx.x; i < p.experts; i += kSortThreads) histogram[i] = 0;
  __syncthreads();

  // A warp has a run of neighbouring pairs.
  const int run = RoundUp(CeilDiv(pairs, kSortWarps), kWarp);
  const int begin = Min(warp * run, pairs), end = Min(begin + run, pairs);
  int mine = 0;
  for (int i = begin + lane; i < end; i += kWarp) {
    const int id = ExpertOf(p, i);
    if (id >= 0) atomicAdd(&histogram[id], 1);
    mine += id == expert;
  }
  mine = __reduce_add_sync(kAllLanes, mine);
  __syncthreads();

  int place = 0, first_tile = 0, all_pairs = 0, all_tiles = 0;
  for (int i = threadIdx.x; i < p.experts; i += kSortThreads) {
    const int n = histogram[i], tiles = CeilDiv(n, p.tile_width);
    all_pairs += n;
    all_tiles += tiles;
    if (i < expert) place += n, first_tile += tiles;
  }
  place = BlockSum(place, scratch);
  first_tile = BlockSum(first_tile, scratch);
  if (expert == 0) {
    all_pairs = BlockSum(all_pairs, scratch);
    all_tiles = BlockSum(all_tiles, scratch);
    if (threadIdx.x == 0) {
      p.counts[0] = all_pairs;
      p.counts[1] = all_tiles;
      p.counts[2] = p.counts[3] = 0;
    }
  }
  const ExpertTiles tiles =
      SplitInTiles(expert, place, histogram[expert], first_tile, p.tile_width);
  for (int i = threadIdx.x; i < tiles.tiles; i += kSortThreads) p.tiles[first_tile + i] = tiles;

  __syncthreads();
  if (lane == 0) scratch[warp] = mine;
  __syncthreads();
  int at = place + __reduce_add_sync(kAllLanes, lane < warp ? scratch[lane] : 0);
  for (int i = begin; i < end; i += kWarp) {
    const int id = i + lane < end ? ExpertOf(p, i + lane) : p.experts;
    const u32 hits = __ballot_sync(kAllLanes, id == expert);
    if (id == expert) {
      const int mine_at = at + __popc(hits & ((1u << lane) - 1));
      p.pairs[mine_at] = i + lane;
      p.places[i + lane] = mine_at;
    }
    if (id < 0 && expert == 0) p.places[i + lane] = -1;
    at += __popc(hits);
  }
}

}  // namespace tandem::cuda
