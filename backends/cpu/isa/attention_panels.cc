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

// Sums in registers: keys by vectors of rows, rows by vectors of a value.
#ifdef __AVX512F__
constexpr int kKeysByOne = 16, kKeysByTwo = 8, kRowsByTwo = 8;
constexpr int kLinesAhead = 16;
#else
constexpr int kKeysByOne = 8, kKeysByTwo = 6, kRowsByTwo = 6;
constexpr int kLinesAhead = 8;
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
      __builtin_prefetch(row + at, 0, 2);
      at += kLine;
      if (at >= bytes) {
        at = 0;
        row += stride;
        --rows;
      }
    }
  }
};

// Keys up to `end` and queries that are multiplied for a part of their depth.
struct ScorePanel {
  const float* keys;     // [kPanelKeys, kPanelWidth]
  const float* queries;  // [depth, stride]
  float* scores;         // [kPanelKeys, stride]
  int64_t stride, depth, end;
  ReadAhead* ahead;
};

template <int kK, int kV>
inline void AddScores(const ScorePanel& p, int64_t key) {
  const float* keys = p.keys + key * kPanelWidth;
  const float* queries = p.queries;
  float* scores = p.scores + key * p.stride;
  Floats sums[kK][kV];
  for (int k = 0; k < kK; ++k) {
    for (int v = 0; v < kV; ++v) sums[k][v] = Load(scores + k * p.stride + v * kLanes);
  }
  for (int64_t i = 0; i < p.depth; ++i, queries += p.stride) {
    Floats rows[kV];
    for (int v = 0; v < kV; ++v) rows[v] = Load(queries + v * kLanes);
    for (int k = 0; k < kK; ++k) {
      const Floats factor = Set(keys[k * kPanelWidth + i]);
      for (int v = 0; v < kV; ++v) sums[k][v] = Fma(factor, rows[v], sums[k][v]);
    }
  }
  for (int k = 0; k < kK; ++k) {
    for (int v = 0; v < kV; ++v) Store(scores + k * p.stride + v * kLanes, sums[k][v]);
  }
}

// How many sums to try where there are too few rows or keys left for `n`.
constexpr int Fewer(int n) { return n == 6 ? 4 : n / 2; }

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

// Products of all queries with the keys that are seen.
void Score(const PanelRows& rows, const PanelTile& tile, float* scores, ReadAhead& ahead) {
  const int64_t depth = rows.rows->args->q.shape.dims[2];
  for (int64_t i = tile.seen.low * rows.stride; i < tile.seen.high * rows.stride; i += kLanes) {
    Store(scores + i, ZeroFloats());
  }
  for (int64_t i = 0; i < depth; i += kPanelWidth) {
    ScorePanel panel = {.keys = tile.keys + i * kPanelKeys,
                        .queries = rows.queries + i * rows.stride,
                        .scores = scores,
                        .stride = rows.stride,
                        .depth = depth - i < kPanelWidth ? depth - i : kPanelWidth,
                        .end = tile.seen.high,
                        .ahead = &ahead};
    int64_t row = 0;
    for (; row + 2 * kLanes <= rows.stride; row += 2 * kLanes) {
      ScoreKeys<kKeysByTwo, 2>(panel, tile.seen.low);
      panel.queries += 2 * kLanes;
      panel.scores += 2 * kLanes;
    }
    if (row < rows.stride) ScoreKeys<kKeysByOne, 1>(panel, tile.seen.low);
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
  const float* values;   // [depth, kPanelWidth]
  const float* weights;  // [depth, stride]
  const float *before, *tile;
  float* out;
  int64_t stride, depth, out_stride, width;
  bool first;  // there is nothing before
  ReadAhead* ahead;
};

template <int kR, int kV>
inline void BlendValues(const ValuePanel& p, int64_t row, int64_t column) {
  const float* values = p.values + column;
  const float* weights = p.weights + row;
  Floats sums[kR][kV];
  for (int r = 0; r < kR; ++r) {
    for (int v = 0; v < kV; ++v) sums[r][v] = ZeroFloats();
  }
  for (int64_t k = 0; k < p.depth; ++k, values += kPanelWidth, weights += p.stride) {
    Floats columns[kV];
    for (int v = 0; v < kV; ++v) columns[v] = Load(values + v * kLanes);
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
template <int kR>
void BlendRows(const ValuePanel& p, int64_t row, int64_t end) {
  for (; row + kR <= end; row += kR) {
    int64_t column = 0;
    for (; column + 2 * kLanes <= p.width; column += 2 * kLanes) {
      p.ahead->Continue();
      BlendValues<kR, 2>(p, row, column);
    }
    if (column < p.width) BlendValues<kR, 1>(p, row, column);
  }
  if constexpr (kR > 1) {
    if (row < end) BlendRows<Fewer(kR)>(p, row, end);
  }
}

// For rows [row, end), of which some see keys `seen`; keys that no row sees may never have been
// written.
void AddValues(const PanelRows& rows, const PanelTile& tile, KeyRange seen, int64_t row,
               int64_t end, const float* scores, const Factors& factors, const Partial& partial,
               ReadAhead& ahead) {
  for (int64_t i = 0; i < partial.stride; i += kPanelWidth) {
    const int64_t left = partial.stride - i;
    BlendRows<kRowsByTwo>({.values = tile.values + i * kPanelKeys + seen.low * kPanelWidth,
                           .weights = scores + seen.low * rows.stride,
                           .before = factors.before,
                           .tile = factors.tile,
                           .out = partial.values + i,
                           .stride = rows.stride,
                           .depth = seen.high - seen.low,
                           .out_stride = partial.stride,
                           .width = left < kPanelWidth ? left : kPanelWidth,
                           .first = tile.first,
                           .ahead = &ahead},
                          row, end);
  }
}

bool AllSee(const BlockRows& rows, KeyRange keys) {
  for (int64_t r = 0; r < rows.count; ++r) {
    if (rows.rows[r].low > keys.low || rows.rows[r].high < keys.high) return false;
  }
  return true;
}

template <typename Format>
void Fill(const PlainRows& rows, KeyRange keys, int64_t width, float* panels) {
  for (int64_t k = keys.low; k < keys.high; ++k) {
    const std::byte* row = rows.first + k * rows.stride;
    float* out = panels + k * kPanelWidth;
    int64_t i = 0;
    for (; i + kPanelWidth <= width; i += kPanelWidth, out += kPanelFloats) {
      for (int64_t j = 0; j < kPanelWidth; j += kLanes) Store(out + j, Format::Load(row, i + j));
    }
    for (int64_t j = 0; i + j < width; ++j) out[j] = Format::At(row, i + j);
  }
}

// Queries [first, first + kLanes) as lanes. Lanes without a row repeat the last one.
void Transpose(const BlockRows& rows, int64_t first, int64_t depth, int64_t stride, float* out) {
  const std::byte* from[kLanes];
  for (int64_t r = 0; r < kLanes; ++r) {
    from[r] = rows.queries[first + r < rows.count ? first + r : rows.count - 1];
  }
  const int64_t step = from[1] - from[0];
  bool even = true;
  for (int64_t r = 1; r < kLanes; ++r) even = even && from[r] - from[r - 1] == step;
  int64_t i = 0;
  for (; even && i + 4 <= depth; i += 4) {
    Ints lanes[4];
    Load16({from[0] + i * 4, step}, lanes);
    for (int j = 0; j < 4; ++j) Store(out + (i + j) * stride, FromBits(lanes[j]));
  }
  for (; i < depth; ++i) {
    for (int r = 0; r < kLanes; ++r) out[i * stride + r] = ReadAs<float>(from[r] + i * 4);
  }
}

}  // namespace

void FillPanels(const PlainRows& rows, KeyRange keys, int64_t width, float* panels) {
  if (rows.type == DType::kF16) return Fill<F16Format>(rows, keys, width, panels);
  if (rows.type == DType::kBF16) return Fill<Bf16Format>(rows, keys, width, panels);
  Fill<F32Format>(rows, keys, width, panels);
}

int64_t TransposeQueries(const BlockRows& rows, float* queries) {
  const int64_t depth = rows.args->q.shape.dims[2];
  const int64_t stride = (rows.count + kLanes - 1) / kLanes * kLanes;
  for (int64_t first = 0; first < stride; first += kLanes) {
    Transpose(rows, first, depth, stride, queries + first);
  }
  return stride;
}

void AddPanelTile(const PanelRows& rows, const PanelTile& tile, float* scores,
                  const Partial& partial) {
  const BlockRows& block = *rows.rows;
  const int64_t low = tile.seen.low, high = tile.seen.high, stride = rows.stride;
  const KeyRange seen = {tile.first_key + low, tile.first_key + high};
  ReadAhead ahead(tile.next);
  Score(rows, tile, scores, ahead);
  ScaleAndCap(*block.args, (high - low) * stride, scores + low * stride);
  const bool all = AllSee(block, seen);
  if (!all) Mask(rows, tile, scores);
  Factors factors;
  for (int64_t row = 0; row < stride; row += kLanes) {
    Soften(rows, tile, row, scores, partial, factors);
  }
  const int64_t group = all ? block.count : kGroupRows;
  for (int64_t row = 0; row < block.count; row += group) {
    const int64_t left = block.count - row, count = left < group ? left : group;
    KeyRange keys = all ? seen : block.Visible(row, count, seen);
    keys = {keys.low - tile.first_key, keys.high - tile.first_key};
    AddValues(rows, tile, keys, row, row + count, scores, factors, partial, ahead);
  }
}

}  // namespace tandem::cpu::TANDEM_CPU_ISA
