#include "backends/cpu/attention_block.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/product.h"
#include "backends/cpu/simd.h"
#include "backends/cpu/split.h"

namespace tandem::cpu {
namespace {

using namespace simd;

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kVectors = kTileKeys / 8;

int32_t At(const TensorView& list, int64_t i) { return static_cast<const int32_t*>(list.data)[i]; }

void Scale(float* x, int64_t n, float factor) {
  for (int64_t i = 0; i < n; i += 8) Store(x + i, Mul(Load(x + i), Set(factor)));
}

// Turns products q . k into capped scores, -inf where the row does not see the key.
void ScaleAndMask(const AttentionArgs& a, int64_t low, int64_t high, float* scores) {
  for (int64_t i = 0; i < kTileKeys; i += 8) {
    F32x8 s = Mul(Load(scores + i), Set(a.scale));
    if (a.soft_cap > 0) s = Mul(Set(a.soft_cap), Tanh(Div(s, Set(a.soft_cap))));
    Store(scores + i, s);
  }
  std::fill(scores, scores + low, kNegativeInfinity);
  std::fill(scores + high, scores + kTileKeys, kNegativeInfinity);
}

// Replaces scores by exp(score - largest) and brings the state of the row up to it.
void UpdateRow(float* scores, const Partial& partial, int64_t r) {
  F32x8 largest = Load(scores);
  for (int64_t v = 1; v < kVectors; ++v) largest = Max(largest, Load(scores + 8 * v));
  const float before = partial.largest[r];
  const float after = std::max(before, Largest(largest));
  if (after != before) {
    if (partial.sum[r] != 0.0f) {
      const float factor = Exp(before - after);
      partial.sum[r] *= factor;
      Scale(partial.values + r * partial.stride, partial.stride, factor);
    }
    partial.largest[r] = after;
  }
  // The maximum need not show a NaN, but the sum does. Where no score is above -inf, any finite
  // base gives weights of 0.
  const F32x8 base = Set(after == kNegativeInfinity ? 0.0f : after);
  F32x8 sum = Zero();
  for (int64_t v = 0; v < kVectors; ++v) {
    const F32x8 weight = Exp(Sub(Load(scores + 8 * v), base));
    Store(scores + 8 * v, weight);
    sum = Add(sum, weight);
  }
  partial.sum[r] += Sum(sum);
}

// values[r] += sum_k weights[r][k] v[k] for kRows rows, 16 columns at a time; keys of the tile that
// no row sees may never have been written.
template <int kRows>
void AddValues(const KeyTile& tile, const float* weights, float* values, int64_t stride) {
  for (int64_t d = 0; d < stride; d += 16) {
    F32x8 sums[kRows][2];
    for (int r = 0; r < kRows; ++r) {
      sums[r][0] = Load(values + r * stride + d);
      sums[r][1] = Load(values + r * stride + d + 8);
    }
    const float* v = tile.values + d;
    for (int64_t k = 0; k < tile.count; ++k, v += tile.value_stride) {
      const F32x8 low = Load(v), high = Load(v + 8);
      for (int r = 0; r < kRows; ++r) {
        const F32x8 weight = Set(weights[r * kTileKeys + k]);
        sums[r][0] = Fma(weight, low, sums[r][0]);
        sums[r][1] = Fma(weight, high, sums[r][1]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      Store(values + r * stride + d, sums[r][0]);
      Store(values + r * stride + d + 8, sums[r][1]);
    }
  }
}

// AddValues for the part of a tile that some of the rows sees.
template <int kRows>
void AddVisible(const BlockRows& rows, int64_t first, const KeyTile& tile, const float* weights,
                const Partial& partial) {
  const KeyRange seen = rows.Visible(first, kRows, {tile.first_key, tile.first_key + tile.count});
  const int64_t skipped = seen.low - tile.first_key;
  KeyTile part = tile;
  part.count = seen.high - seen.low;
  part.values += skipped * tile.value_stride;
  if (part.count == 0) return;
  AddValues<kRows>(part, weights + skipped, partial.values + first * partial.stride,
                   partial.stride);
}

// out = out a + x b
void Blend(float* out, float a, const float* x, float b, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    Store(out + i, Fma(Load(out + i), Set(a), Mul(Load(x + i), Set(b))));
  }
  for (; i < n; ++i) out[i] = __builtin_fmaf(out[i], a, x[i] * b);
}

}  // namespace

int64_t LiveSequences(const AttentionArgs& a) {
  return LiveRows(a.batch.live_seqs, a.batch.kv_len.dim(0));
}

Sequence GetSequence(const AttentionArgs& a, int64_t s) {
  const int64_t first = At(a.batch.seq_start, s);
  return {first, At(a.batch.seq_start, s + 1) - first, At(a.batch.kv_len, s)};
}

const std::byte* KeyRow(const AttentionArgs& a, const TensorView& cache, int64_t seq, int64_t key,
                        int64_t head) {
  const int64_t page = a.batch.page_table.row<int32_t>(seq)[key / kPageTokens];
  return cache.row(page, key % kPageTokens, head);
}

QueryBlock::Row QueryBlock::At(const AttentionArgs& a, const Sequence& s, int64_t r) const {
  const int64_t index = (first_row + r) / heads;
  const int64_t position = s.keys - s.tokens + index;
  Row row = {.token = s.first_token + index, .head = first_head + (first_row + r) % heads};
  row.low = a.window > 0 ? std::max<int64_t>(0, position - a.window + 1) : 0;
  row.high = a.causal ? std::min(position + 1, s.keys) : s.keys;
  return row;
}

ChunkRange VisibleChunks(const AttentionArgs& a, const QueryBlock& block) {
  if (block.rows == 0) return {0, 0};
  // Both borders grow with the token.
  const Sequence s = GetSequence(a, block.seq);
  const int64_t low = block.At(a, s, 0).low;
  const int64_t high = block.At(a, s, block.rows - 1).high;
  if (low >= high) return {0, 0};
  return {low / kChunkKeys, CeilDiv(high, kChunkKeys)};
}

void Partial::Clear(int64_t rows) const {
  std::fill_n(largest, rows, kNegativeInfinity);
  std::fill_n(sum, rows, 0.0f);
  std::fill_n(values, rows * stride, 0.0f);
}

BlockRows::BlockRows(const AttentionArgs& a, const QueryBlock& block)
    : args(&a), count(block.rows) {
  const Sequence s = GetSequence(a, block.seq);
  for (int64_t r = 0; r < count; ++r) {
    rows[r] = block.At(a, s, r);
    queries[r] = a.q.row(rows[r].token, rows[r].head);
  }
}

KeyRange BlockRows::Visible(int64_t first, int64_t n, KeyRange among) const {
  KeyRange seen = {among.high, among.low};
  for (int64_t r = first; r < first + n; ++r) {
    const int64_t low = std::max(rows[r].low, among.low);
    const int64_t high = std::min(rows[r].high, among.high);
    if (low >= high) continue;
    seen = {std::min(seen.low, low), std::max(seen.high, high)};
  }
  if (seen.low >= seen.high) return {among.low, among.low};
  return seen;
}

void AddTile(const BlockRows& rows, const KeyTile& tile, float* scores, const Partial& partial) {
  const AttentionArgs& a = *rows.args;
  float* out[kBlockRows];
  for (int64_t r = 0; r < rows.count; ++r) out[r] = scores + r * kTileKeys;
  FindProduct(DType::kF32)({.weights = reinterpret_cast<const std::byte*>(tile.keys),
                            .stride = tile.key_stride * static_cast<int64_t>(sizeof(float)),
                            .rows = tile.count,
                            .in = a.q.dim(2),
                            .columns = rows.queries,
                            .out = out,
                            .count = rows.count});
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t low = std::clamp<int64_t>(rows.rows[r].low - tile.first_key, 0, tile.count);
    const int64_t high = std::clamp<int64_t>(rows.rows[r].high - tile.first_key, low, tile.count);
    if (low == high) {
      std::fill_n(out[r], kTileKeys, 0.0f);
    } else {
      ScaleAndMask(a, low, high, out[r]);
      UpdateRow(out[r], partial, r);
    }
  }
  int64_t r = 0;
  for (; r + 4 <= rows.count; r += 4) {
    AddVisible<4>(rows, r, tile, out[r], partial);
  }
  for (; r < rows.count; ++r) {
    AddVisible<1>(rows, r, tile, out[r], partial);
  }
}

RunningRow EmptyRow() { return {kNegativeInfinity, 0.0f}; }

void MergeChunk(const AttentionArgs& a, const QueryBlock::Row& row, const Partial& partial,
                int64_t r, RunningRow& running) {
  const float sum = partial.sum[r], largest = partial.largest[r];
  if (sum == 0.0f) return;
  const int64_t width = a.out.dim(2);
  float* out = a.out.row<float>(row.token, row.head);
  const float* values = partial.values + r * partial.stride;
  if (running.sum == 0.0f) {
    std::copy_n(values, width, out);
    running = {largest, sum};
    return;
  }
  const float both = std::max(running.largest, largest);
  const float old_factor = Exp(running.largest - both), new_factor = Exp(largest - both);
  Blend(out, old_factor, values, new_factor, width);
  running = {both, __builtin_fmaf(running.sum, old_factor, sum * new_factor)};
}

void FinishRow(const AttentionArgs& a, const QueryBlock::Row& row, const RunningRow& running) {
  const int64_t width = a.out.dim(2);
  float* out = a.out.row<float>(row.token, row.head);
  float* lse = a.lse.present() ? a.lse.row<float>(row.token) + row.head : nullptr;
  if (running.sum == 0.0f) {
    std::fill_n(out, width, 0.0f);
    if (lse != nullptr) *lse = kNegativeInfinity;
    return;
  }
  float largest = running.largest, sum = running.sum, factor = 1.0f;
  if (a.sinks.present()) {
    const float sink = static_cast<const float*>(a.sinks.data)[row.head];
    largest = std::max(largest, sink);
    factor = Exp(running.largest - largest);
    sum = __builtin_fmaf(running.sum, factor, Exp(sink - largest));
  }
  factor /= sum;
  for (int64_t i = 0; i < width; ++i) out[i] *= factor;
  if (lse != nullptr) *lse = largest + std::log(sum);
}

}  // namespace tandem::cpu
