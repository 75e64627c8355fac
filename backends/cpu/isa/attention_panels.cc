// Softmax attention of a block of query rows over one tile of decoded keys (flash attention, Dao et
// al. 2022): scores, softmax of the tile, sum of its values, and the blend of that with the state
// of the tiles before. Lanes are query rows for scores and softmax, elements of a value after that,
// so that nothing is added across lanes. All in f32.
#include "backends/cpu/isa/inner_loops.h"
#include "backends/cpu/isa/plain_formats.h"

namespace tandem::cpu::TANDEM_CPU_ISA {
namespace {

constexpr float kInfinity = __builtin_inff();
constexpr int64_t kGroupRows = 8;  // that are looked at together for the keys that they see
constexpr int64_t kPanelFloats = kPanelKeys * kPanelWidth;
constexpr int64_t kFewRows = 16;  // use values where they are, converted in registers

// Sums in registers: keys by vectors of rows, rows by vectors of a value.
#ifdef __AVX512F__
constexpr int kKeysByOne = 16, kKeysByTwo = 8, kRowsByTwo = 8;
constexpr int kLinesAhead = 20;
constexpr int64_t kFillDepth = 4;
#else
constexpr int kKeysByOne = 8, kKeysByTwo = 6, kRowsByTwo = 6;
constexpr int kLinesAhead = 10;
constexpr int64_t kFillDepth = 8;
#endif

// Asks for the rows of the next tile, some cache lines for each group of sums: rows of a page are
// too few for the hardware to foresee the next ones, and all at once would be more than a core can
// wait for.
struct ReadAhead {
  const std::byte* row;
  int64_t stride, bytes, rows, at = 0;

  explicit ReadAhead(const NextRows& next)
      : row(next.first), stride(next.stride), bytes(next.bytes), rows(next.rows) {}
  void Continue() {
    constexpr int64_t kLine = 64;
    for (int i = 0; i < kLinesAhead && rows > 0; ++i) {
      __builtin_prefetch(row + at, 0, 3);
      at += kLine;
      if (at >= bytes) {
        at = 0;
        row += stride;
        --rows;
      }
    }
  }
};

// Elements [first, first + n) of these rows as a panel.
template <typename Format>
void FillWith(const PlainRows& rows, KeyRange keys, int64_t first, int64_t n, float* panel) {
  for (int64_t k = keys.low; k < keys.high; ++k) {
    const std::byte* row = rows.first + k * rows.stride;
    float* out = panel + k * kPanelWidth;
    int64_t i = 0;
    if (n == kPanelWidth) {
      for (; i < kPanelWidth; i += kLanes) Store(out + i, Format::Load(row, first + i));
    }
    for (; i < n; ++i) out[i] = Format::At(row, first + i);
  }
}

void Fill(const PlainRows& rows, KeyRange keys, int64_t first, int64_t n, float* panel) {
  if (rows.type == DType::kF16) return FillWith<F16Format>(rows, keys, first, n, panel);
  if (rows.type == DType::kBF16) return FillWith<Bf16Format>(rows, keys, first, n, panel);
  FillWith<F32Format>(rows, keys, first, n, panel);
}

// Makes a panel of f16 or f32 key by key, between the products with the panel before: these leave
// the stores idle.
struct FillAhead {
  const std::byte* row = nullptr;
  float* out = nullptr;
  int64_t stride = 0, keys = 0;
  bool halves = false;  // f16

  void Continue() {
    if (keys == 0) return;
    if (halves) {
      for (int64_t i = 0; i < kPanelWidth; i += kLanes) Store(out + i, F16Format::Load(row, i));
    } else {
      for (int64_t i = 0; i < kPanelWidth; i += kLanes) Store(out + i, F32Format::Load(row, i));
    }
    row += stride;
    out += kPanelWidth;
    --keys;
  }
};

// Keys up to `end` and queries that are multiplied for a part of their depth.
struct ScorePanel {
  const float* keys;     // [kPanelKeys, kPanelWidth]
  const float* queries;  // [depth, stride]
  float* scores;         // [kPanelKeys, stride]
  int64_t stride, depth, end;
  ReadAhead* ahead;
  FillAhead* fill;
};

template <int kK, int kV>
inline void MultiplyKeys(const float* keys, const float* queries, Floats (&sums)[kK][kV]) {
  Floats rows[kV];
  for (int v = 0; v < kV; ++v) rows[v] = Load(queries + v * kLanes);
  for (int k = 0; k < kK; ++k) {
    const Floats factor = Set(keys[k * kPanelWidth]);
    for (int v = 0; v < kV; ++v) sums[k][v] = Fma(factor, rows[v], sums[k][v]);
  }
}

template <int kK, int kV>
inline void AddScores(const ScorePanel& p, int64_t key) {
  const float* keys = p.keys + key * kPanelWidth;
  const float* queries = p.queries;
  float* scores = p.scores + key * p.stride;
  Floats sums[kK][kV];
  for (int k = 0; k < kK; ++k) {
    for (int v = 0; v < kV; ++v) sums[k][v] = Load(scores + k * p.stride + v * kLanes);
  }
  int64_t i = 0;
  for (; i + kFillDepth <= p.depth; i += kFillDepth) {
    p.fill->Continue();
#pragma GCC unroll 8
    for (int j = 0; j < kFillDepth; ++j, queries += p.stride) {
      MultiplyKeys(keys + i + j, queries, sums);
    }
  }
  for (; i < p.depth; ++i, queries += p.stride) MultiplyKeys(keys + i, queries, sums);
  for (int k = 0; k < kK; ++k) {
    for (int v = 0; v < kV; ++v) Store(scores + k * p.stride + v * kLanes, sums[k][v]);
  }
}

// Keys from `key` on, kK at a time, then fewer, down to one.
template <int kK, int kV>
void ScoreKeys(const ScorePanel& p, int64_t key) {
  for (; key + kK <= p.end; key += kK) {
    p.ahead->Continue();
    AddScores<kK, kV>(p, key);
  }
  if constexpr (kK > 1) {
    if (key < p.end) ScoreKeys<Fewer(kK), kV>(p, key);
  }
}

// Products of all queries with elements [first, first + width) of the keys, a panel.
void ScorePanelOfKeys(const PanelRows& rows, const PanelTile& tile, int64_t first,
                      ScorePanel panel) {
  const KeyRange seen = {tile.first_key + tile.seen.low, tile.first_key + tile.seen.high};
  panel.queries = rows.queries + first * rows.stride;
  for (int64_t row = 0; row < rows.stride; row += 2 * kLanes) {
    const int64_t left = rows.rows->count - row;
    const KeyRange keys = rows.rows->Visible(row, left < 2 * kLanes ? left : 2 * kLanes, seen);
    const int64_t key = keys.low - tile.first_key;
    panel.end = keys.high - tile.first_key;
    if (row + 2 * kLanes <= rows.stride) {
      ScoreKeys<kKeysByTwo, 2>(panel, key);
    } else {
      ScoreKeys<kKeysByOne, 1>(panel, key);
    }
    panel.queries += 2 * kLanes;
    panel.scores += 2 * kLanes;
  }
}

// Products of all queries with the keys that are seen; 0 for keys that groups of rows do not see.
void Score(const PanelRows& rows, const PanelTile& tile, const PanelScratch& scratch,
           ReadAhead& ahead) {
  const int64_t depth = rows.rows->args->q.shape.dims[2], low = tile.seen.low;
  for (int64_t i = low * rows.stride; i < tile.seen.high * rows.stride; i += kLanes) {
    Store(scratch.scores + i, ZeroFloats());
  }
  float *now = scratch.panels, *next = scratch.panels + kPanelFloats;
  bool filled = false;
  for (int64_t i = 0; i < depth; i += kPanelWidth) {
    const int64_t width = depth - i < kPanelWidth ? depth - i : kPanelWidth;
    if (!filled) Fill(tile.keys, tile.seen, i, width, now);
    const bool halves = tile.keys.type == DType::kF16;
    FillAhead fill = {
        .row = tile.keys.first + low * tile.keys.stride + (i + kPanelWidth) * (halves ? 2 : 4),
        .out = next + low * kPanelWidth,
        .stride = tile.keys.stride,
        .halves = halves};
    filled = tile.keys.type != DType::kBF16 && i + 2 * kPanelWidth <= depth;
    if (filled) fill.keys = tile.seen.high - low;
    ScorePanelOfKeys(rows, tile, i,
                     {.keys = now,
                      .scores = scratch.scores,
                      .stride = rows.stride,
                      .depth = width,
                      .ahead = &ahead,
                      .fill = &fill});
    while (fill.keys > 0) fill.Continue();
    float* last = now;
    now = next;
    next = last;
  }
}

inline void ScaleAndCap(const AttentionArgs& a, int64_t n, float* scores) {
  for (int64_t i = 0; i < n; i += kLanes) Store(scores + i, Mul(Load(scores + i), Set(a.scale)));
  if (a.soft_cap <= 0) return;
  for (int64_t i = 0; i < n; ++i) scores[i] = a.soft_cap * __builtin_tanhf(scores[i] / a.soft_cap);
}

// -inf where a row does not see a key that others see.
void Mask(const PanelRows& rows, const PanelTile& tile, float* scores) {
  for (int64_t r = 0; r < rows.rows->count; ++r) {
    const int64_t low = rows.rows->rows[r].low - tile.first_key;
    const int64_t high = rows.rows->rows[r].high - tile.first_key;
    for (int64_t k = tile.seen.low; k < tile.seen.high; ++k) {
      if (k < low || k >= high) scores[k * rows.stride + r] = -kInfinity;
    }
  }
}

// What the state before and the tile count for after it.
struct Factors {
  alignas(64) float before[kBlockRows];
  alignas(64) float tile[kBlockRows];
};

// Replaces the scores of kLanes rows from `row` by exp(score - largest of the tile), and brings
// their largest scores and sums up to it.
inline void Soften(const PanelRows& rows, const PanelTile& tile, int64_t row, float* scores,
                   const Partial& partial, Factors& factors) {
  const int64_t stride = rows.stride;
  float* first = scores + tile.seen.low * stride + row;
  const float* end = scores + tile.seen.high * stride + row;
  Floats among = Set(-kInfinity);
  for (const float* s = first; s != end; s += stride) among = Max(among, Load(s));
  // The maximum need not show a NaN, but the sum does. Where no score is above -inf, any finite
  // base gives weights of 0.
  const Floats least = Set(-__FLT_MAX__);
  const Floats base = Max(among, least);
  Floats sum = ZeroFloats();
  for (float* s = first; s != end; s += stride) {
    const Floats weight = ExpOfNegative(Sub(Load(s), base));
    Store(s, weight);
    sum = Add(sum, weight);
  }
  const Floats before = tile.first ? Set(-kInfinity) : Load(partial.largest + row);
  const Floats sum_before = tile.first ? ZeroFloats() : Load(partial.sum + row);
  const Floats after = Max(among, before);
  const Floats new_base = Max(after, least);
  const Floats old_factor = ExpOfNegative(Sub(before, new_base));
  const Floats new_factor = ExpOfNegative(Sub(among, new_base));
  Store(partial.largest + row, after);
  Store(partial.sum + row, Fma(sum_before, old_factor, Mul(sum, new_factor)));
  Store(factors.before + row, old_factor);
  Store(factors.tile + row, new_factor);
}

// Weighted sums of the values of a tile, blended with those of the tiles before.
struct ValuePanel {
  PlainRows values;      // [depth, width]
  const float* weights;  // [depth, stride]
  const float *before, *tile;
  float* out;
  int64_t stride, depth, out_stride, width;
  bool first;  // there is nothing before
  ReadAhead* ahead;
};

template <typename Format, int kR, int kV>
inline void BlendValues(const ValuePanel& p, int64_t row, int64_t column) {
  const std::byte* values = p.values.first;
  const float* weights = p.weights + row;
  Floats sums[kR][kV];
  for (int r = 0; r < kR; ++r) {
    for (int v = 0; v < kV; ++v) sums[r][v] = ZeroFloats();
  }
  for (int64_t k = 0; k < p.depth; ++k, values += p.values.stride, weights += p.stride) {
    Floats columns[kV];
    for (int v = 0; v < kV; ++v) columns[v] = Format::Load(values, column + v * kLanes);
    for (int r = 0; r < kR; ++r) {
      const Floats factor = Set(weights[r]);
      for (int v = 0; v < kV; ++v) sums[r][v] = Fma(factor, columns[v], sums[r][v]);
    }
  }
  float* out = p.out + row * p.out_stride + column;
  for (int r = 0; r < kR; ++r, out += p.out_stride) {
    const Floats before = Set(p.before[row + r]), tile = Set(p.tile[row + r]);
    for (int v = 0; v < kV; ++v) {
      const Floats sum = Mul(sums[r][v], tile);
      Store(out + v * kLanes, p.first ? sum : Fma(Load(out + v * kLanes), before, sum));
    }
  }
}

// Rows from `row` on, kR at a time, then fewer, down to one.
template <typename Format, int kR>
void BlendRows(const ValuePanel& p, int64_t row, int64_t end) {
  for (; row + kR <= end; row += kR) {
    int64_t column = 0;
    for (; column + 2 * kLanes <= p.width; column += 2 * kLanes) {
      p.ahead->Continue();
      BlendValues<Format, kR, 2>(p, row, column);
    }
    if (column < p.width) BlendValues<Format, kR, 1>(p, row, column);
  }
  if constexpr (kR > 1) {
    if (row < end) BlendRows<Format, Fewer(kR)>(p, row, end);
  }
}

bool AllSee(const BlockRows& rows, KeyRange keys) {
  for (int64_t r = 0; r < rows.count; ++r) {
    if (rows.rows[r].low > keys.low || rows.rows[r].high < keys.high) return false;
  }
  return true;
}

void Blend(const ValuePanel& p, int64_t row, int64_t end) {
  if (p.values.type == DType::kF16) return BlendRows<F16Format, kRowsByTwo>(p, row, end);
  if (p.values.type == DType::kBF16) return BlendRows<Bf16Format, kRowsByTwo>(p, row, end);
  BlendRows<F32Format, kRowsByTwo>(p, row, end);
}

// Elements [first, first + n) of the values that are seen; rows may be read up to a multiple of
// kPad if they are few.
PlainRows LoadValues(const PanelTile& tile, int64_t rows, int64_t first, int64_t n, float* panel) {
  if ((rows <= kFewRows || tile.values.type == DType::kF32) && n % kPad == 0) {
    PlainRows values = tile.values;
    const int64_t bytes = values.type == DType::kF32 ? 4 : 2;
    values.first += first * bytes;
    return values;
  }
  Fill(tile.values, tile.seen, first, n, panel);
  return PlainRows::Of(panel, kPanelWidth);
}

// Adds what groups of rows see, `seen` being what some row sees; keys that no row sees may be
// anything.
void AddValues(const PanelRows& rows, const PanelTile& tile, const PanelScratch& scratch,
               const Factors& factors, const Partial& partial, ReadAhead& ahead) {
  const BlockRows& block = *rows.rows;
  const KeyRange seen = {tile.first_key + tile.seen.low, tile.first_key + tile.seen.high};
  const int64_t group = AllSee(block, seen) ? block.count : kGroupRows;
  const int64_t all = block.args->out.shape.dims[2];
  const int64_t width = all < tile.elements.end ? all : tile.elements.end;
  for (int64_t i = tile.elements.begin; i < width; i += kPanelWidth) {
    const int64_t n = width - i < kPanelWidth ? width - i : kPanelWidth;
    const PlainRows values = LoadValues(tile, block.count, i, n, scratch.panels);
    ValuePanel panel = {.values = values,
                        .before = factors.before,
                        .tile = factors.tile,
                        .out = partial.values + i,
                        .stride = rows.stride,
                        .out_stride = partial.stride,
                        .width = (n + kPad - 1) / kPad * kPad,
                        .first = tile.first,
                        .ahead = &ahead};
    for (int64_t row = 0; row < block.count; row += group) {
      const int64_t left = block.count - row, count = left < group ? left : group;
      const KeyRange keys = block.Visible(row, count, seen);
      const int64_t skipped = keys.low - tile.first_key;
      panel.values.first = values.first + skipped * values.stride;
      panel.weights = scratch.scores + skipped * rows.stride;
      panel.depth = keys.high - keys.low;
      Blend(panel, row, row + count);
    }
  }
}

// What follows when all scores are there.
void BlendScored(const PanelRows& rows, const PanelTile& tile, const PanelScratch& scratch,
                 const Partial& partial, ReadAhead& ahead) {
  const int64_t low = tile.seen.low, high = tile.seen.high, stride = rows.stride;
  ScaleAndCap(*rows.rows->args, (high - low) * stride, scratch.scores + low * stride);
  if (!AllSee(*rows.rows, {tile.first_key + low, tile.first_key + high})) {
    Mask(rows, tile, scratch.scores);
  }
  Factors factors;
  for (int64_t row = 0; row < stride; row += kLanes) {
    Soften(rows, tile, row, scratch.scores, partial, factors);
  }
  AddValues(rows, tile, scratch, factors, partial, ahead);
}

}  // namespace

void AddPanelTile(const PanelRows& rows, const PanelTile& tile, const PanelScratch& scratch,
                  const Partial& partial) {
  ReadAhead ahead(tile.next);
  Score(rows, tile, scratch, ahead);
  BlendScored(rows, tile, scratch, partial, ahead);
}

void ScorePanelTile(const PanelRows& rows, const PanelTile& tile, const PanelScratch& scratch) {
  ReadAhead ahead(tile.next);
  Score(rows, tile, scratch, ahead);
}

void BlendPanelTile(const PanelRows& rows, const PanelTile& tile, const PanelScratch& scratch,
                    const Partial& partial) {
  ReadAhead ahead(tile.next);
  BlendScored(rows, tile, scratch, partial, ahead);
}

}  // namespace tandem::cpu::TANDEM_CPU_ISA
