#include "backends/cpu/vector_loops.h"

#include "backends/cpu/simd.h"

namespace tandem::cpu {
namespace {

using namespace simd;

// out[i] = f(a[i], b[i]), for vectors of 8.
template <typename F>
void Map(const float* a, const float* b, float* out, int64_t n, F f) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) Store(out + i, f(Load(a + i), Load(b + i)));
  if (i < n) StoreTail(out + i, n - i, f(LoadTail(a + i, n - i), LoadTail(b + i, n - i)));
}

}  // namespace

void AddRows(const float* a, const float* b, int64_t n, float* out) {
  Map(a, b, out, n, [](F32x8 x, F32x8 y) { return Add(x, y); });
}

void MultiplySilu(const float* gate, const float* up, int64_t n, float* out) {
  Map(gate, up, out, n, [](F32x8 g, F32x8 u) { return Mul(Silu(g), u); });
}

void AddScaled(const float* x, float factor, int64_t n, float* out) {
  const F32x8 f = Set(factor);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) Store(out + i, Fma(f, Load(x + i), Load(out + i)));
  for (; i < n; ++i) out[i] = __builtin_fmaf(factor, x[i], out[i]);
}

void RmsNormRow(const float* x, const float* weight, int64_t n, float eps, float* out) {
  F32x8 squares = Zero();
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) squares = Fma(Load(x + i), Load(x + i), squares);
  if (i < n) {
    const F32x8 tail = LoadTail(x + i, n - i);
    squares = Fma(tail, tail, squares);
  }
  const float mean = Sum(squares) / static_cast<float>(n);
  const F32x8 scale = Set(1.0f / __builtin_sqrtf(mean + eps));
  Map(x, weight, out, n, [scale](F32x8 v, F32x8 w) { return Mul(Mul(v, scale), w); });
}

void TurnHead(const float* x, const TurnedPairs& pairs, const Turn* turns, float* out) {
  for (int64_t i = 0; i < pairs.count; ++i) {
    const int64_t p = pairs.first + i * pairs.step, q = p + pairs.distance;
    const float u = x[p], v = x[q];
    out[p] = u * turns[i].cosine - v * turns[i].sine;
    out[q] = u * turns[i].sine + v * turns[i].cosine;
  }
}

}  // namespace tandem::cpu
