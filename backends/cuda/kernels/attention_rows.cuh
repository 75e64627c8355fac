// Which rows of q a block works on, and which keys they see. The query heads that share a KV head
// and the tokens of a sequence form its rows: row r is head r % G of token r / G, G = H / Hkv.
#pragma once

#include "base.cuh"
#include "params/attention.h"

namespace tandem::cuda {

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;
inline constexpr float kInfinity = __builtin_bit_cast(float, 0x7f800000u);

__device__ __forceinline__ int LiveSequences(const AttentionParams& p) {
  return p.live_seqs == nullptr ? p.seqs : Max(Min(*p.live_seqs, p.seqs), 0);
}

// A span of rows of one sequence and KV head.
struct RowTile {
  i32 sequence;
  i32 first_token;  // of the sequence, a row of q
  i32 first_row, rows;
  i32 kv_head;
  i32 keys;      // of the sequence
  i32 position;  // of its first token
};

// Keys [begin, end).
struct KeySpan {
  i32 begin, end;
};

__device__ __forceinline__ KeySpan VisibleKeys(const AttentionParams& p, i32 keys, i32 position) {
  const i32 begin = p.window > 0 ? static_cast<i32>(Max<i64>(position - p.window + 1, 0)) : 0;
  return {begin, p.causal ? Min(position + 1, keys) : keys};
}

// What row `row` of the tile sees; nothing if there is no such row.
__device__ __forceinline__ KeySpan RowKeys(const AttentionParams& p, const RowTile& tile, int row) {
  if (row >= tile.rows) return {0, 0};
  return VisibleKeys(p, tile.keys, tile.position + (tile.first_row + row) / p.group);
}

// The keys that some row of the tile sees.
__device__ __forceinline__ KeySpan TileKeys(const AttentionParams& p, const RowTile& tile) {
  return {RowKeys(p, tile, 0).begin, RowKeys(p, tile, tile.rows - 1).end};
}

struct TokenHead {
  i32 token, head;
};

__device__ __forceinline__ TokenHead RowPlace(const AttentionParams& p, const RowTile& tile,
                                              int row) {
  const int r = tile.first_row + row;
  return {tile.first_token + r / p.group, tile.kv_head * p.group + r % p.group};
}

__device__ __forceinline__ RowTile SequenceRows(const AttentionParams& p, int sequence) {
  const i32 start = p.seq_start[sequence], tokens = p.seq_start[sequence + 1] - start;
  const i32 keys = p.kv_len[sequence];
  return {sequence, start, 0, tokens * p.group, 0, keys, keys - tokens};
}

// Tile `index` of those that the sequences, cut every `tile_rows` rows, give in turn. The tiles of
// a sequence come last one first: with a causal mask these take longest. No rows if there are
// fewer.
__device__ inline RowTile FindRowTile(const AttentionParams& p, int index, int tile_rows,
                                      int kv_head) {
  const int live = LiveSequences(p);
  for (int s = 0; s < live; ++s) {
    RowTile tile = SequenceRows(p, s);
    const int tiles = CeilDiv(tile.rows, tile_rows);
    if (index < tiles) {
      tile.first_row = (tiles - 1 - index) * tile_rows;
      tile.rows = Min(tile.rows - tile.first_row, tile_rows);
      tile.kv_head = kv_head;
      return tile;
    }
    index -= tiles;
  }
  return {};
}

// scale * product, capped, in units of log2(e): 2 to its power is the weight.
struct ScoreScale {
  float scale, cap;

  __device__ explicit ScoreScale(const AttentionParams& p)
      : scale(p.soft_cap > 0 ? p.scale / p.soft_cap : p.scale * kLog2E),
        cap(p.soft_cap > 0 ? p.soft_cap * kLog2E : 0.0f) {}
  __device__ __forceinline__ float operator()(float product) const { return Cap(product * scale); }
  __device__ __forceinline__ float Cap(float x) const {
    return cap > 0 ? cap * (1.0f - 2.0f / (__expf(2.0f * x) + 1.0f)) : x;
  }
};

// A sum of weights 2^(score - maximum), without keys if the sum is zero. The kernels with 16-bit
// weights round maxima up to whole numbers: then the rounding of a weight does not depend on which
// keys came before, and the result hardly on how keys are split.
struct RowSum {
  float maximum, sum;
};

// Takes the sink of the head into account and writes the log of the sum if `write_lse`. The result
// is what to multiply the values with.
__device__ __forceinline__ float FinishRow(const AttentionParams& p, TokenHead place, RowSum row,
                                           bool write_lse) {
  float* lse =
      write_lse && p.lse != nullptr ? p.lse + place.token * p.lse_token + place.head : nullptr;
  if (row.sum == 0.0f) {
    if (lse != nullptr) *lse = -kInfinity;
    return 0.0f;
  }
  float factor = 1.0f;
  if (p.sinks != nullptr) {
    const float sink = p.sinks[place.head] * kLog2E;
    const float maximum = fmaxf(row.maximum, sink);
    factor = exp2f(row.maximum - maximum);
    row = {maximum, row.sum * factor + exp2f(sink - maximum)};
  }
  if (lse != nullptr) *lse = (row.maximum + log2f(row.sum)) * kLn2;
  return factor / row.sum;
}

}  // namespace tandem::cuda
