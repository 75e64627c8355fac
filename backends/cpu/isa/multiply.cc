// Products of matrices of f32.
#include "backends/cpu/isa/inner_loops.h"
#include "backends/cpu/isa/plain_formats.h"

namespace tandem::cpu::TANDEM_CPU_ISA {
namespace {

constexpr int kVectors = 2;  // of a row of the result, at a time
#ifdef __AVX512F__
constexpr int kRows = 8;  // of the result, at a time
#else
constexpr int kRows = 6;
#endif

// kR rows from `row` and kV vectors from `column`.
template <typename Format, int kR, int kV>
inline void AddProducts(const Multiplication& m, int64_t row, int64_t column) {
  const float* const* a = m.a + row;
  const std::byte* b = m.b.first;
  float* out = m.out + row * m.out_stride + column;
  Floats sums[kR][kV];
  for (int r = 0; r < kR; ++r) {
    for (int v = 0; v < kV; ++v) sums[r][v] = Load(out + r * m.out_stride + v * kLanes);
  }
  for (int64_t k = 0; k < m.depth; ++k, b += m.b.stride) {
    Floats columns[kV];
    for (int v = 0; v < kV; ++v) columns[v] = Format::Load(b, column + v * kLanes);
    for (int r = 0; r < kR; ++r) {
      const Floats factor = Set(a[r][k]);
      for (int v = 0; v < kV; ++v) sums[r][v] = Fma(factor, columns[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kR; ++r) {
    for (int v = 0; v < kV; ++v) Store(out + r * m.out_stride + v * kLanes, sums[r][v]);
  }
}

// Rows from `row` on, kR at a time, then fewer, down to one.
template <typename Format, int kR>
void MultiplyRows(const Multiplication& m, int64_t row) {
  for (; row + kR <= m.rows; row += kR) {
    int64_t column = 0;
    for (; column + kVectors * kLanes <= m.width; column += kVectors * kLanes) {
      AddProducts<Format, kR, kVectors>(m, row, column);
    }
    for (; column < m.width; column += kLanes) AddProducts<Format, kR, 1>(m, row, column);
  }
  if constexpr (kR > 1) {
    if (row < m.rows) MultiplyRows<Format, Fewer(kR)>(m, row);
  }
}

// Rows [first, first + kLanes) as lanes. Lanes without a row repeat the last one.
void TransposeLanes(const Transposition& t, int64_t first, int64_t stride) {
  const std::byte* from[kLanes];
  for (int64_t r = 0; r < kLanes; ++r) {
    from[r] = t.rows[first + r < t.count ? first + r : t.count - 1];
  }
  const int64_t step = from[1] - from[0];
  bool even = true;
  for (int64_t r = 1; r < kLanes; ++r) even = even && from[r] - from[r - 1] == step;
  float* out = t.out + first;
  int64_t i = 0;
  for (; even && i + 4 <= t.width; i += 4) {
    Ints lanes[4];
    Load16({from[0] + i * 4, step}, lanes);
    for (int j = 0; j < 4; ++j) Store(out + (i + j) * stride, FromBits(lanes[j]));
  }
  for (; i < t.width; ++i) {
    for (int r = 0; r < kLanes; ++r) out[i * stride + r] = ReadAs<float>(from[r] + i * 4);
  }
}

}  // namespace

void Multiply(const Multiplication& m) {
  if (m.b.type == DType::kF16) return MultiplyRows<F16Format, kRows>(m, 0);
  if (m.b.type == DType::kBF16) return MultiplyRows<Bf16Format, kRows>(m, 0);
  MultiplyRows<F32Format, kRows>(m, 0);
}

int64_t Transpose(const Transposition& t) {
  const int64_t multiple = t.multiple > kLanes ? t.multiple : kLanes;
  const int64_t stride = (t.count + multiple - 1) / multiple * multiple;
  for (int64_t first = 0; first < stride; first += kLanes) TransposeLanes(t, first, stride);
  return stride;
}

}  // namespace tandem::cpu::TANDEM_CPU_ISA
