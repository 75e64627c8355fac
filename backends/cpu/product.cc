#include "backends/cpu/product.h"

#include <algorithm>

#include "backends/cpu/formats.h"

namespace tandem::cpu {
namespace {

using namespace simd;

int64_t PaddedGroups(int64_t n) {
  return (n / kGroup + kSpanGroups - 1) / kSpanGroups * kSpanGroups;
}

template <int kColumns>
struct BlockSums {
  F32x8 of[kColumns];
};

// Scales of the groups of a span times those of the activations, for each column.
template <int kColumns>
struct Factors {
  alignas(32) float of[kColumns][kSpanGroups];
};

// i32 sums of the quants of a group times activations; `weights` are |quants| if they are signed.
template <typename Format>
inline Bytes GroupDot(const Span& span, int g, Bytes weights, Bytes x) {
  if constexpr (Format::kSigned) x = WithSign(x, span.quants[g]);
  return DotQuads(DotPairs(weights, x), Format::kHalves ? span.half_scales[g] : SetI16(1));
}

// Adds the products of one span. `first` is its first group.
template <typename Format, int kColumns>
inline void AddSpan(const Span& span, int groups, int64_t first, const QuantizedRow* x,
                    BlockSums<kColumns>& sums) {
  constexpr bool kHalfMins = Format::kMins && Format::kHalves;
  Factors<kColumns> scales, mins;
  for (int c = 0; c < kColumns; ++c) {
    const F32x8 x_scales = Load(x[c].scales + first);
    Store(scales.of[c], Mul(Load(span.scales), x_scales));
    if constexpr (kHalfMins) {
      Store(mins.of[c], Mul(Load(span.mins), x_scales));
    } else if constexpr (Format::kMins) {
      sums.of[c] = Fma(Load(span.mins), Load(x[c].sums + first), sums.of[c]);
    }
  }
  KeepInMemory(scales);
  if constexpr (kHalfMins) KeepInMemory(mins);
  for (int g = 0; g < groups; ++g) {
    const Bytes weights = Format::kSigned ? AbsI8(span.quants[g]) : span.quants[g];
    for (int c = 0; c < kColumns; ++c) {
      const Bytes group = LoadBytes(x[c].quants + (first + g) * kGroup);
      const F32x8 dot = ToFloat(GroupDot<Format>(span, g, weights, group));
      sums.of[c] = Fma(dot, Set(scales.of[c][g]), sums.of[c]);
      if constexpr (kHalfMins) {
        const Bytes halves = DotQuads(DotPairs(SetI8(1), group), span.half_mins[g]);
        sums.of[c] = Fma(ToFloat(halves), Set(mins.of[c][g]), sums.of[c]);
      }
    }
  }
}

template <typename Format, int kColumns>
void BlockRow(const std::byte* row, int64_t in, const QuantizedRow* x, float* out) {
  constexpr int64_t kSpanBytes = kSpan / Format::kBlock * Format::kBytes;
  BlockSums<kColumns> sums;
  for (int c = 0; c < kColumns; ++c) sums.of[c] = Zero();
  int64_t i = 0;
  Span span;
  for (; i + kSpan <= in; i += kSpan, row += kSpanBytes) {
    Format::Unpack(row, kSpanGroups, span);
    AddSpan<Format, kColumns>(span, kSpanGroups, i / kGroup, x, sums);
  }
  if (const int groups = static_cast<int>((in - i) / kGroup); groups > 0) {
    Format::Unpack(row, groups, span);
    AddSpan<Format, kColumns>(span, groups, i / kGroup, x, sums);
  }
  // Always by Sum4, as another order of the additions would give other bits.
  for (int c = 0; c < kColumns; c += 4) {
    auto sum = [&](int i) { return sums.of[std::min(c + i, kColumns - 1)]; };
    float four[4];
    Store4(four, Sum4(sum(0), sum(1), sum(2), sum(3)));
    std::copy_n(four, std::min(4, kColumns - c), out + c);
  }
}

template <typename Format, int kColumns>
void BlockColumns(const ProductTile& tile, int64_t first) {
  QuantizedRow x[kColumns];
  for (int c = 0; c < kColumns; ++c) x[c] = QuantizedRow::At(tile.columns[first + c], tile.in);
  for (int64_t r = 0; r < tile.rows; ++r) {
    float sums[kColumns];
    BlockRow<Format, kColumns>(tile.weights + r * tile.stride, tile.in, x, sums);
    for (int c = 0; c < kColumns; ++c) tile.out[first + c][r] = sums[c];
  }
}

template <typename Format>
void BlockProduct(const ProductTile& tile) {
  int64_t c = 0;
  for (; c + 8 <= tile.count; c += 8) BlockColumns<Format, 8>(tile, c);
  if (c + 4 <= tile.count) {
    BlockColumns<Format, 4>(tile, c);
    c += 4;
  }
  if (c + 2 <= tile.count) {
    BlockColumns<Format, 2>(tile, c);
    c += 2;
  }
  if (c < tile.count) BlockColumns<Format, 1>(tile, c);
}

// Four weight rows by kColumns columns of floats; `rows` may repeat a row.
template <typename Format, int kColumns>
inline void PlainFourRows(const std::byte* const (&rows)[4], int64_t in, const float* const* x,
                          F32x4* out) {
  F32x8 sums[kColumns][4];
  for (auto& column : sums) {
    for (F32x8& sum : column) sum = Zero();
  }
  int64_t i = 0;
  for (; i + 8 <= in; i += 8) {
    F32x8 columns[kColumns];
    for (int c = 0; c < kColumns; ++c) columns[c] = Load(x[c] + i);
    for (int r = 0; r < 4; ++r) {
      const F32x8 w = Format::Load(rows[r], i);
      for (int c = 0; c < kColumns; ++c) sums[c][r] = Fma(w, columns[c], sums[c][r]);
    }
  }
  if (i < in) {
    for (int r = 0; r < 4; ++r) {
      alignas(32) float w[8] = {};
      for (int64_t j = i; j < in; ++j) w[j - i] = Format::At(rows[r], j);
      for (int c = 0; c < kColumns; ++c) {
        sums[c][r] = Fma(Load(w), LoadTail(x[c] + i, in - i), sums[c][r]);
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    out[c] = Sum4(sums[c][0], sums[c][1], sums[c][2], sums[c][3]);
  }
}

template <typename Format, int kColumns>
void PlainColumns(const ProductTile& tile, int64_t first) {
  const float* x[kColumns];
  for (int c = 0; c < kColumns; ++c) x[c] = reinterpret_cast<const float*>(tile.columns[first + c]);
  for (int64_t r = 0; r < tile.rows; r += 4) {
    const std::byte* rows[4];
    for (int64_t i = 0; i < 4; ++i) {
      rows[i] = tile.weights + std::min(r + i, tile.rows - 1) * tile.stride;
    }
    F32x4 sums[kColumns];
    PlainFourRows<Format, kColumns>(rows, tile.in, x, sums);
    const int64_t valid = std::min<int64_t>(4, tile.rows - r);
    for (int c = 0; c < kColumns; ++c) {
      float four[4];
      Store4(four, sums[c]);
      std::memcpy(tile.out[first + c] + r, four, static_cast<size_t>(valid) * sizeof(float));
    }
  }
}

template <typename Format>
void PlainProduct(const ProductTile& tile) {
  int64_t c = 0;
  for (; c + 2 <= tile.count; c += 2) PlainColumns<Format, 2>(tile, c);
  if (c < tile.count) PlainColumns<Format, 1>(tile, c);
}

}  // namespace

int64_t QuantizedRow::Bytes(int64_t n) {
  const int64_t bytes = n + 2 * PaddedGroups(n) * static_cast<int64_t>(sizeof(float));
  return (bytes + 63) / 64 * 64;
}

QuantizedRow QuantizedRow::At(const std::byte* data, int64_t n) {
  const auto* scales = reinterpret_cast<const float*>(data + n);
  return {reinterpret_cast<const int8_t*>(data), scales, scales + PaddedGroups(n)};
}

void QuantizeGroups(const float* x, int64_t first_group, int64_t last_group, int64_t n,
                    std::byte* data) {
  const QuantizedRow row = QuantizedRow::At(data, n);
  auto* scales = const_cast<float*>(row.scales);
  auto* sums = const_cast<float*>(row.sums);
  for (int64_t g = first_group; g < last_group; ++g, x += kGroup) {
    const F32x8 v[4] = {Load(x), Load(x + 8), Load(x + 16), Load(x + 24)};
    const float largest = Largest(Max(Max(Abs(v[0]), Abs(v[1])), Max(Abs(v[2]), Abs(v[3]))));
    // Smaller groups count as zeros, as the inverse of their scale would not be finite.
    const bool zero = !(largest > 1e-30f);
    const F32x8 inverse = Set(zero ? 0.0f : 127.0f / largest);
    Bytes q[4];
    for (int i = 0; i < 4; ++i) q[i] = RoundToI32(Mul(v[i], inverse));
    StoreBytes(data + g * kGroup, PackI8(q[0], q[1], q[2], q[3]));
    // Zero, or NaN if an element is not finite, which the largest need not show.
    const float poison = 0.0f * Sum(Add(Add(v[0], v[1]), Add(v[2], v[3])));
    scales[g] = (zero ? 0.0f : largest / 127.0f) + poison;
    const int sum = SumI32(AddI32(AddI32(q[0], q[1]), AddI32(q[2], q[3])));
    sums[g] = scales[g] * static_cast<float>(sum);
  }
  if (last_group != n / kGroup) return;
  for (int64_t g = last_group; g < PaddedGroups(n); ++g) scales[g] = sums[g] = 0.0f;
}

ProductFn* FindProduct(DType type) {
  auto* plain =
      SelectFormat<ProductFn>(type, PlainFormats(), []<typename F>() { return &PlainProduct<F>; });
  if (plain != nullptr) return plain;
  return SelectFormat<ProductFn>(type, BlockFormats(),
                                 []<typename F>() { return &BlockProduct<F>; });
}

}  // namespace tandem::cpu
