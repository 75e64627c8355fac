#include "backends/cpu/attention_expanded.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "backends/cpu/attention_block.h"
#include "backends/cpu/decode.h"
#include "backends/cpu/split.h"
#include "backends/device/layout.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kMostLanes = 64;
constexpr int64_t kMostChunks = 2;   // of keys, expanded at a time
constexpr int64_t kPartRows = 64;    // of k_up and v_up, expanded at a time
constexpr int64_t kPartDepth = 256;  // of their width, the largest block of all formats
constexpr int64_t kNearDepth = 128;  // that stays in the first cache
constexpr int64_t kLatents = 64;     // that are multiplied, and decoded, at a time
constexpr int64_t kUsualBytes = 64 << 20;
static_assert(kPartRows % kPanelRows == 0 && kPartDepth % kPanelRows == 0);

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

// Of up-projections that may be interleaved.
int64_t PanelBytes(const TensorView& w) {
  return CanInterleave(w) ? kPanelRows * RowBytes(w.dtype, w.shape.back()) : 0;
}

// Scratch of a lane: for the expansion, or for the attention.
struct Lane {
  std::byte* panel;          // in rows
  float *decoded, *weights;  // [kPartRows, kPartDepth], [kPartDepth, kPartRows]
  float *queries, *panels, *scores, *partial;
  int64_t bytes;

  Lane(const AttentionArgs& a, std::byte* data) {
    const Widths w(a);
    Carver expansion(data), attention(data);
    decoded = expansion.Take<float>(kPartRows * kPartDepth);
    weights = expansion.Take<float>(kPartRows * kPartDepth);
    panel = expansion.Take<std::byte>(
        std::max(PanelBytes(a.expansion.k_up), PanelBytes(a.expansion.v_up)));
    queries = attention.Take<float>(kBlockRows * w.key);
    panels = attention.Take<float>(2 * kPanelKeys * kPanelWidth);
    scores = attention.Take<float>(kPanelKeys * kBlockRows);
    partial = attention.Take<float>(Partial::Floats(kBlockRows, w.value_stride()));
    bytes = std::max(expansion.bytes(), attention.bytes());
  }
};

int64_t LaneBytes(const AttentionArgs& a) { return Lane(a, nullptr).bytes; }

// The loops over sequences, groups of heads and chunks; each turn is one round of the phases.
struct Turn {
  int64_t seq, first_head, chunk;
  int64_t heads;         // of this group
  ChunkRange chunks;     // of the sequence
  int64_t tokens, keys;  // of the sequence; keys: of this turn
  bool done;
};

struct Parts {
  Turn* turn;
  RunningRow* running;  // [heads, T]
  float* latents;       // [keys of a turn, row]
  float* keys;          // [heads, keys of a turn, key]
  float* values;        // [heads, keys of a turn, value]
  std::byte* lanes;
  int64_t bytes;

  Parts(const AttentionArgs& a, const ExpandedLayout& l, void* data) {
    const Widths w(a);
    const int64_t count = l.chunks * kChunkKeys;
    Carver carver(data);
    turn = carver.Take<Turn>(1);
    running = carver.Take<RunningRow>(l.heads * a.q.dim(0));
    latents = carver.Take<float>(count * w.latent_stride());
    keys = carver.Take<float>(l.heads * count * w.key_stride());
    values = carver.Take<float>(l.heads * count * w.value_stride());
    lanes = carver.Take<std::byte>(l.lanes * LaneBytes(a));
    bytes = carver.bytes();
  }
};

struct ExpandedPlan {
  AttentionArgs args;
  Widths widths;
  ExpandedLayout layout;
  Parts parts;
  DecodeFn *decode_latent, *decode_key, *decode_value;
  InstructionSet instructions;

  ExpandedPlan(const AttentionArgs& a, const PlanContext& context)
      : args(a),
        widths(a),
        layout(a),
        parts(a, layout, context.workspace.data),
        decode_latent(FindDecoder(a.k.dtype)),
        decode_key(FindDecoder(a.expansion.k_up.dtype)),
        decode_value(FindDecoder(a.expansion.v_up.dtype)),
        instructions(context.instructions) {}

  Turn& turn() const { return *parts.turn; }
  Lane lane(int index) const { return Lane(args, parts.lanes + index * LaneBytes(args)); }
  int64_t turn_keys() const { return layout.chunks * kChunkKeys; }
  float* Latent(int64_t key) const { return parts.latents + key * widths.latent_stride(); }
  float* Key(int64_t head, int64_t key) const {
    return parts.keys + (head * turn_keys() + key) * widths.key_stride();
  }
  float* Value(int64_t head, int64_t key) const {
    return parts.values + (head * turn_keys() + key) * widths.value_stride();
  }
  int64_t key_parts() const { return CeilDiv(widths.plain, kPartRows); }
  int64_t parts_of_head() const { return key_parts() + CeilDiv(widths.value, kPartRows); }
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
  turn.keys = std::clamp<int64_t>(s.keys - turn.chunk * kChunkKeys, 0, p.turn_keys());
}

void NextTurn(const ExpandedPlan& p) {
  Turn& turn = p.turn();
  turn.chunk += p.layout.chunks;
  if (turn.chunk < turn.chunks.last) return EnterTurn(p);
  turn.chunk = 0;
  turn.first_head += turn.heads;
  if (turn.first_head >= p.args.q.dim(1)) {
    turn.first_head = 0;
    ++turn.seq;
  }
  EnterTurn(p);
}

void DecodeLatents(const ExpandedPlan& p, int64_t item) {
  const Turn& turn = p.turn();
  const int64_t first = item * kLatents, end = std::min(first + kLatents, turn.keys);
  for (int64_t key = first; key < end; ++key) {
    const std::byte* row = KeyRow(p.args, p.args.k, turn.seq, turn.chunk * kChunkKeys + key, 0);
    p.decode_latent(row, 0, p.widths.row, p.Latent(key));
  }
}

// Rows [first, first + count) of a matrix of a head, of which elements are multiplied with latents.
struct PartOfRows {
  const TensorView* w;
  int64_t head, first, count;
  bool transposed;  // the matrix has its rows as columns
  DecodeFn* decode;
};

// A row of the matrix as files have it. Rows are asked for in order, the first one of a panel
// first: it takes the panel apart for the others.
const std::byte* FindRow(const PartOfRows& part, int64_t row, const Lane& lane) {
  const TensorView& w = *part.w;
  if (w.layout == WeightLayout::kRows) return w.row(part.head, row);
  const int64_t bytes = RowBytes(w.dtype, w.shape.back()), in_panel = row % kPanelRows;
  if (in_panel == 0) Deinterleave(w.dtype, bytes, kPanelRows, w.row(part.head, row), lane.panel);
  return lane.panel + in_panel * bytes;
}

// Elements [depth, depth + n) of the rows as lanes; gives the number of lanes.
int64_t LoadRowsAsLanes(const ExpandedPlan& p, const PartOfRows& part, int64_t depth, int64_t n,
                        const Lane& lane) {
  const std::byte* rows[kPartRows];
  for (int64_t r = 0; r < part.count; ++r) {
    float* row = lane.decoded + r * kPartDepth;
    part.decode(FindRow(part, part.first + r, lane), depth, n, row);
    rows[r] = reinterpret_cast<const std::byte*>(row);
  }
  return p.instructions.transpose(
      {.rows = rows, .count = part.count, .width = n, .multiple = kPad, .out = lane.weights});
}

// The same from a matrix that is stored so.
int64_t LoadLanes(const PartOfRows& part, int64_t depth, int64_t n, const Lane& lane) {
  const int64_t lanes = PaddedFloats(part.count), width = part.w->shape.back();
  // Blocks that are longer than a part are decoded whole.
  const bool whole = GetDTypeInfo(part.w->dtype).block_size > kPartRows;
  const int64_t begin = whole ? part.first / kPartDepth * kPartDepth : part.first;
  const int64_t end = whole ? std::min(begin + kPartDepth, width) : part.first + part.count;
  for (int64_t i = 0; i < n; ++i) {
    part.decode(FindRow(part, depth + i, lane), begin, end - begin, lane.decoded);
    std::copy_n(lane.decoded + part.first - begin, part.count, lane.weights + i * lanes);
  }
  return lanes;
}

// out[c][r] = row r of the part . latent c, in f32. Rows of `out` are written up to a multiple of
// kPad.
void Project(const ExpandedPlan& p, const PartOfRows& part, const Lane& lane, float* out,
             int64_t stride) {
  const int64_t latent = p.widths.latent, keys = p.turn().keys, padded = PaddedFloats(part.count);
  for (int64_t c = 0; c < keys; ++c) std::fill_n(out + c * stride, padded, 0.0f);
  for (int64_t depth = 0; depth < latent; depth += kPartDepth) {
    const int64_t n = std::min(kPartDepth, latent - depth);
    const int64_t lanes = part.transposed ? LoadLanes(part, depth, n, lane)
                                          : LoadRowsAsLanes(p, part, depth, n, lane);
    for (int64_t near = 0; near < n; near += kNearDepth) {
      for (int64_t first = 0; first < keys; first += kLatents) {
        const int64_t count = std::min(kLatents, keys - first);
        const float* latents[kLatents];
        for (int64_t c = 0; c < count; ++c) latents[c] = p.Latent(first + c) + depth + near;
        p.instructions.multiply({.a = latents,
                                 .b = PlainRows::Of(lane.weights + near * lanes, lanes),
                                 .depth = std::min(kNearDepth, n - near),
                                 .out = out + first * stride,
                                 .out_stride = stride,
                                 .rows = count,
                                 .width = padded});
      }
    }
  }
}

// Expands a part of the keys or values of one head.
void Expand(const ExpandedPlan& p, int64_t item, const Lane& lane) {
  const Widths& w = p.widths;
  const LatentExpansion& e = p.args.expansion;
  const int64_t head = item / p.parts_of_head(), index = item % p.parts_of_head();
  PartOfRows part = {.head = p.turn().first_head + head};
  if (index >= p.key_parts()) {
    part.w = &e.v_up;
    part.first = (index - p.key_parts()) * kPartRows;
    part.count = std::min(kPartRows, w.value - part.first);
    part.decode = p.decode_value;
    return Project(p, part, lane, p.Value(head, 0) + part.first, w.value_stride());
  }
  part.w = &e.k_up;
  part.first = index * kPartRows;
  part.count = std::min(kPartRows, w.plain - part.first);
  part.transposed = e.k_transposed;
  part.decode = p.decode_key;
  Project(p, part, lane, p.Key(head, 0) + part.first, w.key_stride());
  if (part.first + part.count < w.plain) return;
  for (int64_t key = 0; key < p.turn().keys; ++key) {
    std::copy_n(p.Latent(key) + w.latent, w.row - w.latent, p.Key(head, key) + w.plain);
  }
}

// The state of a block after the keys of one chunk, which are those from `first` on of the turn.
void AddChunk(const ExpandedPlan& p, const PanelRows& rows, int64_t head, int64_t first,
              const Lane& lane, const Partial& partial) {
  const Turn& turn = p.turn();
  const int64_t end = std::min(first + kChunkKeys, turn.keys);
  bool fresh = true;
  for (int64_t key = first; key < end; key += kPanelKeys) {
    const int64_t first_key = turn.chunk * kChunkKeys + key;
    const KeyRange tile = {first_key, first_key + std::min(kPanelKeys, end - key)};
    const KeyRange seen = rows.rows->Visible(0, rows.rows->count, tile);
    if (seen.low == seen.high) continue;
    p.instructions.add_panel_tile(
        rows,
        {.first_key = first_key,
         .seen = {seen.low - first_key, seen.high - first_key},
         .keys = PlainRows::Of(p.Key(head, key), p.widths.key_stride()),
         .values = PlainRows::Of(p.Value(head, key), p.widths.value_stride()),
         .first = std::exchange(fresh, false)},
        {lane.panels, lane.scores}, partial);
  }
  if (fresh) partial.Clear(rows.rows->count);
}

// The chunks of the turn for a block of tokens of one head. Later blocks see more keys, so they
// come first.
void Attend(const ExpandedPlan& p, int64_t item, const Lane& lane) {
  const AttentionArgs& a = p.args;
  const Turn& turn = p.turn();
  const int64_t head = item % turn.heads;
  const int64_t first = (p.row_blocks() - 1 - item / turn.heads) * kBlockRows;
  const QueryBlock block = {.seq = turn.seq,
                            .first_head = turn.first_head + head,
                            .first_row = first,
                            .rows = std::min(kBlockRows, turn.tokens - first)};
  const BlockRows rows(a, block);
  RunningRow* running = p.parts.running + head * a.q.dim(0) + first;
  if (turn.chunk == turn.chunks.first) std::fill_n(running, rows.count, EmptyRow());
  const Partial partial = Partial::At(lane.partial, kBlockRows, p.widths.value_stride());
  const int64_t lanes = p.instructions.transpose(
      {.rows = rows.queries, .count = rows.count, .width = a.q.dim(2), .out = lane.queries});
  for (int64_t key = 0; key < turn.keys; key += kChunkKeys) {
    AddChunk(p, {&rows, lane.queries, lanes}, head, key, lane, partial);
    for (int64_t r = 0; r < rows.count; ++r) {
      MergeChunk(a, rows.rows[r], partial, r, running[r]);
    }
  }
  if (turn.chunk + p.layout.chunks < turn.chunks.last) return;
  for (int64_t r = 0; r < rows.count; ++r) FinishRow(a, rows.rows[r], running[r]);
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
  auto bytes_of = [&a](int64_t h, int64_t l, int64_t c) {
    ExpandedLayout layout;
    layout.heads = h;
    layout.lanes = l;
    layout.chunks = c;
    return Parts(a, layout, nullptr).bytes;
  };
  least_bytes = bytes_of(1, 1, 1);
  if (least_bytes > a.workspace_limit) return;
  const int64_t limit = std::min(a.workspace_limit, std::max(kUsualBytes, least_bytes));
  // Several chunks if that leaves room for as many heads.
  const int64_t all_chunks = CeilDiv(a.batch.page_table.dim(1) * kPageTokens, kChunkKeys);
  chunks = std::clamp<int64_t>(all_chunks, 1, kMostChunks);
  if (bytes_of(a.q.dim(1), kMostLanes, chunks) > limit) chunks = 1;
  const int64_t least = bytes_of(1, 1, chunks);
  const int64_t per_head = bytes_of(2, 1, chunks) - least;
  const int64_t spare = limit - least;
  // A quarter of what is left for lanes, the rest for heads.
  lanes = 1 + std::clamp<int64_t>(spare / 4 / LaneBytes(a), 0, kMostLanes - 1);
  heads = (spare - (lanes - 1) * LaneBytes(a)) / (per_head + 64) + 1;
  heads = std::min(heads, a.q.dim(1));
  bytes = bytes_of(heads, lanes, chunks);
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
      [](const ExpandedPlan& p) { return p.turn().done ? 0 : CeilDiv(p.turn().keys, kLatents); },
      [](const ExpandedPlan& p, int64_t item, const Lane&) { DecodeLatents(p, item); }));
  phases.push_back(LanePhase(
      plan,
      [](const ExpandedPlan& p) { return p.turn().done ? 0 : p.turn().heads * p.parts_of_head(); },
      [](const ExpandedPlan& p, int64_t item, const Lane& lane) { Expand(p, item, lane); }));
  Phase attend = LanePhase(
      plan,
      [](const ExpandedPlan& p) { return p.turn().done ? 0 : p.turn().heads * p.row_blocks(); },
      [](const ExpandedPlan& p, int64_t item, const Lane& lane) { Attend(p, item, lane); });
  attend.again = [plan] {
    if (!plan->turn().done) NextTurn(*plan);
    return !plan->turn().done;
  };
  attend.back = 2;
  phases.push_back(std::move(attend));
}

}  // namespace tandem::cpu
