#include "backends/cpu/attention_expanded.h"

#include <algorithm>
#include <memory>

#include "backends/cpu/attention_block.h"
#include "backends/cpu/decode.h"
#include "backends/cpu/simd.h"
#include "backends/cpu/split.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kMostLanes = 32;
constexpr int64_t kTiles = 2;                     // of keys, expanded together
constexpr int64_t kLatents = kTiles * kTileKeys;  // the same in keys
constexpr int64_t kDecodedRows = 16;              // of k_up and v_up
constexpr int64_t kUsualBytes = 64 << 20;

struct Widths {
  int64_t key, value, row, latent, plain;  // row: latent and rotated; plain: key less rotated
  explicit Widths(const AttentionArgs& a)
      : key(a.q.dim(2)),
        value(a.out.dim(2)),
        row(a.k.dim(3)),
        latent(a.expansion.v_up.dim(2)),
        plain(key - (row - latent)) {}
  int64_t key_stride() const { return PaddedFloats(key); }
  int64_t value_stride() const { return PaddedFloats(value); }
  int64_t latent_stride() const { return PaddedFloats(row); }
};

// Scratch of a lane: for the expansion, or for the attention.
struct Lane {
  float *latents, *weights;  // [kLatents, row], [kDecodedRows, latent or plain]
  float* rows;               // [kLatents, plain]
  float *scores, *partial;

  Lane(const AttentionArgs& a, Carver& carver) {
    const Widths w(a);
    latents = carver.Take<float>(kLatents * w.latent_stride());
    weights = carver.Take<float>(kDecodedRows * PaddedFloats(std::max(w.latent, w.plain)));
    rows = carver.Take<float>(kLatents * PaddedFloats(w.plain));
    scores = carver.Take<float>(kBlockRows * kTileKeys);
    partial = carver.Take<float>(Partial::Floats(kBlockRows, w.value_stride()));
  }
};

int64_t LaneBytes(const AttentionArgs& a) {
  Carver carver(nullptr);
  Lane lane(a, carver);
  return carver.bytes();
}

// The loops over sequences, groups of heads and chunks; each turn is one round of the phases.
struct Turn {
  int64_t seq, first_head, chunk;
  int64_t heads;         // of this group
  ChunkRange chunks;     // of the sequence
  int64_t tokens, keys;  // of the sequence; keys: in this chunk
  bool done;
};

struct Parts {
  Turn* turn;
  RunningRow* running;  // [heads, T]
  float* keys;          // [heads, tiles, key, kTileKeys]
  float* values;        // [heads, kChunkKeys, value]
  std::byte* lanes;
  int64_t bytes;

  Parts(const AttentionArgs& a, int64_t heads, int64_t lane_count, void* data) {
    const Widths w(a);
    Carver carver(data);
    turn = carver.Take<Turn>(1);
    running = carver.Take<RunningRow>(heads * a.q.dim(0));
    keys = carver.Take<float>(heads * kChunkKeys * w.key_stride());
    values = carver.Take<float>(heads * kChunkKeys * w.value_stride());
    lanes = carver.Take<std::byte>(lane_count * LaneBytes(a));
    bytes = carver.bytes();
  }
};

struct ExpandedPlan {
  AttentionArgs args;
  Widths widths;
  ExpandedLayout layout;
  Parts parts;
  DecodeFn* decode_latent;
  ProductFn* product;  // of f32 rows
  MultiplyFn* multiply;
  AddTileFn* add_tile;

  ExpandedPlan(const AttentionArgs& a, const PlanContext& context)
      : args(a),
        widths(a),
        layout(a),
        parts(a, layout.heads, layout.lanes, context.workspace.data),
        decode_latent(FindDecoder(a.k.dtype)),
        product(context.instructions.FindProduct(DType::kF32)),
        multiply(context.instructions.multiply),
        add_tile(context.instructions.add_tile) {}

  Turn& turn() const { return *parts.turn; }
  Lane lane(int index) const {
    Carver carver(parts.lanes + index * LaneBytes(args));
    return Lane(args, carver);
  }
  float* Keys(int64_t head, int64_t key) const {
    return parts.keys + (head * kChunkKeys + key) * widths.key_stride();
  }
  float* Values(int64_t head, int64_t key) const {
    return parts.values + (head * kChunkKeys + key) * widths.value_stride();
  }
  int64_t key_tiles() const { return CeilDiv(turn().keys, kLatents); }
  int64_t row_blocks() const { return CeilDiv(turn().tokens, kBlockRows); }
};

// Fills in what follows from the sequence, the group and the chunk.
void EnterTurn(const ExpandedPlan& p) {
  Turn& turn = p.turn();
  const AttentionArgs& a = p.args;
  turn.done = turn.seq >= LiveSequences(a);
  if (turn.done) return;
  const Sequence s = GetSequence(a, turn.seq);
  turn.tokens = s.tokens;
  turn.heads = std::min(p.layout.heads, a.q.dim(1) - turn.first_head);
  turn.chunks = VisibleUnits(a, {.seq = turn.seq, .rows = s.tokens}, kChunkKeys);
  turn.chunk = std::max(turn.chunk, turn.chunks.first);
  turn.keys = std::clamp<int64_t>(s.keys - turn.chunk * kChunkKeys, 0, kChunkKeys);
}

void NextTurn(const ExpandedPlan& p) {
  Turn& turn = p.turn();
  if (++turn.chunk < turn.chunks.last) return EnterTurn(p);
  turn.chunk = 0;
  turn.first_head += turn.heads;
  if (turn.first_head >= p.args.q.dim(1)) {
    turn.first_head = 0;
    ++turn.seq;
  }
  EnterTurn(p);
}

// Decodes rows [first, first + count) of a matrix into the scratch of the lane; gives their places.
void DecodeRows(const std::byte* weights, const TensorView& w, int64_t first, int64_t count,
                const Lane& lane, const std::byte** rows) {
  const int64_t width = w.shape.back();
  DecodeFn* decode = FindDecoder(w.dtype);
  for (int64_t r = 0; r < count; ++r) {
    float* row = lane.weights + r * PaddedFloats(width);
    decode(weights + (first + r) * w.strides[1], 0, width, row);
    rows[r] = reinterpret_cast<const std::byte*>(row);
  }
}

// out[c][r] = row r of the weights . latent c, in f32.
void ProjectValues(const ExpandedPlan& p, const std::byte* weights, const TensorView& w,
                   const Lane& lane, const ProductTile& tile) {
  const std::byte* rows[kDecodedRows];
  float* out[kLatents];
  for (int64_t first = 0; first < tile.rows; first += kDecodedRows) {
    ProductTile part = tile;
    part.rows = std::min(kDecodedRows, tile.rows - first);
    DecodeRows(weights, w, first, part.rows, lane, rows);
    part.weights = rows[0];
    part.stride = PaddedFloats(tile.in) * static_cast<int64_t>(sizeof(float));
    part.out = out;
    for (int64_t c = 0; c < tile.count; ++c) out[c] = tile.out[c] + first;
    p.product(part);
  }
}

// keys[r][c] = row r of the weights . latent c in f32, [rows][kTileKeys] for each tile of keys.
void ProjectKeys(const ExpandedPlan& p, const std::byte* weights, const TensorView& w,
                 const Lane& lane, int64_t count, float* keys) {
  const std::byte* rows[kDecodedRows];
  float* out[kDecodedRows];
  const int64_t stride = p.widths.latent_stride();
  for (int64_t first = 0; first < w.dim(1); first += kDecodedRows) {
    const int64_t part = std::min(kDecodedRows, w.dim(1) - first);
    DecodeRows(weights, w, first, part, lane, rows);
    for (int64_t c = 0; c < count; c += kTileKeys) {
      float* tile = keys + c * p.widths.key_stride();
      for (int64_t r = 0; r < part; ++r) out[r] = tile + (first + r) * kTileKeys;
      p.product({.weights = reinterpret_cast<const std::byte*>(lane.latents + c * stride),
                 .stride = stride * static_cast<int64_t>(sizeof(float)),
                 .rows = std::min(kTileKeys, count - c),
                 .in = p.widths.latent,
                 .columns = rows,
                 .out = out,
                 .count = part});
    }
  }
}

// Place of element `i` of key `c` among keys that were expanded together.
float* KeyElement(const ExpandedPlan& p, float* keys, int64_t c, int64_t i) {
  const int64_t tile = c / kTileKeys * kTileKeys;
  return keys + tile * p.widths.key_stride() + i * kTileKeys + (c - tile);
}

// The same for k_up stored with its inputs as rows, [latent, rows].
void ProjectTransposed(const ExpandedPlan& p, const std::byte* weights, const TensorView& w,
                       const Lane& lane, int64_t count, float* keys) {
  const int64_t width = w.shape.back(), stride = PaddedFloats(width);
  std::fill_n(lane.rows, count * stride, 0.0f);
  const std::byte* rows[kDecodedRows];
  const float* latents[kLatents];
  for (int64_t first = 0; first < p.widths.latent; first += kDecodedRows) {
    const int64_t depth = std::min(kDecodedRows, p.widths.latent - first);
    DecodeRows(weights, w, first, depth, lane, rows);
    for (int64_t c = 0; c < count; ++c) {
      latents[c] = lane.latents + c * p.widths.latent_stride() + first;
    }
    p.multiply({.a = latents,
                .b = PlainRows::Of(lane.weights, stride),
                .depth = depth,
                .out = lane.rows,
                .out_stride = stride,
                .rows = count,
                .width = stride});
  }
  for (int64_t c = 0; c < count; ++c) {
    float* to = KeyElement(p, keys, c, 0);
    for (int64_t i = 0; i < width; ++i) to[i * kTileKeys] = lane.rows[c * stride + i];
  }
}

// Expands the keys of kTiles tiles of the chunk for one head.
void Expand(const ExpandedPlan& p, int64_t item, const Lane& lane) {
  const AttentionArgs& a = p.args;
  const Turn& turn = p.turn();
  const Widths& w = p.widths;
  const int64_t head = item / p.key_tiles(), first = item % p.key_tiles() * kLatents;
  const int64_t count = std::min(kLatents, turn.keys - first);
  float* tile_keys = p.Keys(head, first);
  const std::byte* columns[kLatents];
  float* values[kLatents];
  for (int64_t c = 0; c < count; ++c) {
    float* latent = lane.latents + c * w.latent_stride();
    const int64_t key = turn.chunk * kChunkKeys + first + c;
    p.decode_latent(KeyRow(a, a.k, turn.seq, key, 0), 0, w.row, latent);
    columns[c] = reinterpret_cast<const std::byte*>(latent);
    values[c] = p.Values(head, first + c);
    float* rotated = KeyElement(p, tile_keys, c, w.plain);
    for (int64_t i = w.latent; i < w.row; ++i) rotated[(i - w.latent) * kTileKeys] = latent[i];
  }
  const int64_t h = turn.first_head + head;
  const LatentExpansion& e = a.expansion;
  const auto project = e.k_transposed ? &ProjectTransposed : &ProjectKeys;
  project(p, e.k_up.row(h), e.k_up, lane, count, tile_keys);
  const ProductTile tile = {
      .rows = w.value, .in = w.latent, .columns = columns, .out = values, .count = count};
  ProjectValues(p, e.v_up.row(h), e.v_up, lane, tile);
}

// One chunk of keys for a block of tokens of one head.
void Attend(const ExpandedPlan& p, int64_t item, const Lane& lane) {
  const AttentionArgs& a = p.args;
  const Turn& turn = p.turn();
  const int64_t head = item / p.row_blocks(), first = item % p.row_blocks() * kBlockRows;
  const QueryBlock block = {.seq = turn.seq,
                            .first_head = turn.first_head + head,
                            .first_row = first,
                            .rows = std::min(kBlockRows, turn.tokens - first)};
  const BlockRows rows(a, block);
  RunningRow* running = p.parts.running + head * a.q.dim(0) + first;
  if (turn.chunk == turn.chunks.first) std::fill_n(running, rows.count, EmptyRow());
  const Partial partial = Partial::At(lane.partial, kBlockRows, p.widths.value_stride());
  partial.Clear(rows.count);
  for (int64_t key = 0; key < turn.keys; key += kTileKeys) {
    const int64_t count = std::min(kTileKeys, turn.keys - key);
    const int64_t first_key = turn.chunk * kChunkKeys + key;
    const KeyRange seen = rows.Visible(0, rows.count, {first_key, first_key + count});
    if (seen.low == seen.high) continue;
    p.add_tile(rows,
               {.first_key = first_key,
                .count = count,
                .keys = PlainRows::Of(p.Keys(head, key), kTileKeys),
                .transposed = true,
                .values = PlainRows::Of(p.Values(head, key), p.widths.value_stride())},
               lane.scores, partial);
  }
  const bool last = turn.chunk + 1 >= turn.chunks.last;
  for (int64_t r = 0; r < rows.count; ++r) {
    MergeChunk(a, rows.rows[r], partial, r, running[r]);
    if (last) FinishRow(a, rows.rows[r], running[r]);
  }
}

// Chunks of a phase: each lane takes every n-th of `items`.
template <typename Items, typename Do>
Phase LanePhase(const std::shared_ptr<const ExpandedPlan>& plan, Items items, Do work) {
  auto lanes = [plan, items] {
    return static_cast<int>(std::min<int64_t>(items(*plan), plan->layout.lanes));
  };
  Phase phase;
  phase.chunks = static_cast<int>(plan->layout.lanes);
  phase.begin = lanes;
  phase.run = [plan, items, work, lanes](int index) {
    const Lane lane = plan->lane(index);
    const int64_t end = items(*plan), step = lanes();
    for (int64_t item = index; item < end; item += step) work(*plan, item, lane);
  };
  return phase;
}

}  // namespace

ExpandedLayout::ExpandedLayout(const AttentionArgs& a) {
  least_bytes = Parts(a, 1, 1, nullptr).bytes;
  if (least_bytes > a.workspace_limit) return;
  const int64_t limit = std::min(a.workspace_limit, std::max(kUsualBytes, least_bytes));
  const int64_t per_head = Parts(a, 2, 1, nullptr).bytes - least_bytes;
  const int64_t spare = limit - least_bytes;
  // A quarter of what is left for lanes, the rest for heads.
  lanes = 1 + std::clamp<int64_t>(spare / 4 / LaneBytes(a), 0, kMostLanes - 1);
  heads = (spare - (lanes - 1) * LaneBytes(a)) / (per_head + 64) + 1;
  heads = std::min(heads, a.q.dim(1));
  bytes = Parts(a, heads, lanes, nullptr).bytes;
}

void PlanExpanded(const AttentionArgs& a, const PlanContext& context, std::vector<Phase>& phases) {
  const auto plan = std::make_shared<const ExpandedPlan>(a, context);
  phases.push_back({.chunks = 1, .begin = [plan] {
                      plan->turn() = {};
                      EnterTurn(*plan);
                      return 0;
                    }});
  phases.push_back(LanePhase(
      plan,
      [](const ExpandedPlan& p) { return p.turn().done ? 0 : p.turn().heads * p.key_tiles(); },
      [](const ExpandedPlan& p, int64_t item, const Lane& lane) { Expand(p, item, lane); }));
  Phase attend = LanePhase(
      plan,
      [](const ExpandedPlan& p) { return p.turn().done ? 0 : p.turn().heads * p.row_blocks(); },
      [](const ExpandedPlan& p, int64_t item, const Lane& lane) { Attend(p, item, lane); });
  attend.again = [plan] {
    if (!plan->turn().done) NextTurn(*plan);
    return !plan->turn().done;
  };
  attend.back = 1;
  phases.push_back(std::move(attend));
}

}  // namespace tandem::cpu
