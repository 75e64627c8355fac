// Arguments of the kernels of product_floats.cuh and product_transposed.cuh.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

inline constexpr i32 kFloatRowsThreads = 256;
inline constexpr i32 kTransposedWarps = 8;

struct FloatRowsParams {
  const void* weight;  // [groups][rows, k], row after row
  const float* x;      // [tokens][groups][k]
  const float* bias;   // [rows], or null
  const float* add;    // [tokens][rows], or null
  float* out;          // [tokens][groups][rows]
  const i32* live_rows;
  i64 weight_group, weight_row;                     // bytes
  i64 x_row, x_group, add_row, out_row, out_group;  // elements
  i32 rows, k, tokens;
};

struct TransposedRowsParams {
  const u8* weight;  // tiles [groups][k, rows]: the inputs are the rows of the matrix
  const float* x;    // [tokens][groups][k]
  float* out;        // [tokens][groups][rows]
  const i32* live_rows;
  i64 weight_group;  // bytes
  i64 x_row, x_group, out_row, out_group;
  i32 rows, k, tokens;
};

}  // namespace tandem::cuda
