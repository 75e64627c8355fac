// Softmax attention of a block of query rows over one tile of keys (flash attention, Dao et al.
// 2022): scores, softmax against the running maximum, sum of the values. All in f32.
#include "backends/cpu/isa/inner_loops.h"
#include "backends/cpu/isa/lanes.h"

namespace tandem::cpu::TANDEM_CPU_ISA {
namespace {

constexpr float kInfinity = __builtin_inff();
constexpr int kKeyVectors = kTileKeys / kLanes;
constexpr int64_t kRows = 8;  // that are looked at together for the keys that they see

// Products of all queries with the keys, [rows][kTileKeys].
void Score(const BlockRows& rows, const KeyTile& tile, float* scores) {
  const int64_t depth = rows.args->q.shape.dims[2];
  float* out[kBlockRows];
  for (int64_t r = 0; r < rows.count; ++r) out[r] = scores + r * kTileKeys;
  FindPlainProduct(tile.keys.type)({.weights = tile.keys.first,
                                    .stride = tile.keys.stride,
                                    .rows = tile.count,
                                    .in = depth,
                                    .columns = rows.queries,
                                    .out = out,
                                    .count = rows.count});
}

// tanh(x) = sign(x) (1 - e) / (1 + e), e = exp(-2 |x|).
inline float Tanh(float x) { return __builtin_tanhf(x); }

// Turns products q . k into capped scores, -inf where the row does not see the key.
void ScaleAndMask(const AttentionArgs& a, int64_t low, int64_t high, float* scores) {
  for (int64_t i = 0; i < kTileKeys; i += kLanes) {
    Store(scores + i, Mul(Load(scores + i), Set(a.scale)));
  }
  if (a.soft_cap > 0) {
    for (int64_t i = low; i < high; ++i) scores[i] = a.soft_cap * Tanh(scores[i] / a.soft_cap);
  }
  for (int64_t i = 0; i < low; ++i) scores[i] = -kInfinity;
  for (int64_t i = high; i < kTileKeys; ++i) scores[i] = -kInfinity;
}

inline float ExpOfOne(float x) {
  alignas(64) float lanes[kLanes];
  Store(lanes, ExpOfNegative(Set(x)));
  return lanes[0];
}

// Replaces scores by exp(score - largest) and brings the state of the row up to it.
void UpdateRow(float* scores, const Partial& partial, int64_t r) {
  Floats largest = Load(scores);
  for (int v = 1; v < kKeyVectors; ++v) largest = Max(largest, Load(scores + v * kLanes));
  const float before = partial.largest[r], among = Largest(largest);
  const float after = before < among ? among : before;
  if (after != before) {
    if (partial.sum[r] != 0.0f) {
      const float factor = ExpOfOne(before - after);
      partial.sum[r] *= factor;
      float* values = partial.values + r * partial.stride;
      for (int64_t i = 0; i < partial.stride; i += kLanes) {
        Store(values + i, Mul(Load(values + i), Set(factor)));
      }
    }
    partial.largest[r] = after;
  }
  // The maximum need not show a NaN, but the sum does. Where no score is above -inf, any finite
  // base gives weights of 0.
  const Floats base = Set(after == -kInfinity ? 0.0f : after);
  Floats sum = ZeroFloats();
  for (int v = 0; v < kKeyVectors; ++v) {
    const Floats weight = ExpOfNegative(Sub(Load(scores + v * kLanes), base));
    Store(scores + v * kLanes, weight);
    sum = Add(sum, weight);
  }
  partial.sum[r] += Sum(sum);
}

// values += weights . v for the keys of the tile that some row of each group of rows sees; keys
// that no row sees may never have been written.
void AddValues(const BlockRows& rows, const KeyTile& tile, const float* scores,
               const Partial& partial) {
  const KeyRange all = {tile.first_key, tile.first_key + tile.count};
  for (int64_t first = 0; first < rows.count; first += kRows) {
    const int64_t count = rows.count - first < kRows ? rows.count - first : kRows;
    const KeyRange seen = rows.Visible(first, count, all);
    const int64_t skipped = seen.low - tile.first_key;
    const float* weights[kBlockRows];
    for (int64_t r = 0; r < count; ++r) weights[r] = scores + (first + r) * kTileKeys + skipped;
    Multiply({.a = weights,
              .b = {tile.values.first + skipped * tile.values.stride, tile.values.stride,
                    tile.values.type},
              .depth = seen.high - seen.low,
              .out = partial.values + first * partial.stride,
              .out_stride = partial.stride,
              .rows = count,
              .width = partial.stride});
  }
}

}  // namespace

void AddTile(const BlockRows& rows, const KeyTile& tile, float* scores, const Partial& partial) {
  Score(rows, tile, scores);
  for (int64_t r = 0; r < rows.count; ++r) {
    float* row = scores + r * kTileKeys;
    int64_t low = rows.rows[r].low - tile.first_key, high = rows.rows[r].high - tile.first_key;
    low = low < 0 ? 0 : low;
    high = high > tile.count ? tile.count : high;
    if (low < high) {
      ScaleAndMask(*rows.args, low, high, row);
      UpdateRow(row, partial, r);
    } else {
      for (int v = 0; v < kKeyVectors; ++v) Store(row + v * kLanes, ZeroFloats());
    }
  }
  AddValues(rows, tile, scores, partial);
}

}  // namespace tandem::cpu::TANDEM_CPU_ISA
