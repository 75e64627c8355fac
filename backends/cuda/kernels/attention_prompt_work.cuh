// Which rows, head and keys a block of the prompt attention works on.
#pragma once

#include "base.cuh"
#include "params/attention_prompt.h"
#include "ptx/convert.cuh"

namespace tandem::cuda {

// Query rows [token, token + rows) of one head against keys [begin, end) of their sequence.
struct PromptWork {
  i32 sequence, head;
  i32 token, rows;  // no rows: no work
  i32 position;     // of the first row
  i32 length;       // keys of the sequence
  i32 begin, end;   // begin is a multiple of the key tile
  bool first;       // no call before this one took keys of these rows
  bool last;        // no call after this one will
};

__device__ __forceinline__ i32 WarpInclusiveSum(i32 x) {
#pragma unroll 1  // short code: a block begins with it, its instructions not yet in any cache
  for (int i = 1; i < kWarp; i *= 2) {
    const i32 below = __shfl_up_sync(kAllLanes, x, i);
    if (LaneIndex() >= i) x += below;
  }
  return x;
}

// A tile of query rows of a sequence.
struct PromptTile {
  i32 sequence, tile;
  i32 start, count, length;  // of the sequence: first token, tokens, keys
};

// The sequences of a step, cut into tiles of Rows queries. Used by a whole warp, which holds 32
// sequences, one in each lane.
template <int Rows>
struct PromptSequences {
  const AttentionPromptParams& p;
  i32 live;
  i32 first = -1;  // the sequence of lane 0
  i32 start = 0, count = 0, length = 0;
  i32 end = 0;  // tiles of the sequences from `first` to this lane's

  __device__ __forceinline__ explicit PromptSequences(const AttentionPromptParams& p)
      : p(p), live(p.live_seqs == nullptr ? p.sequences : Min(*p.live_seqs, p.sequences)) {}

  __device__ __forceinline__ void Hold(i32 sequence) {
    if (first == sequence) return;
    first = sequence;
    const i32 own = sequence + LaneIndex();
    start = count = length = 0;
    if (own < live) {
      start = p.seq_start[own];
      count = p.seq_start[own + 1] - start;
      length = p.kv_len[own];
    }
    end = WarpInclusiveSum(CeilDiv(count, Rows));
  }

  // Of all sequences: tiles, and keys that this call takes.
  __device__ __forceinline__ void Sum(i32& tiles, float& keys) {
    tiles = 0;
    keys = 0;
#pragma unroll 1
    for (i32 s = 0; s < live; s += kWarp) {
      Hold(s);
      tiles += Shuffle(end, kWarp - 1);
      keys += LanesSum(static_cast<float>(Min(length, p.key_end - p.key_begin)));
    }
  }

  __device__ __forceinline__ PromptTile Find(i32 tile) {
#pragma unroll 1
    for (i32 s = 0; s < live; s += kWarp) {
      Hold(s);
      const u32 after = __ballot_sync(kAllLanes, end > tile);
      if (after != 0) {
        const int lane = __ffs(after) - 1;
        const i32 tiles_before = Shuffle(end - CeilDiv(count, Rows), lane);
        return {s + lane, tile - tiles_before, Shuffle(start, lane), Shuffle(count, lane),
                Shuffle(length, lane)};
      }
      tile -= Shuffle(end, kWarp - 1);
    }
    return {};
  }
};

template <int Rows, int KeyTile>
__device__ __forceinline__ PromptWork DescribeWork(const AttentionPromptParams& p,
                                                   const PromptTile& tile, i32 head) {
  PromptWork work;
  work.sequence = tile.sequence;
  work.head = head;
  work.length = tile.length;
  work.token = tile.start + tile.tile * Rows;
  work.rows = Min(Rows, tile.count - tile.tile * Rows);
  work.position = tile.length - tile.count + tile.tile * Rows;
  const i32 low = p.window > 0 ? Max(work.position - p.window + 1, 0) : 0;
  const i32 high = p.causal ? Min(work.position + work.rows, work.length) : work.length;
  const i32 begin = low < high ? low / KeyTile * KeyTile : 0;
  work.begin = Max(begin, p.key_begin);
  work.end = Min(high, p.key_end);
  work.first = p.key_begin <= begin;
  work.last = high <= p.key_end && (work.begin < work.end || p.key_begin == 0);
  return work;
}

// All work of a call as a list: heads in sections whose keys and values fit in the L2 together, in
// a section the last tiles of queries first, because these see the most keys. Heads that are left
// over come first: at the end their few items would keep few blocks busy.
template <int Rows, int KeyTile, int RowBytes>
struct PromptWorkList {
  const AttentionPromptParams& p;
  PromptSequences<Rows> sequences;
  i32 tiles;
  i32 section;  // heads

  __device__ __forceinline__ explicit PromptWorkList(const AttentionPromptParams& p)
      : p(p), sequences(p) {
    float keys;
    sequences.Sum(tiles, keys);
    const float kv_heads = static_cast<float>(p.l2_bytes) / fmaxf(keys * RowBytes, 1.0f);
    section = Min(p.heads, Max(static_cast<i32>(fminf(kv_heads, static_cast<float>(p.heads))), 1) *
                               p.heads_per_kv);
  }

  __device__ __forceinline__ i32 size() const { return tiles * p.heads; }

  __device__ __forceinline__ PromptWork Get(i32 index) {
    i32 heads = p.heads % section, first_head = 0;
    if (index >= heads * tiles) {
      index -= heads * tiles;
      first_head = heads + index / (section * tiles) * section;
      heads = section;
      index %= section * tiles;
    }
    const PromptTile tile = sequences.Find(tiles - 1 - index / heads);
    return DescribeWork<Rows, KeyTile>(p, tile, first_head + index % heads);
  }
};

// Which item a block takes next: with counters, one that no block has taken; without, each block
// takes one item, its own index.
struct PromptItems {
  bool begun = false;

  // By a whole warp. `none` when there are no more.
  __device__ __forceinline__ i32 Next(const AttentionPromptParams& p, i32 none) {
    if (p.counters == nullptr) {
      const i32 item = begun ? none : static_cast<i32>(blockIdx.x);
      begun = true;
      return item;
    }
    i32 item = 0;
    if (LaneIndex() == 0) item = atomicAdd(p.counters, 1);
    return Shuffle(item, 0);
  }

  // The last block to end leaves the counters as they were found.
  __device__ __forceinline__ void Close(const AttentionPromptParams& p) {
    if (p.counters == nullptr || LaneIndex() != 0) return;
    __threadfence();
    if (atomicAdd(p.counters + 1, 1) + 1 < static_cast<i32>(gridDim.x)) return;
    p.counters[0] = 0;
    p.counters[1] = 0;
  }
};

}  // namespace tandem::cuda
