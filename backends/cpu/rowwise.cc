// Kernels that treat each row by itself.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/decode.h"
#include "backends/cpu/kernel_set.h"
#include "backends/cpu/split.h"
#include "backends/cpu/vector_loops.h"

namespace tandem::cpu {
namespace {

void Copy(float* out, const float* x, int64_t n) {
  std::memmove(out, x, static_cast<size_t>(n) * sizeof(float));
}

void Clear(float* out, int64_t n) { std::fill_n(out, n, 0.0f); }

void RopeToken(const RopeArgs& a, int64_t t) {
  const int64_t heads = a.x.dim(1), size = a.x.dim(2), pairs = a.inv_freq.dim(0);
  const double position = static_cast<const int32_t*>(a.positions.data)[t];
  const auto* inv_freq = static_cast<const float*>(a.inv_freq.data);
  for (int64_t h = 0; h < heads; ++h) {
    const float* x = a.x.row<float>(t, h);
    float* out = a.out.row<float>(t, h);
    if (x == out) continue;
    Copy(out, x, a.begin);
    const int64_t end = a.begin + 2 * pairs;
    Copy(out + end, x + end, size - end);
  }
  const bool halves = a.pairing == RopePairing::kHalves;
  TurnedPairs turned = {.step = halves ? 1 : 2, .distance = halves ? pairs : 1};
  Turn turns[kTurnPairs];
  for (int64_t first = 0; first < pairs; first += kTurnPairs) {
    turned.first = a.begin + first * turned.step;
    turned.count = std::min(pairs - first, kTurnPairs);
    for (int64_t i = first; i < first + turned.count; ++i) {
      // In double, as the product of a position beyond 10^5 loses the digits that matter in f32.
      const double angle = position * inv_freq[i];
      turns[i - first] = {static_cast<float>(std::cos(angle)) * a.magnitude,
                          static_cast<float>(std::sin(angle)) * a.magnitude};
    }
    for (int64_t h = 0; h < heads; ++h) {
      TurnHead(a.x.row<float>(t, h), turned, turns, a.out.row<float>(t, h));
    }
  }
}

int64_t RowsPerToken(const TensorView& x) { return x.shape.rank == 3 ? x.dim(1) : 1; }

}  // namespace

void Plan(const EmbedArgs& a, const PlanContext&, std::vector<Phase>& phases) {
  const int64_t words = a.table.dim(0), width = a.table.dim(1);
  phases.push_back(RowPhase(a.ids.dim(0), width, a.live_rows,
                            [a, words, width, decode = FindDecoder(a.table.dtype)](int64_t t) {
                              const int64_t id = static_cast<const int32_t*>(a.ids.data)[t];
                              float* out = a.out.row<float>(t);
                              if (id < 0 || id >= words) return Clear(out, width);
                              decode(a.table.row(id), 0, width, out);
                            }));
}

void Plan(const RmsNormArgs& a, const PlanContext&, std::vector<Phase>& phases) {
  const int64_t heads = RowsPerToken(a.x), width = a.x.shape.back();
  phases.push_back(RowPhase(a.x.dim(0), heads * width, a.live_rows, [a, heads, width](int64_t t) {
    const auto* weight = static_cast<const float*>(a.weight.data);
    for (int64_t h = 0; h < heads; ++h) {
      RmsNormRow(a.x.row<float>(t, h), weight, width, a.eps, a.out.row<float>(t, h));
    }
  }));
}

void Plan(const RopeArgs& a, const PlanContext&, std::vector<Phase>& phases) {
  constexpr int64_t kAngleWork = 64;  // of a cosine and a sine
  const int64_t work = a.x.dim(1) * a.x.dim(2) + kAngleWork * a.inv_freq.dim(0);
  phases.push_back(RowPhase(a.x.dim(0), work, a.live_rows, [a](int64_t t) { RopeToken(a, t); }));
}

void Plan(const AddArgs& a, const PlanContext&, std::vector<Phase>& phases) {
  const int64_t width = a.out.dim(1);
  phases.push_back(RowPhase(a.out.dim(0), width, a.live_rows, [a, width](int64_t t) {
    AddRows(a.a.row<float>(t), a.b.row<float>(t), width, a.out.row<float>(t));
  }));
}

// Wide rows of a few tokens are cut: other threads have just written them, and to fetch all of that
// takes one thread longer than to compute with it.
void Plan(const SwiGluArgs& a, const PlanContext&, std::vector<Phase>& phases) {
  constexpr int64_t kExpWork = 8, kPiece = 1024;
  const int64_t width = a.out.dim(1), rows = a.out.dim(0);
  const int64_t piece = rows <= kFewTokens ? kPiece : width, pieces = CeilDiv(width, piece);
  const int64_t work = kExpWork * rows * width;
  const int64_t chunks = pieces > 1 ? rows * pieces : std::min<int64_t>(ChunksFor(work), rows);
  Phase phase = ItemPhase(
      static_cast<int>(std::max<int64_t>(chunks, 1)),
      [a, rows, pieces] { return LiveRows(a.live_rows, rows) * pieces; },
      [a, width, piece, pieces](int64_t item) {
        const int64_t t = item / pieces, first = item % pieces * piece;
        MultiplySilu(a.gate.row<float>(t) + first, a.up.row<float>(t) + first,
                     std::min(piece, width - first), a.out.row<float>(t) + first);
      });
  phase.work = CeilDiv(work, phase.chunks);
  phases.push_back(std::move(phase));
}

void Plan(const ConcatArgs& a, const PlanContext&, std::vector<Phase>& phases) {
  const int64_t heads = RowsPerToken(a.a), left = a.a.shape.back(), right = a.b.shape.back();
  phases.push_back(RowPhase(a.out.dim(0), heads * (left + right), a.live_rows,
                            [a, heads, left, right](int64_t t) {
                              for (int64_t h = 0; h < heads; ++h) {
                                float* out = a.out.row<float>(t, h);
                                Copy(out, a.a.row<float>(t, h), left);
                                Copy(out + left, a.b.row<float>(t, h), right);
                              }
                            }));
}

void Plan(const GatherRowsArgs& a, const PlanContext&, std::vector<Phase>& phases) {
  const int64_t rows = a.x.dim(0), width = a.x.dim(1);
  phases.push_back(RowPhase(a.out.dim(0), width, a.live_rows, [a, rows, width](int64_t r) {
    const int64_t row = static_cast<const int32_t*>(a.rows.data)[r];
    float* out = a.out.row<float>(r);
    if (row < 0 || row >= rows) return Clear(out, width);
    Copy(out, a.x.row<float>(row), width);
  }));
}

void Plan(const StoreKvArgs& a, const PlanContext&, std::vector<Phase>& phases) {
  const int64_t heads = a.x.dim(1), width = a.x.dim(2);
  const int64_t slots = a.cache.dim(0) * kPageTokens;
  phases.push_back(
      RowPhase(a.x.dim(0), heads * width, a.live_rows,
               [a, heads, width, slots, encode = FindEncoder(a.cache.dtype)](int64_t t) {
                 const int64_t slot = static_cast<const int32_t*>(a.slots.data)[t];
                 if (slot < 0 || slot >= slots) return;
                 for (int64_t h = 0; h < heads; ++h) {
                   encode(a.x.row<float>(t, h), width,
                          a.cache.row(slot / kPageTokens, slot % kPageTokens, h));
                 }
               }));
}

}  // namespace tandem::cpu
