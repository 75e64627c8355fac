// Softmax attention of a block of query rows over tiles of keys: the part that all forms share.
#pragma once

#include <cstdint>

#include "backends/cpu/product.h"
#include "backends/device/kernels.h"

namespace tandem::cpu {

inline constexpr int64_t kChunkKeys = 256;  // keys whose partial result is merged as one
inline constexpr int64_t kTileKeys = 32;    // keys in registers and the first cache at a time
inline constexpr int64_t kBlockRows = 64;   // most query rows that share a tile
inline constexpr int64_t kPad = 16;         // rows of floats in scratch are padded to this

// Blocks of many rows decode their keys and values panel by panel: kPanelWidth elements of each key
// of a tile.
inline constexpr int64_t kPanelKeys = 64;
inline constexpr int64_t kPanelWidth = 64;

inline int64_t PaddedFloats(int64_t n) { return (n + kPad - 1) / kPad * kPad; }

// Run-time view of the sequences.
struct Sequence {
  int64_t first_token, tokens, keys;
};
int64_t LiveSequences(const AttentionArgs& args);
Sequence GetSequence(const AttentionArgs& args, int64_t index);
// Row of key `key` of sequence `seq` in a cache.
const std::byte* KeyRow(const AttentionArgs& args, const TensorView& cache, int64_t seq,
                        int64_t key, int64_t head);

struct KeyRange {
  int64_t low, high;  // [low, high)
};

// Query rows that read the same key head: row r is token r / heads, head first_head + r % heads.
struct QueryBlock {
  int64_t seq = 0;
  int64_t first_head = 0, heads = 1;
  int64_t first_row = 0, rows = 0;  // rows of this block

  struct Row {
    int64_t token, head;  // of the step
    int64_t low, high;    // sees keys [low, high)
  };
  Row At(const AttentionArgs& args, const Sequence& sequence, int64_t r) const;
};

// Chunks or other units of keys, [first, last).
struct ChunkRange {
  int64_t first, last;
  int64_t size() const { return last - first; }
};
// The units that some row of the block sees.
ChunkRange VisibleUnits(const AttentionArgs& args, const QueryBlock& block, int64_t unit_keys);

// Softmax state of rows: largest score, sum of exp(score - largest), sum of exp(...) v.
struct Partial {
  float* largest;  // [rows], padded
  float* sum;      // [rows], padded
  float* values;   // [rows, stride]
  int64_t stride;

  static int64_t Floats(int64_t rows, int64_t stride) {
    return rows * stride + 2 * PaddedFloats(rows);
  }
  static Partial At(float* data, int64_t rows, int64_t stride) {
    const int64_t padded = PaddedFloats(rows);
    return {data, data + padded, data + 2 * padded, stride};
  }
  void Clear(int64_t rows) const;
};

// Keys [first_key, first_key + count). Those that no row sees may be anything.
struct KeyTile {
  int64_t first_key, count;
  PlainRows keys;    // [count, Dk]
  PlainRows values;  // [count, Dv]; rows may be read up to a multiple of kPad
};

// The rows of a block with the addresses of their queries.
struct BlockRows {
  const AttentionArgs* args;
  int64_t count;
  QueryBlock::Row rows[kBlockRows];
  const std::byte* queries[kBlockRows];

  BlockRows(const AttentionArgs& args, const QueryBlock& block);
  // The keys from the first to the last that rows [first, first + n) see among these.
  KeyRange Visible(int64_t first, int64_t n, KeyRange among) const;
};

// Adds a tile to the state; see InstructionSet. `scores` has room for [rows, kTileKeys].
using AddTileFn = void(const BlockRows& rows, const KeyTile& tile, float* scores,
                       const Partial& partial);

// A block with its queries as lanes: [Dk, stride], stride >= the number of rows.
struct PanelRows {
  const BlockRows* rows;
  const float* queries;
  int64_t stride;
};

// Rows of a cache that will be read soon.
struct NextRows {
  const std::byte* first = nullptr;
  int64_t stride = 0, bytes = 0, rows = 0;
};

// Elements [begin, end) of values, those that there are; `begin` is a multiple of kPanelWidth.
struct ElementRange {
  int64_t begin = 0, end = INT64_MAX;
};

// Keys [first_key + seen.low, first_key + seen.high), which some row sees, of the keys from
// first_key on. Rows of values may be read up to a multiple of kPad.
struct PanelTile {
  int64_t first_key;
  KeyRange seen;
  PlainRows keys, values;
  bool first;  // there is no state before
  NextRows next;
  ElementRange elements;
};

struct PanelScratch {
  float* panels;  // [2, kPanelKeys, kPanelWidth]
  float* scores;  // [kPanelKeys, stride]
};

// Blends the state of a tile with that of the tiles before.
using AddPanelTileFn = void(const PanelRows& rows, const PanelTile& tile,
                            const PanelScratch& scratch, const Partial& partial);

// The same in two steps, each of which several threads can share, with the same bits: products of
// all queries with the keys that are seen, some of the keys at a time; then, with all of these in
// `scratch`, the largest score, the sum and some elements of the values.
using ScorePanelTileFn = void(const PanelRows& rows, const PanelTile& tile,
                              const PanelScratch& scratch);
using BlendPanelTileFn = AddPanelTileFn;

// Blends row `r` of the state of a tile into that of the tiles before, as AddPanelTile does.
void BlendTile(const Partial& into, const Partial& tile, int64_t r);

// The state of one row that chunks are merged into, in order; its values are the row of `out`.
struct RunningRow {
  float largest, sum;
};
void MergeChunk(const AttentionArgs& args, const QueryBlock::Row& row, const Partial& partial,
                int64_t r, RunningRow& running);
// Divides by the sum, sinks included, and writes the log-sum-exp.
void FinishRow(const AttentionArgs& args, const QueryBlock::Row& row, const RunningRow& running);
RunningRow EmptyRow();

}  // namespace tandem::cpu
