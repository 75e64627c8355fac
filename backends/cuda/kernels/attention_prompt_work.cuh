// Which rows, head and keys a block of the prompt attention works on.
#pragma once

#include "base.cuh"
#include "params/attention.h"
#include "ptx/convert.cuh"

namespace tandem::cuda {

// Query rows [token, token + rows) of one head against keys [begin, end) of their sequence.
struct PromptWork {
  i32 sequence, head;
  i32 token, rows;
  i32 position;    // of the first row
  i32 length;      // keys of the sequence
  i32 begin, end;  // begin is a multiple of the key tile
  bool first;      // no call before this one took keys of these rows
  bool last;       // no call after this one will
};

// What all sequences together hold.
struct PromptTotals {
  i32 tiles;
  i64 keys;
};

__device__ __forceinline__ i32 WarpInclusiveSum(i32 x) {
#pragma unroll
  for (int i = 1; i < kWarp; i *= 2) {
    const i32 below = __shfl_up_sync(kAllLanes, x, i);
    if (LaneIndex() >= i) x += below;
  }
  return x;
}

__device__ __forceinline__ i32 LiveSequences(const AttentionPromptParams& p) {
  return p.live_seqs == nullptr ? p.sequences : Min(*p.live_seqs, p.sequences);
}

template <int Rows>
__device__ __forceinline__ i32 TilesOf(const AttentionPromptParams& p, i32 sequence, i32 live) {
  return sequence < live ? CeilDiv(p.seq_start[sequence + 1] - p.seq_start[sequence], Rows) : 0;
}

// By a whole warp, as is FindTile.
template <int Rows>
__device__ PromptTotals SumSequences(const AttentionPromptParams& p) {
  const i32 live = LiveSequences(p);
  PromptTotals totals = {0, 0};
  for (i32 s = 0; s < live; s += kWarp) {
    const i32 sequence = s + LaneIndex();
    const i32 keys = sequence < live ? Min(p.kv_len[sequence], p.key_end - p.key_begin) : 0;
    totals.tiles += Shuffle(WarpInclusiveSum(TilesOf<Rows>(p, sequence, live)), kWarp - 1);
    totals.keys += Shuffle(WarpInclusiveSum(keys), kWarp - 1);
  }
  return totals;
}

struct TilePlace {
  i32 sequence;
  i32 tile;  // in the sequence
};

template <int Rows>
__device__ TilePlace FindTile(const AttentionPromptParams& p, i32 tile) {
  const i32 live = LiveSequences(p);
  for (i32 s = 0; s < live; s += kWarp) {
    const i32 tiles = TilesOf<Rows>(p, s + LaneIndex(), live);
    const i32 end = WarpInclusiveSum(tiles);
    const u32 after = __ballot_sync(kAllLanes, end > tile);
    if (after != 0) {
      const int lane = __ffs(after) - 1;
      return {s + lane, tile - Shuffle(end - tiles, lane)};
    }
    tile -= Shuffle(end, kWarp - 1);
  }
  return {0, 0};
}

template <int Rows, int KeyTile>
__device__ PromptWork DescribeWork(const AttentionPromptParams& p, TilePlace place, i32 head) {
  PromptWork work;
  const i32 start = p.seq_start[place.sequence];
  const i32 count = p.seq_start[place.sequence + 1] - start;
  work.sequence = place.sequence;
  work.head = head;
  work.length = p.kv_len[place.sequence];
  work.token = start + place.tile * Rows;
  work.rows = Min(Rows, count - place.tile * Rows);
  work.position = work.length - count + place.tile * Rows;
  const i32 low = p.window > 0 ? Max(work.position - p.window + 1, 0) : 0;
  const i32 high = p.causal ? Min(work.position + work.rows, work.length) : work.length;
  const i32 begin = low < high ? low / KeyTile * KeyTile : 0;
  work.begin = Max(begin, p.key_begin);
  work.end = Min(high, p.key_end);
  work.first = p.key_begin <= begin;
  work.last = high <= p.key_end && (work.begin < work.end || p.key_begin == 0);
  return work;
}

// Item `index` of the list of all work: heads in sections whose keys and values fit in the L2
// together, in a section the last tiles of queries first, because these see the most keys.
template <int Rows, int KeyTile, int RowBytes>
__device__ PromptWork FindWork(const AttentionPromptParams& p, const PromptTotals& totals,
                               i32 index) {
  const i64 kv_heads = p.l2_bytes / Max<i64>(totals.keys * RowBytes, 1);
  const i32 section =
      Min(p.heads, static_cast<i32>(Min<i64>(Max<i64>(kv_heads, 1), p.heads)) * p.heads_per_kv);
  const i32 first_head = index / (section * totals.tiles) * section;
  const i32 heads = Min(section, p.heads - first_head);
  const i32 rest = index - first_head * totals.tiles;
  const TilePlace place = FindTile<Rows>(p, totals.tiles - 1 - rest / heads);
  return DescribeWork<Rows, KeyTile>(p, place, first_head + rest % heads);
}

// The next item that no block has taken; each block's first is its own index. By a whole warp.
__device__ __forceinline__ i32 NextItem(const AttentionPromptParams& p) {
  i32 item = 0;
  if (LaneIndex() == 0) item = atomicAdd(p.counters, 1);
  return Shuffle(item, 0) + gridDim.x;
}

// The last block to end leaves the counters as they were found.
__device__ __forceinline__ void RetireBlock(const AttentionPromptParams& p) {
  if (LaneIndex() != 0) return;
  __threadfence();
  if (atomicAdd(p.counters + 1, 1) + 1 < static_cast<i32>(gridDim.x)) return;
  p.counters[0] = 0;
  p.counters[1] = 0;
}

}  // namespace tandem::cuda
