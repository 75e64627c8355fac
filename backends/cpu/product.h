// Matrix products of weight rows with columns of activations.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/device/dtype.h"

namespace tandem::cpu {

// A row of activations for block-quantised weights: `n` i8 quants, then the scale of each group of
// 32, then scale * (sum of the quants) of each group. The lists are padded with zeros to whole
// spans. Sums are f32, as f16 sums overflow with the activations of some models.
struct QuantizedRow {
  const int8_t* quants;
  const float* scales;
  const float* sums;

  static int64_t Bytes(int64_t n);
  static QuantizedRow At(const std::byte* data, int64_t n);
};

// Quantises groups [first_group, last_group) of a row of `n` floats, n a multiple of 32; `x` is the
// first element of the first group. Whoever writes the last group also writes the padding.
void QuantizeGroups(const float* x, int64_t first_group, int64_t last_group, int64_t n,
                    std::byte* data);
inline void QuantizeRow(const float* x, int64_t n, std::byte* data) {
  QuantizeGroups(x, 0, n / 32, n, data);
}

// out[c][r] = row r of the weights . column c.
struct ProductTile {
  const std::byte* weights = nullptr;
  int64_t stride = 0;  // bytes from one weight row to the next
  int64_t rows = 0;
  int64_t in = 0;                             // elements of a row
  const std::byte* const* columns = nullptr;  // f32 rows; for block types: quantised rows
  float* const* out = nullptr;
  int64_t count = 0;  // columns
};
using ProductFn = void(const ProductTile& tile);

// For every type but i32. An element of the result does not depend on what else is in the tile.
ProductFn* FindProduct(DType type);

inline constexpr int64_t kTileColumns = 64;  // callers keep arrays of this size

}  // namespace tandem::cpu
