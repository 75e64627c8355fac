#include "backends/cpu/attention_paged.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "backends/cpu/attention_block.h"
#include "backends/cpu/decode.h"
#include "backends/cpu/split.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kMostLanes = 32;
constexpr int64_t kEnoughBlocks = 64;    // keep many threads busy without being split
constexpr int64_t kEnoughItems = 16;     // pieces of blocks that do
constexpr int64_t kMergeChunks = 64;     // of rows
constexpr int64_t kLeastBlockRows = 16;  // fewer rows would decode each key too often
constexpr int64_t kSharedRows = 32;      // whose queries one thread transposes for all
constexpr int64_t kMostParts = 8;        // of a tile
constexpr int64_t kPartKeys = 8;         // multiples of this many are scored by a thread
constexpr int64_t kFewRows = 12;         // heads of a key: their queries would leave lanes empty
constexpr int64_t kSlotBytes = 8 << 20;  // most bytes of partial results

bool SharesKeys(const AttentionArgs& a) { return a.v_from_k_offset >= 0; }

int64_t HeadsPerKey(const AttentionArgs& a) { return a.q.dim(1) / a.k.dim(2); }

// By the heads alone, so that a token gets the same bits in a prompt and in a step of its own.
bool UsesPanels(const AttentionArgs& a) { return HeadsPerKey(a) > kFewRows; }

// Rows of a cache that can be used where they are: plain numbers, and no reading beyond the last
// one.
bool IsUsedInPlace(const AttentionArgs& a, const TensorView& cache, int64_t width) {
  const bool padded = width % kPad == 0 && (!SharesKeys(a) || a.out.dim(2) % kPad == 0);
  return padded && !IsQuantized(cache.dtype);
}

// Scratch of a lane.
struct Lane {
  float *queries, *keys, *values, *panels, *scores, *partial;

  Lane(const AttentionArgs& a, int64_t block_rows, Carver& carver) {
    const bool uses_panels = UsesPanels(a);
    const int64_t width = PaddedFloats(a.out.dim(2));
    const int64_t tile_keys = uses_panels ? kPanelKeys : kTileKeys;
    const int64_t score_rows = uses_panels ? PaddedFloats(block_rows) : block_rows;
    queries = carver.Take<float>(uses_panels ? score_rows * a.q.dim(2) : 0);
    // Rows of values that are views of keys may be read a little beyond the last key.
    keys = carver.Take<float>(
        IsUsedInPlace(a, a.k, a.q.dim(2)) ? 0 : tile_keys * PaddedFloats(a.q.dim(2)) + kPad);
    const bool no_values = SharesKeys(a) || IsUsedInPlace(a, a.v, a.out.dim(2));
    values = carver.Take<float>(no_values ? 0 : tile_keys * width);
    panels = carver.Take<float>(uses_panels ? 2 * kPanelKeys * kPanelWidth : 0);
    scores = carver.Take<float>(score_rows * tile_keys);
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

// A block of a run that is split: its items are those from `first_item` on, one for each unit of
// keys that it sees.
struct SplitBlock {
  QueryBlock block;
  int64_t first_item;
  int64_t unit_keys;
  ChunkRange units;
  int64_t last_item() const { return first_item + units.size(); }
};

// What the first thread of a run finds out; read by all others.
struct Run {
  int64_t block_rows;  // of this run
  int64_t blocks;
  int64_t rows;           // of all blocks of a run that is split
  int64_t items;          // (block, unit of keys) pairs
  int64_t work;           // in multiply-adds
  int64_t first;          // item of this round
  bool split;             // the units of a block are computed apart and merged after
  int64_t parts;          // that tiles are computed in, see CanCutTiles
  int64_t shared_stride;  // of the queries of the only block as lanes; 0: each lane makes its own
  SplitBlock split_blocks[kEnoughBlocks];
};

int64_t SharedQueryFloats(const AttentionArgs& a) {
  return UsesPanels(a) ? kSharedRows * a.q.dim(2) : 0;
}
int64_t SharedScoreFloats(const AttentionArgs& a) {
  return UsesPanels(a) ? kEnoughItems * kPanelKeys * kSharedRows : 0;
}

struct Parts {
  Run* run;
  RunningRow* running;  // [kEnoughBlocks, block_rows], of split runs
  float* queries;       // [Dk, kSharedRows], likewise
  float* scores;        // [kEnoughItems, kPanelKeys, kSharedRows], of tiles that are cut into parts
  std::byte* lanes;
  float* slots;
  int64_t bytes;

  Parts(const AttentionArgs& a, const PagedLayout& l, void* data) {
    Carver carver(data);
    run = carver.Take<Run>(1);
    running = carver.Take<RunningRow>(l.slots > 0 ? kEnoughBlocks * l.block_rows : 0);
    queries = carver.Take<float>(l.slots > 0 ? SharedQueryFloats(a) : 0);
    scores = carver.Take<float>(l.slots > 0 ? SharedScoreFloats(a) : 0);
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
  InstructionSet instructions;

  PagedPlan(const AttentionArgs& a, const PlanContext& context)
      : args(a),
        layout(a),
        parts(a, layout, context.workspace.data),
        decode_key(FindDecoder(a.k.dtype)),
        decode_value(a.v.present() ? FindDecoder(a.v.dtype) : nullptr),
        instructions(context.instructions) {}

  int64_t heads_per_key() const { return HeadsPerKey(args); }
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

int64_t CountBlocks(const PagedPlan& p) {
  int64_t blocks = 0;
  for (int64_t s = 0; s < LiveSequences(p.args); ++s) {
    blocks += BlocksOfHead(p, s, p.run().block_rows) * p.args.k.dim(2);
  }
  return blocks;
}

// How a run is cut: into blocks of this many rows, and these into chunks, or into tiles if they are
// decoded to panels.
struct Cut {
  int64_t block_rows;
  bool tiles;
};

// False if there are too many pieces to split blocks this way. Tiles of a chunk are merged before
// chunks are, so they must come in one round.
bool SplitBlocks(const PagedPlan& p, const Cut& cut) {
  Run& run = p.run();
  run.block_rows = cut.block_rows;
  run.blocks = CountBlocks(p);
  if (run.blocks >= kEnoughBlocks || p.layout.slots < 2) return false;
  run.items = run.rows = run.work = 0;
  for (int64_t b = 0; b < run.blocks; ++b) {
    SplitBlock& split = run.split_blocks[b];
    split.block = FindQueryBlock(p, b);
    split.first_item = run.items;
    split.unit_keys = cut.tiles && UsesPanels(p.args) ? kPanelKeys : kChunkKeys;
    split.units = VisibleUnits(p.args, split.block, split.unit_keys);
    run.items += split.units.size();
    run.rows += split.block.rows;
    run.work += split.units.size() * split.unit_keys * split.block.rows *
                (p.args.q.dim(2) + p.args.out.dim(2));
  }
  return !cut.tiles || run.items <= p.layout.slots;
}

// Queries as lanes; gives the number of lanes.
int64_t TransposeQueries(const PagedPlan& p, const BlockRows& rows, float* queries) {
  return p.instructions.transpose(
      {.rows = rows.queries, .count = rows.count, .width = p.args.q.dim(2), .out = queries});
}

// If there is one small block, its queries are transposed before it is handed out in pieces.
int64_t ShareQueries(const PagedPlan& p) {
  const Run& run = p.run();
  if (!run.split || run.blocks > 1 || run.rows > kSharedRows) return 0;
  const QueryBlock& block = run.split_blocks[0].block;
  if (!UsesPanels(p.args)) return 0;
  return TransposeQueries(p, BlockRows(p.args, block), p.parts.queries);
}

bool HasFewItems(const Run& run) {
  return run.split && run.items < kEnoughItems && run.work > 2 * kChunkWork * run.items;
}

// The tiles of one small block can be cut into parts: of its keys while they are scored, then of
// the elements of its values.
bool CanCutTiles(const PagedPlan& p) {
  const AttentionArgs& a = p.args;
  const Run& run = p.run();
  const bool in_place =
      IsUsedInPlace(a, a.k, a.q.dim(2)) && (SharesKeys(a) || IsUsedInPlace(a, a.v, a.out.dim(2)));
  return run.split && run.blocks == 1 && run.rows <= kSharedRows && UsesPanels(a) && in_place &&
         run.split_blocks[0].unit_keys == kPanelKeys;
}

// Chooses how this run is cut. The result does not depend on it, only the time.
int StartRun(const PagedPlan& p) {
  Run& run = p.run();
  run.first = 0;
  Cut cut = {p.layout.block_rows, false};
  run.split = SplitBlocks(p, cut);
  while (HasFewItems(run) && !CanCutTiles(p)) {
    const Cut finer = {cut.tiles ? cut.block_rows / 2 : cut.block_rows, true};
    if (finer.block_rows < std::min(kLeastBlockRows, cut.block_rows)) break;
    if (!SplitBlocks(p, finer)) {
      SplitBlocks(p, cut);
      break;
    }
    cut = finer;
  }
  run.parts = HasFewItems(run) && CanCutTiles(p)
                  ? std::min(kMostParts, CeilDiv(kEnoughItems, run.items))
                  : 1;
  run.split = run.split && run.items * run.parts > run.blocks;
  run.shared_stride = ShareQueries(p);
  const int64_t pieces = run.split ? std::min(run.items, p.layout.slots) : run.blocks;
  return static_cast<int>(std::min(pieces * run.parts, p.layout.lanes));
}

// A tile lies within a page.
static_assert(kPageTokens % kTileKeys == 0 && kPageTokens % kPanelKeys == 0);

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

// The keys of the tile from `first` on.
NextRows TileRows(const PagedPlan& p, const QueryBlock& block, int64_t first, int64_t count) {
  const TensorView& k = p.args.k;
  return {KeyRow(p.args, k, block.seq, first, block.first_head / block.heads), k.strides[1],
          RowBytes(k.dtype, k.dim(3)), count};
}

// Asks for the keys of a tile while the one before it is used: rows of a page are too few for the
// hardware to foresee the next ones.
void PrefetchKeys(const NextRows& rows) {
  constexpr int64_t kLine = 64;
  const std::byte* row = rows.first;
  for (int64_t i = 0; i < rows.rows; ++i, row += rows.stride) {
    for (int64_t at = 0; at < rows.bytes; at += kLine) __builtin_prefetch(row + at, 0, 2);
  }
}

// The rows of a block while it meets its keys.
struct Work {
  QueryBlock block;
  BlockRows rows;
  int64_t keys;
  bool uses_panels;
  const float* queries;  // as lanes, if they are used
  int64_t stride;

  Work(const PagedPlan& p, const QueryBlock& b, const Lane& lane)
      : block(b),
        rows(p.args, b),
        keys(GetSequence(p.args, b.seq).keys),
        uses_panels(UsesPanels(p.args)),
        queries(p.parts.queries),
        stride(p.run().shared_stride) {
    if (!uses_panels || stride > 0) return;
    queries = lane.queries;
    stride = TransposeQueries(p, rows, lane.queries);
  }
};

void AddPanels(const PagedPlan& p, const Work& work, const KeyTile& keys, KeyRange seen, bool first,
               const Lane& lane, const Partial& partial) {
  PanelTile tile = {.first_key = keys.first_key,
                    .seen = {seen.low - keys.first_key, seen.high - keys.first_key},
                    .keys = keys.keys,
                    .values = keys.values,
                    .first = first};
  const int64_t next = keys.first_key + kPanelKeys;
  if (next < work.keys) {
    tile.next = TileRows(p, work.block, next, std::min(kPanelKeys, work.keys - next));
  }
  p.instructions.add_panel_tile({&work.rows, work.queries, work.stride}, tile,
                                {lane.panels, lane.scores}, partial);
}

// The state of keys [begin, end), tile by tile.
void AddKeys(const PagedPlan& p, const Work& work, int64_t begin, int64_t end, const Lane& lane,
             const Partial& partial) {
  end = std::min(end, work.keys);
  bool first = work.uses_panels;
  if (!first) partial.Clear(work.rows.count);
  const int64_t step = work.uses_panels ? kPanelKeys : kTileKeys;
  for (int64_t key = begin; key < end; key += step) {
    const int64_t count = std::min(step, end - key);
    const KeyRange seen = work.rows.Visible(0, work.rows.count, {key, key + count});
    if (seen.low == seen.high) continue;
    KeyTile tile = LoadTile(p, work.block, seen, key, lane);
    if (work.uses_panels) {
      AddPanels(p, work, tile, seen, std::exchange(first, false), lane, partial);
      continue;
    }
    if (key + kTileKeys < end) PrefetchKeys(TileRows(p, work.block, key + kTileKeys, kTileKeys));
    tile.count = count;
    p.instructions.add_tile(work.rows, tile, lane.scores, partial);
  }
  if (first) partial.Clear(work.rows.count);
}

void ComputeBlock(const PagedPlan& p, int64_t index, const Lane& lane) {
  const Work work(p, FindQueryBlock(p, index), lane);
  const ChunkRange chunks = VisibleUnits(p.args, work.block, kChunkKeys);
  const Partial partial =
      Partial::At(lane.partial, p.layout.block_rows, PaddedFloats(p.args.out.dim(2)));
  RunningRow running[kBlockRows];
  const BlockRows& rows = work.rows;
  std::fill_n(running, rows.count, EmptyRow());
  for (int64_t chunk = chunks.first; chunk < chunks.last; ++chunk) {
    AddKeys(p, work, chunk * kChunkKeys, (chunk + 1) * kChunkKeys, lane, partial);
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

// Items [begin, end) of a run that is split.
void ComputeItems(const PagedPlan& p, int64_t begin, int64_t end, const Lane& lane) {
  const SplitBlock* split = p.run().split_blocks;
  while (begin < end) {
    while (begin >= split->last_item()) ++split;
    const Work work(p, split->block, lane);
    for (; begin < std::min(end, split->last_item()); ++begin) {
      const int64_t key = (split->units.first + begin - split->first_item) * split->unit_keys;
      AddKeys(p, work, key, key + split->unit_keys, lane, Slot(p, begin - p.run().first));
    }
  }
}

Lane LaneAt(const PagedPlan& p, int index) {
  Carver carver(p.parts.lanes + index * LaneBytes(p.args, p.layout.block_rows));
  return Lane(p.args, p.layout.block_rows, carver);
}

// The tile of an item of a run whose tiles are cut into parts.
PanelTile WholeTile(const PagedPlan& p, const Work& work, int64_t item, const Lane& lane) {
  const int64_t key = (p.run().split_blocks[0].units.first + item) * kPanelKeys;
  const KeyRange among = {key, std::min(key + kPanelKeys, work.keys)};
  const KeyRange seen = work.rows.Visible(0, work.rows.count, among);
  const KeyTile tile = LoadTile(p, work.block, seen, key, lane);
  return {.first_key = key,
          .seen = {seen.low - key, seen.high - key},
          .keys = tile.keys,
          .values = tile.values,
          .first = true};
}

float* ScoresOfItem(const PagedPlan& p, int64_t item) {
  return p.parts.scores + item * kPanelKeys * kSharedRows;
}

// Scores some of the keys of a tile.
void ScorePart(const PagedPlan& p, const Work& work, int64_t item, int64_t part, const Lane& lane) {
  PanelTile tile = WholeTile(p, work, item, lane);
  const int64_t parts = p.run().parts, low = tile.seen.low;
  const int64_t groups = CeilDiv(tile.seen.high - low, kPartKeys);
  tile.seen = {low + groups * part / parts * kPartKeys,
               std::min(tile.seen.high, low + groups * (part + 1) / parts * kPartKeys)};
  if (tile.seen.low >= tile.seen.high) return;
  p.instructions.score_panel_tile({&work.rows, work.queries, work.stride}, tile,
                                  {lane.panels, ScoresOfItem(p, item)});
}

// Makes some elements of the values of a tile from all of its scores, of which each part takes the
// softmax for itself. The last part, which always has elements, keeps the largest and the sum.
void BlendPart(const PagedPlan& p, const Work& work, int64_t item, int64_t part, const Lane& lane) {
  const int64_t parts = p.run().parts, width = PaddedFloats(p.args.out.dim(2));
  Partial to = Slot(p, item);
  PanelTile tile = WholeTile(p, work, item, lane);
  if (tile.seen.low >= tile.seen.high) {
    if (part == parts - 1) to.Clear(work.rows.count);
    return;
  }
  const int64_t panels = CeilDiv(width, kPanelWidth);
  tile.elements = {panels * part / parts * kPanelWidth, panels * (part + 1) / parts * kPanelWidth};
  if (tile.elements.begin == tile.elements.end) return;
  const int64_t first = tile.seen.low * work.stride, last = tile.seen.high * work.stride;
  std::copy(ScoresOfItem(p, item) + first, ScoresOfItem(p, item) + last, lane.scores + first);
  if (part < parts - 1) {
    const Partial own = Partial::At(lane.partial, p.layout.block_rows, width);
    to.largest = own.largest;
    to.sum = own.sum;
  }
  p.instructions.blend_panel_tile({&work.rows, work.queries, work.stride}, tile,
                                  {lane.panels, lane.scores}, to);
}

// ScorePart or BlendPart.
using PartFn = void(const PagedPlan& p, const Work& work, int64_t item, int64_t part,
                    const Lane& lane);

// What a lane does; where tiles are cut into parts, its share of these.
void RunLane(const PagedPlan& p, int lane_index, PartFn* do_part) {
  const Run& run = p.run();
  const Lane lane = LaneAt(p, lane_index);
  if (run.parts > 1) {
    const int64_t pieces = run.items * run.parts, lanes = std::min(pieces, p.layout.lanes);
    const Work work(p, run.split_blocks[0].block, lane);
    const int64_t end = (lane_index + 1) * pieces / lanes;
    for (int64_t i = lane_index * pieces / lanes; i < end; ++i) {
      do_part(p, work, i / run.parts, i % run.parts, lane);
    }
    return;
  }
  if (run.split) {
    const int64_t items = std::min(run.items - run.first, p.layout.slots);
    const int64_t lanes = std::min(items, p.layout.lanes);
    return ComputeItems(p, run.first + lane_index * items / lanes,
                        run.first + (lane_index + 1) * items / lanes, lane);
  }
  for (int64_t b = lane_index; b < run.blocks; b += std::min(run.blocks, p.layout.lanes)) {
    ComputeBlock(p, b, lane);
  }
}

// Merges the tiles of a chunk, items [begin, end), into the first of them as AddPanelTile blends
// them.
void MergeTiles(const PagedPlan& p, int64_t begin, int64_t end, int64_t r) {
  const Partial into = Slot(p, begin);
  for (int64_t item = begin + 1; item < end; ++item) BlendTile(into, Slot(p, item), r);
}

// Merges the partial results of this round into row `r` of a block.
void MergeRow(const PagedPlan& p, const SplitBlock& split, int64_t r, RunningRow& running) {
  const Run& run = p.run();
  const QueryBlock::Row row = split.block.At(p.args, GetSequence(p.args, split.block.seq), r);
  if (run.first == 0) running = EmptyRow();
  const int64_t round_end = std::min(run.items, run.first + p.layout.slots);
  const int64_t begin = std::max(split.first_item, run.first);
  const int64_t end = std::min(split.last_item(), round_end);
  const int64_t units_of_chunk = kChunkKeys / split.unit_keys;
  for (int64_t item = begin; item < end;) {
    const int64_t unit = split.units.first + item - split.first_item;
    const int64_t next = std::min(end, item + units_of_chunk - unit % units_of_chunk);
    MergeTiles(p, item - run.first, next - run.first, r);
    MergeChunk(p.args, row, Slot(p, item - run.first), r, running);
    item = next;
  }
  const bool ends_here = split.last_item() > run.first && split.last_item() <= round_end;
  const bool empty = split.units.size() == 0 && run.first == 0;
  if (ends_here || empty) FinishRow(p.args, row, running);
}

// Every kMergeChunks-th row of all blocks.
void MergeRows(const PagedPlan& p, int64_t chunk) {
  const Run& run = p.run();
  int64_t first = 0;
  for (int64_t b = 0; b < run.blocks; ++b) {
    const SplitBlock& split = run.split_blocks[b];
    RunningRow* running = p.parts.running + b * p.layout.block_rows;
    const int64_t skipped = (chunk + kMergeChunks - first % kMergeChunks) % kMergeChunks;
    for (int64_t r = skipped; r < split.block.rows; r += kMergeChunks) {
      MergeRow(p, split, r, running[r]);
    }
    first += split.block.rows;
  }
}

}  // namespace

PagedLayout::PagedLayout(const AttentionArgs& a) {
  const int64_t group = HeadsPerKey(a);
  const int64_t unit_keys = UsesPanels(a) ? kPanelKeys : kChunkKeys;
  const int64_t units = CeilDiv(a.batch.page_table.dim(1) * kPageTokens, unit_keys);
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
  const int64_t most_parts = UsesPanels(a) && units > 1 ? kEnoughItems : 1;
  lanes = std::min(lanes, std::max(most_blocks * std::max<int64_t>(units, 1), most_parts));
  const int64_t running = AlignUp(kEnoughBlocks * block_rows * sizeof(RunningRow));
  const int64_t shared = AlignUp(4 * SharedQueryFloats(a)) + AlignUp(4 * SharedScoreFloats(a));
  const int64_t room = std::min(free - lanes * lane - running - shared - 64, kSlotBytes);
  slots = std::clamp<int64_t>(room / slot, 0, std::min(most_blocks, kEnoughBlocks) * units);
  if (units < 2) slots = 0;
  bytes = Parts(a, *this, nullptr).bytes;
}

void PlanPaged(const AttentionArgs& a, const PlanContext& context, std::vector<Phase>& phases) {
  const auto plan = std::make_shared<const PagedPlan>(a, context);
  const int lanes = static_cast<int>(plan->layout.lanes);
  // The first round, and for runs that are split: later rounds, and the merge after each of them.
  // Where tiles are cut into parts, scores come first, values second.
  phases.push_back({.chunks = lanes,
                    .run = [plan](int lane) { RunLane(*plan, lane, ScorePart); },
                    .begin = [plan] { return StartRun(*plan); }});
  if (plan->layout.slots < 2) return;
  phases.push_back(
      {.chunks = lanes,
       .run = [plan](int lane) { RunLane(*plan, lane, BlendPart); },
       .begin =
           [plan] {
             const Run& run = plan->run();
             if (run.parts > 1) {
               return static_cast<int>(std::min(run.items * run.parts, plan->layout.lanes));
             }
             if (run.first == 0) return 0;
             const int64_t left = run.items - run.first;
             return static_cast<int>(std::min({left, plan->layout.slots, plan->layout.lanes}));
           }});
  phases.push_back({.chunks = static_cast<int>(kMergeChunks),
                    .run = [plan](int chunk) { MergeRows(*plan, chunk); },
                    .begin =
                        [plan] {
                          const Run& run = plan->run();
                          return run.split ? static_cast<int>(std::min(run.rows, kMergeChunks)) : 0;
                        },
                    .again =
                        [plan] {
                          Run& run = plan->run();
                          run.first += plan->layout.slots;
                          return run.split && run.first < run.items;
                        },
                    .back = 1});
}

}  // namespace tandem::cpu
