#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "backends/cpu/activations.h"
#include "backends/cpu/kernel_set.h"
#include "backends/cpu/product.h"
#include "backends/cpu/split.h"
#include "backends/cpu/vector_loops.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kRows = kTileRows;  // of weights in an item; a group of the hidden row
static_assert(kRows == ActivationSpan::kGroup);
constexpr int64_t kManyChoices = 1024;

// A choice is one (token, expert) pair; its hidden row lives at its place in the list of choices
// sorted by expert.
struct Sorted {
  int32_t* start;        // [N + 1]: places of each expert
  int32_t* block_start;  // [N + 1]: blocks of up to kTileColumns places of each expert
  int32_t* choice;       // [T K]: t K + i at each place
};

struct Layout {
  int64_t tokens, choices, experts, embed, hidden, used;
  bool quantizes_x, quantizes_hidden;
  int64_t x_bytes, hidden_bytes;  // of a row
  int64_t down_rows;   // of `down` in an item: more when there are many hidden rows to read
  int64_t down_parts;  // of the tokens: as many as leave large blocks of each expert
  int64_t most_blocks;
  Sorted sorted;
  std::byte* x = nullptr;
  std::byte* hidden_rows = nullptr;
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
        x_bytes(quantizes_x ? ActivationBytes(embed) : 0),
        hidden_bytes(quantizes_hidden ? ActivationBytes(hidden) : AlignUp(4 * hidden)),
        down_rows(tokens <= kFewTokens     ? kRows / 2
                  : choices > kManyChoices ? 2 * kRows
                                           : kRows),
        down_parts(choices >= experts * kTileColumns ? 2 : 1),
        most_blocks(choices / kTileColumns + std::min(choices, experts)) {
    Carver carver(data);
    sorted = {carver.Take<int32_t>(experts + 1), carver.Take<int32_t>(experts + 1),
              carver.Take<int32_t>(choices)};
    x = carver.Take<std::byte>(tokens * x_bytes);
    hidden_rows = carver.Take<std::byte>(choices * hidden_bytes);
    bytes = carver.bytes();
  }

  int64_t row_blocks() const { return CeilDiv(hidden, kRows); }
  int64_t down_items() const { return CeilDiv(embed, down_rows) * down_parts; }
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
    if (const int64_t e = expert_of(c); e >= 0) s.choice[s.start[e]++] = static_cast<int32_t>(c);
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

// The experts of the blocks, for threads that fetch weights ahead. They look at any time, and what
// they see need not fit together.
class NextExperts {
 public:
  explicit NextExperts(int64_t most) : experts_(static_cast<size_t>(most)) {}

  void Clear() { count_.store(0, std::memory_order_relaxed); }
  void Add(int64_t expert) {
    const int count = count_.load(std::memory_order_relaxed);
    if (count == static_cast<int>(experts_.size())) return;
    experts_[static_cast<size_t>(count)].store(expert, std::memory_order_relaxed);
    count_.store(count + 1, std::memory_order_relaxed);
  }
  int64_t count() const { return count_.load(std::memory_order_relaxed); }
  int64_t at(int64_t block) const {
    return experts_[static_cast<size_t>(block)].load(std::memory_order_relaxed);
  }

 private:
  std::vector<std::atomic<int64_t>> experts_;
  std::atomic<int> count_ = 0;  // 0: not known
};

struct Experts {
  ExpertsArgs args;
  Layout layout;
  ProductFn *gate, *up, *down;
  mutable NextExperts next;

  Experts(const ExpertsArgs& a, const InstructionSet& set, void* data)
      : args(a),
        layout(a, data),
        gate(set.FindProduct(a.gate.dtype, a.gate.layout)),
        up(set.FindProduct(a.up.dtype, a.up.layout)),
        down(set.FindProduct(a.down.dtype, a.down.layout)),
        next(layout.tokens <= kFewTokens ? layout.most_blocks : 0) {}

  int64_t TokenAt(int64_t place) const { return layout.sorted.choice[place] / layout.used; }
  std::byte* HiddenRow(int64_t place) const {
    return layout.hidden_rows + place * layout.hidden_bytes;
  }
};

// Products of `rows` rows of one matrix with the tokens of a block, [count][kRows].
void Project(const Experts& p, const TensorView& w, ProductFn* product, const Block& block,
             int64_t row, const std::byte* next, float* to) {
  const Layout& l = p.layout;
  const std::byte* columns[kTileColumns];
  float* out[kTileColumns];
  for (int64_t c = 0; c < block.count; ++c) {
    const int64_t token = p.TokenAt(block.first + c);
    columns[c] = IsQuantized(w.dtype) ? l.x + token * l.x_bytes : p.args.x.row(token);
    out[c] = to + c * kRows;
  }
  product({.weights = w.row(block.expert, row),
           .stride = w.strides[1],
           .rows = std::min(kRows, l.hidden - row),
           .in = l.embed,
           .columns = columns,
           .out = out,
           .count = block.count,
           .next = next});
}

// hidden = silu(gate) * up for kRows rows of a block of places, [count][kRows] each.
void StoreHidden(const Experts& p, const Block& block, int64_t row, float* gate, float* up) {
  const Layout& l = p.layout;
  const int64_t rows = std::min(kRows, l.hidden - row);
  for (int64_t c = 0; c < block.count; ++c) {
    float* g = gate + c * kRows;
    for (int64_t i = rows; i < kRows; ++i) g[i] = up[c * kRows + i] = 0.0f;
    MultiplySilu(g, up + c * kRows, kRows, g);
    std::byte* to = p.HiddenRow(block.first + c);
    if (l.quantizes_hidden) {
      QuantizeGroups(g, row / kRows, row / kRows + 1, l.hidden, to);
    } else {
      std::memcpy(to + 4 * row, g, static_cast<size_t>(rows) * sizeof(float));
    }
  }
}

// `n` times kRows rows of gate, then as many of up: one matrix after the other is read in longer
// pieces. n * block.count is at most kTileColumns.
void ComputeHidden(const Experts& p, const Block& block, int64_t row_block, int64_t n) {
  alignas(32) float gate[kTileColumns * kRows], up[kTileColumns * kRows];
  const auto row = [row_block](int64_t i) { return (row_block + i) * kRows; };
  const int64_t step = block.count * kRows;
  const std::byte* first_of_up = p.args.up.row(block.expert, row(0));
  const std::byte* next_of_gate = p.args.gate.row(block.expert, row(n));
  for (int64_t i = 0; i < n; ++i) {
    const std::byte* next = i + 1 < n ? nullptr : first_of_up;
    Project(p, p.args.gate, p.gate, block, row(i), next, gate + i * step);
  }
  for (int64_t i = 0; i < n; ++i) {
    const std::byte* next = i + 1 < n ? nullptr : next_of_gate;
    Project(p, p.args.up, p.up, block, row(i), next, up + i * step);
  }
  for (int64_t i = 0; i < n; ++i) StoreHidden(p, block, row(i), gate + i * step, up + i * step);
}

// An item is kRows rows of gate and up for a block of places.
void RunHidden(const Experts& p, int64_t begin, int64_t end) {
  const int64_t row_blocks = p.layout.row_blocks();
  while (begin < end) {
    const Block block = FindBlock(p.layout, begin / row_blocks);
    const int64_t row_block = begin % row_blocks;
    const int64_t n = std::min({end - begin, row_blocks - row_block, kTileColumns / block.count});
    ComputeHidden(p, block, row_block, n);
    begin += n;
  }
}

// out[t] += weight * result, for `rows` rows of the results of a block.
void AddResults(const Experts& p, const Block& block, int64_t row, int64_t rows,
                const float* results) {
  for (int64_t c = 0; c < block.count; ++c, results += kRows) {
    const int64_t choice = p.layout.sorted.choice[block.first + c];
    const int64_t token = choice / p.layout.used;
    const float weight = p.args.weights.row<float>(token)[choice % p.layout.used];
    AddScaled(results, weight, rows, p.args.out.row<float>(token) + row);
  }
}

// Up to kRows elements of the tokens of a block.
void AddBlock(const Experts& p, const Block& block, int64_t row, int64_t rows,
              const std::byte* next) {
  const Layout& l = p.layout;
  alignas(32) float results[kTileColumns * kRows];
  const std::byte* columns[kTileColumns];
  float* out[kTileColumns];
  for (int64_t c = 0; c < block.count; ++c) {
    columns[c] = p.HiddenRow(block.first + c);
    out[c] = results + c * kRows;
  }
  p.down({.weights = p.args.down.row(block.expert, row),
          .stride = p.args.down.strides[1],
          .rows = rows,
          .in = l.hidden,
          .columns = columns,
          .out = out,
          .count = block.count,
          .next = next});
  AddResults(p, block, row, rows, results);
}

// Where the tokens of part `part` begin among the places of an expert.
int64_t FirstPlace(const Layout& l, int64_t expert, int64_t part, int64_t live) {
  const int32_t* start = l.sorted.start + expert;
  if (part == 0) return start[0];
  if (part == l.down_parts) return start[1];
  const int64_t choice = live * part / l.down_parts * l.used;
  return std::lower_bound(l.sorted.choice + start[0], l.sorted.choice + start[1], choice) -
         l.sorted.choice;
}

// Rows [first, last) of the next expert that was chosen, or what follows them in the first one.
const std::byte* NextOfDown(const Experts& p, int64_t expert, int64_t first, int64_t last) {
  const int32_t* start = p.layout.sorted.start;
  for (int64_t step = 1; step <= p.layout.experts; ++step) {
    const int64_t e = (expert + step) % p.layout.experts;
    if (start[e] == start[e + 1]) continue;
    return p.args.down.row(e, e > expert ? first : std::min(last, p.layout.embed - 1));
  }
  return nullptr;
}

// Elements [first, last) of a part of the tokens: the experts one after the other, so that nobody
// else adds to them.
void AddRows(const Experts& p, int64_t first, int64_t last, int64_t part) {
  const Layout& l = p.layout;
  const int64_t live = LiveRows(p.args.live_rows, l.tokens);
  const int64_t begin = live * part / l.down_parts, end = live * (part + 1) / l.down_parts;
  for (int64_t t = begin; t < end; ++t) {
    std::fill(p.args.out.row<float>(t) + first, p.args.out.row<float>(t) + last, 0.0f);
  }
  for (int64_t e = 0; e < l.experts; ++e) {
    if (l.sorted.start[e] == l.sorted.start[e + 1]) continue;
    const int64_t last_place = FirstPlace(l, e, part + 1, live);
    for (int64_t place = FirstPlace(l, e, part, live); place < last_place; place += kTileColumns) {
      const Block block = {e, place, std::min(kTileColumns, last_place - place)};
      for (int64_t row = first; row < last; row += kRows) {
        const bool is_last = row + kRows >= last;
        AddBlock(p, block, row, std::min(kRows, last - row),
                 is_last ? NextOfDown(p, e, first, last) : nullptr);
      }
    }
  }
}

// An item is down_rows elements of a part of the tokens. Those that follow each other are computed
// together where the tokens are not parted.
void RunDown(const Experts& p, int64_t begin, int64_t end) {
  const Layout& l = p.layout;
  if (begin == 0) p.next.Clear();  // so that no thread fetches them before the next step chooses
  const int64_t step = l.down_parts == 1 && l.tokens <= kFewTokens ? end - begin : 1;
  for (int64_t item = begin; item < end; item += step) {
    const int64_t first = item / l.down_parts * l.down_rows;
    const int64_t last = std::min(first + step * l.down_rows, l.embed);
    AddRows(p, first, last, item % l.down_parts);
  }
}

void FindNext(const Experts& p) {
  p.next.Clear();
  for (int64_t e = 0; e < p.layout.experts; ++e) {
    if (p.layout.sorted.start[e] < p.layout.sorted.start[e + 1]) p.next.Add(e);
  }
}

// Parts 0 and 1 are rows of gate and up. Items are known if there are as many blocks as can be.
Stretch HiddenReads(const Experts& p, int64_t item, int part) {
  const int64_t block = item / p.layout.row_blocks(), row = item % p.layout.row_blocks() * kRows;
  if (p.next.count() != p.layout.most_blocks || part > 1) return {};
  const TensorView& w = part == 0 ? p.args.gate : p.args.up;
  return {w.row(p.next.at(block), row), std::min(kRows, p.layout.hidden - row) * w.strides[1]};
}

// A part for each block.
Stretch DownReads(const Experts& p, int64_t item, int part) {
  if (part >= p.next.count()) return {};
  const int64_t row = item * p.layout.down_rows;
  return {p.args.down.row(p.next.at(part), row),
          std::min(p.layout.down_rows, p.layout.embed - row) * p.args.down.strides[1]};
}

// The phase of the products of gate and up with the inputs.
Phase HiddenPhase(const std::shared_ptr<const Experts>& plan) {
  const Layout& l = plan->layout;
  const int64_t most = l.most_blocks * l.row_blocks();
  const auto chunks = static_cast<int>(std::clamp<int64_t>(most, 1, ChunksFor(2 * l.Work())));
  Phase phase = ItemPhase(
      chunks, [plan] { return plan->layout.blocks() * plan->layout.row_blocks(); },
      [plan](int64_t item) { RunHidden(*plan, item, item + 1); });
  phase.run_several = SeveralOf(
      chunks, [plan] { return plan->layout.blocks() * plan->layout.row_blocks(); },
      [plan](int64_t begin, int64_t end) { RunHidden(*plan, begin, end); });
  const TensorView &gate = plan->args.gate, &up = plan->args.up;
  phase.work = CostOf(2 * l.Work(), l.most_blocks * (gate.strides[0] + up.strides[0])) / chunks;
  if (l.tokens <= kFewTokens && chunks == most) {
    phase.reads = [plan](int chunk, int part) { return HiddenReads(*plan, chunk, part); };
  }
  return phase;
}

// The phase of the products of down with the hidden rows.
Phase DownPhase(const std::shared_ptr<const Experts>& plan) {
  const Layout& l = plan->layout;
  const int64_t items = l.down_items();
  const auto chunks = static_cast<int>(std::clamp<int64_t>(items, 1, ChunksFor(l.Work())));
  Phase phase = ItemPhase(
      chunks, [plan] { return plan->layout.down_items(); },
      [plan](int64_t item) { RunDown(*plan, item, item + 1); });
  phase.run_several = SeveralOf(
      chunks, [plan] { return plan->layout.down_items(); },
      [plan](int64_t begin, int64_t end) { RunDown(*plan, begin, end); });
  phase.work = CostOf(l.Work(), l.most_blocks * plan->args.down.strides[0]) / chunks;
  if (l.tokens <= kFewTokens && chunks == items) {
    phase.reads = [plan](int chunk, int part) { return DownReads(*plan, chunk, part); };
  }
  return phase;
}

}  // namespace

int64_t WorkspaceBytesOf(const ExpertsArgs& a) { return Layout(a, nullptr).bytes; }

void Plan(const ExpertsArgs& a, const PlanContext& context, std::vector<Phase>& phases) {
  const auto plan =
      std::make_shared<const Experts>(a, context.instructions, context.workspace.data);
  const Layout& l = plan->layout;
  phases.push_back({.chunks = 1, .run = [plan](int) {
                      SortChoices(plan->args, plan->layout);
                      FindNext(*plan);
                    }});
  if (l.quantizes_x) {
    phases.push_back(RowPhase(l.tokens, l.embed, a.live_rows, [plan](int64_t t) {
      const Layout& l = plan->layout;
      QuantizeActivations(plan->args.x.row<float>(t), l.embed, l.x + t * l.x_bytes);
    }));
  }
  phases.push_back(HiddenPhase(plan));
  phases.push_back(DownPhase(plan));
}

}  // namespace tandem::cpu
