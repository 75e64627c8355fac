#include <algorithm>
#include <cstring>

#include "backends/cpu/kernel_set.h"
#include "backends/cpu/product.h"
#include "backends/cpu/simd.h"
#include "backends/cpu/split.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kRows = 32;  // of weights in an item; whole groups of the hidden row

// A choice is one (token, expert) pair; its hidden row and its result live at its place in the list
// of choices sorted by expert.
struct Sorted {
  int32_t* start;        // [N + 1]: places of each expert
  int32_t* block_start;  // [N + 1]: blocks of up to kTileColumns places of each expert
  int32_t* choice;       // [T K]: t K + i at each place
  int32_t* place;        // [T K]: of each choice, -1 if it has no expert
};

struct Layout {
  int64_t tokens, choices, experts, embed, hidden, used;
  bool quantizes_x, quantizes_hidden;
  int64_t x_bytes, hidden_bytes;  // of a row
  Sorted sorted;
  std::byte* x = nullptr;
  std::byte* hidden_rows = nullptr;
  float* results = nullptr;  // [T K, E]
  int64_t bytes = 0;

  Layout(const ExpertsArgs& a, void* data)
      : tokens(a.x.dim(0)),
        choices(a.ids.dim(0) * a.ids.dim(1)),
        experts(a.gate.dim(0)),
        embed(a.x.dim(1)),
        hidden(a.gate.dim(1)),
        used(a.ids.dim(1)),
        quantizes_x(IsQuantized(a.gate.dtype) || IsQuantized(a.up.dtype)),
        quantizes_hidden(IsQuantized(a.down.dtype)),
        x_bytes(quantizes_x ? QuantizedRow::Bytes(embed) : 0),
        hidden_bytes(quantizes_hidden ? QuantizedRow::Bytes(hidden) : AlignUp(4 * hidden)) {
    Carver carver(data);
    sorted = {carver.Take<int32_t>(experts + 1), carver.Take<int32_t>(experts + 1),
              carver.Take<int32_t>(choices), carver.Take<int32_t>(choices)};
    x = carver.Take<std::byte>(tokens * x_bytes);
    hidden_rows = carver.Take<std::byte>(choices * hidden_bytes);
    results = carver.Take<float>(choices * embed);
    bytes = carver.bytes();
  }

  // Work of a product of all choices with matrices of F x E.
  int64_t Work() const { return choices * embed * hidden; }
  int64_t blocks() const { return sorted.block_start[experts]; }
};

// A counting sort, stable, so that the places follow from the ids alone.
void SortChoices(const ExpertsArgs& a, const Layout& l) {
  const int64_t live = LiveRows(a.live_rows, l.tokens) * l.used;
  auto expert_of = [&](int64_t choice) -> int64_t {
    const int64_t id = a.ids.row<int32_t>(choice / l.used)[choice % l.used];
    return id >= 0 && id < l.experts ? id : -1;
  };
  const Sorted& s = l.sorted;
  std::fill_n(s.start, l.experts + 1, 0);
  for (int64_t c = 0; c < live; ++c) {
    if (const int64_t e = expert_of(c); e >= 0) ++s.start[e + 1];
  }
  s.block_start[0] = 0;
  for (int64_t e = 0; e < l.experts; ++e) {
    const auto blocks = static_cast<int32_t>(CeilDiv(s.start[e + 1], kTileColumns));
    s.block_start[e + 1] = s.block_start[e] + blocks;
    s.start[e + 1] += s.start[e];
  }
  // start[e] runs to the end of e while places are given out, then moves back.
  for (int64_t c = 0; c < live; ++c) {
    const int64_t e = expert_of(c);
    s.place[c] = e < 0 ? -1 : s.start[e]++;
    if (e >= 0) s.choice[s.place[c]] = static_cast<int32_t>(c);
  }
  for (int64_t e = l.experts; e > 0; --e) s.start[e] = s.start[e - 1];
  s.start[0] = 0;
}

// A block of places of one expert.
struct Block {
  int64_t expert, first, count;
};

Block FindBlock(const Layout& l, int64_t index) {
  const int32_t* starts = l.sorted.block_start;
  const int64_t expert = std::upper_bound(starts, starts + l.experts + 1, index) - starts - 1;
  const int64_t first = l.sorted.start[expert] + (index - starts[expert]) * kTileColumns;
  return {expert, first, std::min(kTileColumns, l.sorted.start[expert + 1] - first)};
}

// Products of one matrix with the tokens of a block, [count][kRows].
void Project(const Layout& l, const TensorView& w, const ProductTile& shape, const ExpertsArgs& a,
             const Block& block, float* to) {
  const std::byte* columns[kTileColumns];
  float* out[kTileColumns];
  for (int64_t c = 0; c < block.count; ++c) {
    const int64_t token = l.sorted.choice[block.first + c] / l.used;
    columns[c] = IsQuantized(w.dtype) ? l.x + token * l.x_bytes : a.x.row(token);
    out[c] = to + c * kRows;
  }
  ProductTile tile = shape;
  tile.columns = columns;
  tile.out = out;
  FindProduct(w.dtype)(tile);
}

// kRows rows of gate and up for a block of places: hidden = silu(gate) * up.
void RunHidden(const ExpertsArgs& a, const Layout& l, int64_t item) {
  const int64_t row_blocks = CeilDiv(l.hidden, kRows);
  const Block block = FindBlock(l, item / row_blocks);
  const int64_t row = item % row_blocks * kRows;
  const int64_t rows = std::min(kRows, l.hidden - row);
  alignas(32) float gate[kTileColumns * kRows], up[kTileColumns * kRows];
  auto tile_of = [&](const TensorView& w) {
    return ProductTile{.weights = w.row(block.expert, row),
                       .stride = w.strides[1],
                       .rows = rows,
                       .in = l.embed,
                       .count = block.count};
  };
  Project(l, a.gate, tile_of(a.gate), a, block, gate);
  Project(l, a.up, tile_of(a.up), a, block, up);
  for (int64_t c = 0; c < block.count; ++c) {
    float* g = gate + c * kRows;
    for (int64_t i = rows; i < kRows; ++i) g[i] = up[c * kRows + i] = 0.0f;
    for (int64_t i = 0; i < kRows; i += 8) {
      simd::Store(g + i, simd::Mul(simd::Silu(simd::Load(g + i)), simd::Load(up + c * kRows + i)));
    }
    std::byte* to = l.hidden_rows + (block.first + c) * l.hidden_bytes;
    if (l.quantizes_hidden) {
      QuantizeGroups(g, row / 32, row / 32 + 1, l.hidden, to);
    } else {
      std::memcpy(to + 4 * row, g, static_cast<size_t>(rows) * sizeof(float));
    }
  }
}

void RunDown(const ExpertsArgs& a, const Layout& l, int64_t item) {
  const int64_t row_blocks = CeilDiv(l.embed, kRows);
  const Block block = FindBlock(l, item / row_blocks);
  const int64_t row = item % row_blocks * kRows;
  const std::byte* columns[kTileColumns];
  float* out[kTileColumns];
  for (int64_t c = 0; c < block.count; ++c) {
    columns[c] = l.hidden_rows + (block.first + c) * l.hidden_bytes;
    out[c] = l.results + (block.first + c) * l.embed + row;
  }
  FindProduct(a.down.dtype)({.weights = a.down.row(block.expert, row),
                             .stride = a.down.strides[1],
                             .rows = std::min(kRows, l.embed - row),
                             .in = l.hidden,
                             .columns = columns,
                             .out = out,
                             .count = block.count});
}

void Combine(const ExpertsArgs& a, const Layout& l, int64_t token) {
  float* out = a.out.row<float>(token);
  std::fill_n(out, l.embed, 0.0f);
  for (int64_t i = 0; i < l.used; ++i) {
    const int32_t place = l.sorted.place[token * l.used + i];
    if (place < 0) continue;
    const float* result = l.results + place * l.embed;
    const float weight = a.weights.row<float>(token)[i];
    int64_t e = 0;
    for (; e + 8 <= l.embed; e += 8) {
      const simd::F32x8 sum = simd::Load(out + e);
      simd::Store(out + e, simd::Fma(simd::Set(weight), simd::Load(result + e), sum));
    }
    for (; e < l.embed; ++e) out[e] = __builtin_fmaf(weight, result[e], out[e]);
  }
}

}  // namespace

int64_t WorkspaceBytesOf(const ExpertsArgs& a) { return Layout(a, nullptr).bytes; }

void Plan(const ExpertsArgs& a, const Workspace& workspace, std::vector<Phase>& phases) {
  const Layout l(a, workspace.data);
  phases.push_back({.chunks = 1, .run = [a, l](int) { SortChoices(a, l); }});
  if (l.quantizes_x) {
    phases.push_back(RowPhase(l.tokens, l.embed, a.live_rows, [a, l](int64_t t) {
      QuantizeRow(a.x.row<float>(t), l.embed, l.x + t * l.x_bytes);
    }));
  }
  phases.push_back(ItemPhase(
      ChunksFor(2 * l.Work()), [l] { return l.blocks() * CeilDiv(l.hidden, kRows); },
      [a, l](int64_t item) { RunHidden(a, l, item); }));
  phases.push_back(ItemPhase(
      ChunksFor(l.Work()), [l] { return l.blocks() * CeilDiv(l.embed, kRows); },
      [a, l](int64_t item) { RunDown(a, l, item); }));
  phases.push_back(
      RowPhase(l.tokens, l.used * l.embed, a.live_rows, [a, l](int64_t t) { Combine(a, l, t); }));
}

}  // namespace tandem::cpu
