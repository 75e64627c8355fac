// Matrix products of weight rows with columns of activations.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/device/dtype.h"

namespace tandem::cpu {

// out[c][r] = row r of the weights . column c.
struct ProductTile {
  const std::byte* weights = nullptr;  // interleaved: rows from a multiple of 16, as many
  int64_t stride = 0;                  // bytes from one weight row to the next
  int64_t rows = 0;
  int64_t in = 0;                             // elements of a row
  const std::byte* const* columns = nullptr;  // f32 rows; for block types: see activations.h
  float* const* out = nullptr;
  int64_t count = 0;  // columns, at most kTileColumns
  // The weights that this thread is likely to use next, if they do not follow these: the first of
  // them are fetched while the last of these are used.
  const std::byte* next = nullptr;
};

// An element of the result does not depend on what else is in the tile.
using ProductFn = void(const ProductTile& tile);

// Rows of plain numbers: f32, f16 or bf16.
struct PlainRows {
  const std::byte* first = nullptr;
  int64_t stride = 0;  // bytes
  DType type = DType::kF32;

  static PlainRows Of(const float* first, int64_t stride_floats) {
    return {reinterpret_cast<const std::byte*>(first),
            stride_floats * static_cast<int64_t>(sizeof(float)), DType::kF32};
  }
};

// out[r][i] += sum_k a[r][k] b[k][i] in f32; `width` is a multiple of 16.
struct Multiplication {
  const float* const* a = nullptr;
  PlainRows b;
  int64_t depth = 0;
  float* out = nullptr;
  int64_t out_stride = 0;  // floats
  int64_t rows = 0, width = 0;
};
using MultiplyFn = void(const Multiplication& m);

// out[i][r] = row r [i], of f32 rows; `out` has `count` lanes rounded up to a multiple of at least
// `multiple`, the last ones of any content.
struct Transposition {
  const std::byte* const* rows = nullptr;
  int64_t count = 0, width = 0;
  int64_t multiple = 1;
  float* out = nullptr;
};
using TransposeFn = int64_t(const Transposition& t);  // gives the number of lanes

inline constexpr int64_t kTileColumns = 128;
inline constexpr int64_t kTileRows = 32;  // a tile of a multiple of this wastes nothing

}  // namespace tandem::cpu
