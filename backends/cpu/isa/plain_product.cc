// Products with weights that are plain numbers, in f32.
#include "backends/cpu/isa/inner_loops.h"
#include "backends/cpu/isa/plain_formats.h"

namespace tandem::cpu::TANDEM_CPU_ISA {
namespace {

constexpr int kRows = 4;  // of weights, at a time
#ifdef __AVX512F__
constexpr int kMostColumns = 4;
#else
constexpr int kMostColumns = 2;
#endif

template <int kColumns>
struct Sums {
  Floats of[kColumns][kRows];
};

// `rows` may repeat a row.
template <typename Format, int kColumns>
inline void AddRows(const std::byte* const (&rows)[kRows], const float* const* x, int64_t i,
                    Sums<kColumns>& sums) {
  Floats columns[kColumns];
  for (int c = 0; c < kColumns; ++c) columns[c] = Load(x[c] + i);
  for (int r = 0; r < kRows; ++r) {
    const Floats w = Format::Load(rows[r], i);
    for (int c = 0; c < kColumns; ++c) sums.of[c][r] = Fma(w, columns[c], sums.of[c][r]);
  }
}

template <typename Format, int kColumns>
inline void AddTails(const std::byte* const (&rows)[kRows], const float* const* x, int64_t i,
                     int64_t in, Sums<kColumns>& sums) {
  for (int r = 0; r < kRows; ++r) {
    alignas(64) float w[kLanes] = {};
    for (int64_t j = i; j < in; ++j) w[j - i] = Format::At(rows[r], j);
    for (int c = 0; c < kColumns; ++c) {
      sums.of[c][r] = Fma(Load(w), LoadTail(x[c] + i, in - i), sums.of[c][r]);
    }
  }
}

template <typename Format, int kColumns>
void FourRows(const std::byte* const (&rows)[kRows], int64_t in, const float* const* x,
              float (*out)[kRows]) {
  Sums<kColumns> sums;
  for (auto& column : sums.of) {
    for (Floats& sum : column) sum = ZeroFloats();
  }
  int64_t i = 0;
  for (; i + kLanes <= in; i += kLanes) AddRows<Format, kColumns>(rows, x, i, sums);
  if (i < in) AddTails<Format, kColumns>(rows, x, i, in, sums);
  for (int c = 0; c < kColumns; ++c) {
    const Floats(&s)[kRows] = sums.of[c];
    Sum4(s[0], s[1], s[2], s[3], out[c]);
  }
}

template <typename Format, int kColumns>
void AddColumns(const ProductTile& tile, int64_t first) {
  const float* x[kColumns];
  for (int c = 0; c < kColumns; ++c) x[c] = reinterpret_cast<const float*>(tile.columns[first + c]);
  for (int64_t r = 0; r < tile.rows; r += kRows) {
    const int64_t left = tile.rows - r;
    const std::byte* rows[kRows];
    for (int64_t i = 0; i < kRows; ++i) {
      rows[i] = tile.weights + (i < left ? r + i : tile.rows - 1) * tile.stride;
    }
    float sums[kColumns][kRows];
    FourRows<Format, kColumns>(rows, tile.in, x, sums);
    const auto bytes = static_cast<size_t>(left < kRows ? left : kRows) * sizeof(float);
    for (int c = 0; c < kColumns; ++c) std::memcpy(tile.out[first + c] + r, sums[c], bytes);
  }
}

template <typename Format, int kColumns>
void AddBlocks(const ProductTile& tile, int64_t first) {
  for (; first + kColumns <= tile.count; first += kColumns) {
    AddColumns<Format, kColumns>(tile, first);
  }
  if constexpr (kColumns > 1) {
    if (first < tile.count) AddBlocks<Format, kColumns / 2>(tile, first);
  }
}

template <typename Format>
void PlainProduct(const ProductTile& tile) {
  AddBlocks<Format, kMostColumns>(tile, 0);
}

}  // namespace

ProductFn* FindPlainProduct(DType type) {
  switch (type) {
    case DType::kF32:
      return &PlainProduct<F32Format>;
    case DType::kF16:
      return &PlainProduct<F16Format>;
    case DType::kBF16:
      return &PlainProduct<Bf16Format>;
    default:
      return nullptr;
  }
}

}  // namespace tandem::cpu::TANDEM_CPU_ISA
