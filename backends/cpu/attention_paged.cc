#include "backends/cpu/attention_paged.h"

#include <algorithm>
#include <memory>

#include "backends/cpu/attention_block.h"
#include "backends/cpu/decode.h"
#include "backends/cpu/split.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kMostLanes = 32;
constexpr int64_t kEnoughItems = 64;     // pieces of work that keep many threads busy
constexpr int64_t kLeastBlockRows = 4;   // fewer rows would decode each key too often
constexpr int64_t kSlotBytes = 8 << 20;  // most bytes of partial results

bool SharesKeys(const AttentionArgs& a) { return a.v_from_k_offset >= 0; }

// Scratch of a lane.
struct Lane {
  float *keys, *values, *scores, *partial;

  Lane(const AttentionArgs& a, int64_t block_rows, Carver& carver) {
    // Rows of values that are views of keys may be read a little beyond the last key.
    keys = carver.Take<float>(kTileKeys * PaddedFloats(a.q.dim(2)) + kPad);
    const int64_t width = PaddedFloats(a.out.dim(2));
    values = SharesKeys(a) ? nullptr : carver.Take<float>(kTileKeys * width);
    scores = carver.Take<float>(block_rows * kTileKeys);
    partial = carver.Take<float>(Partial::Floats(block_rows, width));
  }
};

int64_t LaneBytes(const AttentionArgs& a, int64_t block_rows) {
  Carver carver(nullptr);
  Lane lane(a, block_rows, carver);
  return carver.bytes();
}

int64_t SlotFloats(const AttentionArgs& a, int64_t block_rows) {
  return PaddedFloats(Partial::Floats(block_rows, PaddedFloats(a.out.dim(2))));
}

// What the first thread of a run finds out; read by all others.
struct Run {
  int64_t block_rows;  // of this run
  int64_t blocks;
  int64_t items;  // (block, chunk of keys) pairs
  int64_t first;  // item of this round
  bool split;     // the chunks of a block are computed apart and merged after
};

struct Parts {
  Run* run;
  RunningRow* running;  // [kEnoughItems, block_rows], of split runs
  std::byte* lanes;
  float* slots;
  int64_t bytes;

  Parts(const AttentionArgs& a, const PagedLayout& l, void* data) {
    Carver carver(data);
    run = carver.Take<Run>(1);
    running = carver.Take<RunningRow>(l.slots > 0 ? kEnoughItems * l.block_rows : 0);
    lanes = carver.Take<std::byte>(l.lanes * LaneBytes(a, l.block_rows));
    slots = carver.Take<float>(l.slots * SlotFloats(a, l.block_rows));
    bytes = carver.bytes();
  }
};

struct PagedPlan {
  AttentionArgs args;
  PagedLayout layout;
  Parts parts;
  DecodeFn* decode_key;
  DecodeFn* decode_value;
  AddTileFn* add_tile;

  PagedPlan(const AttentionArgs& a, const PlanContext& context)
      : args(a),
        layout(a),
        parts(a, layout, context.workspace.data),
        decode_key(FindDecoder(a.k.dtype)),
        decode_value(a.v.present() ? FindDecoder(a.v.dtype) : nullptr),
        add_tile(context.instructions.add_tile) {}

  int64_t heads_per_key() const { return args.q.dim(1) / args.k.dim(2); }
  Run& run() const { return *parts.run; }
};

int64_t BlocksOfHead(const PagedPlan& p, int64_t seq, int64_t block_rows) {
  return CeilDiv(GetSequence(p.args, seq).tokens * p.heads_per_key(), block_rows);
}

QueryBlock FindQueryBlock(const PagedPlan& p, int64_t index) {
  const int64_t rows_in_block = p.run().block_rows, kv_heads = p.args.k.dim(2);
  int64_t seq = 0;
  for (;; ++seq) {
    const int64_t blocks = BlocksOfHead(p, seq, rows_in_block) * kv_heads;
    if (index < blocks) break;
    index -= blocks;
  }
  const int64_t per_head = BlocksOfHead(p, seq, rows_in_block);
  const int64_t rows = GetSequence(p.args, seq).tokens * p.heads_per_key();
  const int64_t first = index % per_head * rows_in_block;
  return {.seq = seq,
          .first_head = index / per_head * p.heads_per_key(),
          .heads = p.heads_per_key(),
          .first_row = first,
          .rows = std::min(rows_in_block, rows - first)};
}

struct Counts {
  int64_t blocks = 0, items = 0, work = 0;
};

Counts CountItems(const PagedPlan& p, int64_t block_rows) {
  p.run().block_rows = block_rows;
  Counts counts;
  for (int64_t s = 0; s < LiveSequences(p.args); ++s) {
    counts.blocks += BlocksOfHead(p, s, block_rows) * p.args.k.dim(2);
  }
  const int64_t row_work = kChunkKeys * (p.args.q.dim(2) + p.args.out.dim(2));
  // Many blocks are not split, so their chunks need no count.
  for (int64_t b = 0; b < counts.blocks && counts.blocks < kEnoughItems; ++b) {
    const QueryBlock block = FindQueryBlock(p, b);
    const int64_t chunks = VisibleChunks(p.args, block).size();
    counts.items += chunks;
    counts.work += chunks * block.rows * row_work;
  }
  return counts;
}

// Chooses how this run is cut. The result does not depend on it, only the time.
int StartRun(const PagedPlan& p) {
  Run& run = p.run();
  int64_t block_rows = p.layout.block_rows;
  Counts counts = CountItems(p, block_rows);
  while (block_rows > kLeastBlockRows && counts.blocks < kEnoughItems &&
         counts.items < kEnoughItems && counts.work > 2 * kChunkWork * counts.items) {
    block_rows /= 2;
    counts = CountItems(p, block_rows);
  }
  run.blocks = counts.blocks;
  run.items = counts.items;
  run.first = 0;
  run.split = counts.blocks < kEnoughItems && counts.items > counts.blocks && p.layout.slots > 1;
  const int64_t pieces = run.split ? std::min(run.items, p.layout.slots) : run.blocks;
  return static_cast<int>(std::min(pieces, p.layout.lanes));
}

// Rows of a cache that can be used where they are: plain numbers, and no reading beyond the last
// one.
bool IsUsedInPlace(const AttentionArgs& a, const TensorView& cache, int64_t width) {
  const bool padded = width % kPad == 0 && (!SharesKeys(a) || a.out.dim(2) % kPad == 0);
  return padded && !IsQuantized(cache.dtype);
}

static_assert(kPageTokens % kTileKeys == 0);  // a tile lies within a page

// Keys or values of a tile: in the cache, or decoded to `scratch`, those that are seen.
PlainRows LoadRows(const PagedPlan& p, const QueryBlock& block, const TensorView& cache,
                   int64_t width, KeyRange seen, int64_t first, DecodeFn* decode, float* scratch) {
  const int64_t head = block.first_head / block.heads;
  if (IsUsedInPlace(p.args, cache, width)) {
    return {KeyRow(p.args, cache, block.seq, first, head), cache.strides[1], cache.dtype};
  }
  const int64_t stride = PaddedFloats(width);
  for (int64_t key = seen.low; key < seen.high; ++key) {
    decode(KeyRow(p.args, cache, block.seq, key, head), 0, width, scratch + (key - first) * stride);
  }
  return PlainRows::Of(scratch, stride);
}

// The tile of keys from `first`, of which `seen` are seen.
KeyTile LoadTile(const PagedPlan& p, const QueryBlock& block, KeyRange seen, int64_t first,
                 const Lane& lane) {
  const AttentionArgs& a = p.args;
  KeyTile tile = {
      .first_key = first,
      .keys = LoadRows(p, block, a.k, a.q.dim(2), seen, first, p.decode_key, lane.keys)};
  if (SharesKeys(a)) {
    tile.values = tile.keys;
    tile.values.first += RowBytes(tile.keys.type, a.v_from_k_offset);
  } else {
    tile.values = LoadRows(p, block, a.v, a.out.dim(2), seen, first, p.decode_value, lane.values);
  }
  return tile;
}

// Asks for the keys of a tile while the one before it is used: rows of a page are too few for the
// hardware to foresee the next ones.
void PrefetchKeys(const PagedPlan& p, const QueryBlock& block, int64_t first) {
  constexpr int64_t kLine = 64;
  const TensorView& k = p.args.k;
  const int64_t head = block.first_head / block.heads, row_bytes = RowBytes(k.dtype, k.dim(3));
  const std::byte* row = KeyRow(p.args, k, block.seq, first, head);
  for (int64_t i = 0; i < kTileKeys; ++i, row += k.strides[1]) {
    for (int64_t at = 0; at < row_bytes; at += kLine) __builtin_prefetch(row + at, 0, 2);
  }
}

void ComputeChunk(const PagedPlan& p, const QueryBlock& block, const BlockRows& rows, int64_t chunk,
                  const Lane& lane, const Partial& partial) {
  partial.Clear(rows.count);
  const int64_t begin = chunk * kChunkKeys;
  const int64_t end = std::min(begin + kChunkKeys, GetSequence(p.args, block.seq).keys);
  for (int64_t key = begin; key < end; key += kTileKeys) {
    const int64_t count = std::min(kTileKeys, end - key);
    const KeyRange seen = rows.Visible(0, rows.count, {key, key + count});
    if (seen.low == seen.high) continue;
    if (key + kTileKeys < end) PrefetchKeys(p, block, key + kTileKeys);
    KeyTile tile = LoadTile(p, block, seen, key, lane);
    tile.count = count;
    p.add_tile(rows, tile, lane.scores, partial);
  }
}

void ComputeBlock(const PagedPlan& p, int64_t index, const Lane& lane) {
  const QueryBlock block = FindQueryBlock(p, index);
  const BlockRows rows(p.args, block);
  const ChunkRange chunks = VisibleChunks(p.args, block);
  const Partial partial =
      Partial::At(lane.partial, p.layout.block_rows, PaddedFloats(p.args.out.dim(2)));
  RunningRow running[kBlockRows];
  std::fill_n(running, rows.count, EmptyRow());
  for (int64_t chunk = chunks.first; chunk < chunks.last; ++chunk) {
    ComputeChunk(p, block, rows, chunk, lane, partial);
    for (int64_t r = 0; r < rows.count; ++r) {
      MergeChunk(p.args, rows.rows[r], partial, r, running[r]);
    }
  }
  for (int64_t r = 0; r < rows.count; ++r) FinishRow(p.args, rows.rows[r], running[r]);
}

Partial Slot(const PagedPlan& p, int64_t index) {
  return Partial::At(p.parts.slots + index * SlotFloats(p.args, p.layout.block_rows),
                     p.layout.block_rows, PaddedFloats(p.args.out.dim(2)));
}

void ComputeItem(const PagedPlan& p, int64_t item, const Lane& lane) {
  int64_t left = item, index = 0;
  QueryBlock block = FindQueryBlock(p, index);
  ChunkRange chunks = VisibleChunks(p.args, block);
  while (left >= chunks.size()) {
    left -= chunks.size();
    block = FindQueryBlock(p, ++index);
    chunks = VisibleChunks(p.args, block);
  }
  ComputeChunk(p, block, BlockRows(p.args, block), chunks.first + left, lane,
               Slot(p, item - p.run().first));
}

void RunLane(const PagedPlan& p, int lane_index) {
  const Run& run = p.run();
  Carver carver(p.parts.lanes + lane_index * LaneBytes(p.args, p.layout.block_rows));
  const Lane lane(p.args, p.layout.block_rows, carver);
  const int64_t begin = run.split ? run.first : 0;
  const int64_t end = run.split ? std::min(run.items, run.first + p.layout.slots) : run.blocks;
  const int64_t step = std::min(end - begin, p.layout.lanes);
  for (int64_t piece = begin + lane_index; piece < end; piece += step) {
    if (run.split) {
      ComputeItem(p, piece, lane);
    } else {
      ComputeBlock(p, piece, lane);
    }
  }
}

// Merges the partial results of this round into the rows of one block.
void MergeBlock(const PagedPlan& p, int64_t index) {
  const Run& run = p.run();
  int64_t first_item = 0;
  for (int64_t b = 0; b < index; ++b) {
    first_item += VisibleChunks(p.args, FindQueryBlock(p, b)).size();
  }
  const QueryBlock block = FindQueryBlock(p, index);
  const int64_t last_item = first_item + VisibleChunks(p.args, block).size();
  const BlockRows rows(p.args, block);
  RunningRow* running = p.parts.running + index * p.layout.block_rows;
  if (run.first == 0) std::fill_n(running, rows.count, EmptyRow());
  const int64_t round_end = std::min(run.items, run.first + p.layout.slots);
  const int64_t begin = std::max(first_item, run.first), end = std::min(last_item, round_end);
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t item = begin; item < end; ++item) {
      MergeChunk(p.args, rows.rows[r], Slot(p, item - run.first), r, running[r]);
    }
    const bool ends_here = last_item > run.first && last_item <= round_end;
    const bool empty = first_item == last_item && run.first == 0;
    if (ends_here || empty) FinishRow(p.args, rows.rows[r], running[r]);
  }
}

}  // namespace

PagedLayout::PagedLayout(const AttentionArgs& a) {
  const int64_t group = a.q.dim(1) / a.k.dim(2);
  const int64_t chunks = CeilDiv(a.batch.page_table.dim(1) * kPageTokens, kChunkKeys);
  least_bytes = AlignUp(sizeof(Run)) + LaneBytes(a, 1);
  // The largest blocks that leave room for several lanes, else those that fit at all.
  for (const int64_t wanted_lanes : {4, 1}) {
    for (int64_t rows = kBlockRows; rows >= 1 && block_rows == 0; rows /= 2) {
      const bool useful = rows == 1 || rows / 2 < a.q.dim(0) * group;
      const int64_t needed = AlignUp(sizeof(Run)) + wanted_lanes * LaneBytes(a, rows);
      if (useful && needed <= a.workspace_limit) block_rows = rows;
    }
  }
  if (block_rows == 0) return;
  const int64_t lane = LaneBytes(a, block_rows);
  const int64_t slot = SlotFloats(a, block_rows) * static_cast<int64_t>(sizeof(float));
  const int64_t free = a.workspace_limit - AlignUp(sizeof(Run));
  lanes = std::clamp<int64_t>(free / 2 / lane, 1, kMostLanes);
  // One thread's share of a block is at least kLeastBlockRows, so this many pieces at most.
  const int64_t most_blocks =
      CeilDiv(a.q.dim(0) * group, kLeastBlockRows) * a.k.dim(2) + a.batch.kv_len.dim(0);
  lanes = std::min(lanes, std::max<int64_t>(most_blocks * std::max<int64_t>(chunks, 1), 1));
  const int64_t running = AlignUp(kEnoughItems * block_rows * sizeof(RunningRow));
  const int64_t room = std::min(free - lanes * lane - running - 64, kSlotBytes);
  slots = std::clamp<int64_t>(room / slot, 0, std::min(most_blocks, kEnoughItems) * chunks);
  if (chunks < 2) slots = 0;
  bytes = Parts(a, *this, nullptr).bytes;
}

void PlanPaged(const AttentionArgs& a, const PlanContext& context, std::vector<Phase>& phases) {
  const auto plan = std::make_shared<const PagedPlan>(a, context);
  const int lanes = static_cast<int>(plan->layout.lanes);
  // The first round, and for runs that are split: later rounds, and the merge after each of them.
  phases.push_back({.chunks = lanes,
                    .run = [plan](int lane) { RunLane(*plan, lane); },
                    .begin = [plan] { return StartRun(*plan); }});
  if (plan->layout.slots < 2) return;
  phases.push_back(
      {.chunks = lanes,
       .run = [plan](int lane) { RunLane(*plan, lane); },
       .begin =
           [plan] {
             const Run& run = plan->run();
             if (run.first == 0) return 0;
             const int64_t left = run.items - run.first;
             return static_cast<int>(std::min({left, plan->layout.slots, plan->layout.lanes}));
           }});
  phases.push_back(
      {.chunks = static_cast<int>(kEnoughItems),
       .run = [plan](int block) { MergeBlock(*plan, block); },
       .begin = [plan] { return plan->run().split ? static_cast<int>(plan->run().blocks) : 0; },
       .again =
           [plan] {
             Run& run = plan->run();
             run.first += plan->layout.slots;
             return run.split && run.first < run.items;
           },
       .back = 1});
}

}  // namespace tandem::cpu
