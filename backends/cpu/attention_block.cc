#include "backends/cpu/attention_block.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/simd.h"
#include "backends/cpu/split.h"

namespace tandem::cpu {
namespace {

using namespace simd;

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();
int32_t At(const TensorView& list, int64_t i) { return static_cast<const int32_t*>(list.data)[i]; }

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

ChunkRange VisibleUnits(const AttentionArgs& a, const QueryBlock& block, int64_t unit_keys) {
  if (block.rows == 0) return {0, 0};
  // Both borders grow with the token.
  const Sequence s = GetSequence(a, block.seq);
  const int64_t low = block.At(a, s, 0).low;
  const int64_t high = block.At(a, s, block.rows - 1).high;
  if (low >= high) return {0, 0};
  return {low / unit_keys, CeilDiv(high, unit_keys)};
}

void Partial::Clear(int64_t rows) const {
  std::fill_n(largest, PaddedFloats(rows), kNegativeInfinity);
  std::fill_n(sum, PaddedFloats(rows), 0.0f);
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

void BlendTile(const Partial& into, const Partial& tile, int64_t r) {
  const float before = into.largest[r], among = tile.largest[r];
  const float after = std::max(before, among);
  const float base = std::max(after, std::numeric_limits<float>::lowest());
  const float old_factor = Exp(before - base), new_factor = Exp(among - base);
  Blend(into.values + r * into.stride, old_factor, tile.values + r * tile.stride, new_factor,
        into.stride);
  into.largest[r] = after;
  into.sum[r] = __builtin_fmaf(into.sum[r], old_factor, tile.sum[r] * new_factor);
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
