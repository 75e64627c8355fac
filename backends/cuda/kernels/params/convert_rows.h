// Arguments of the conversion of activations for the tensor cores.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

inline constexpr int kConvertRowsThreads = 256;

// Pieces of four columns that a thread holds of a row: 0, and the row is read twice, if they are many.
TANDEM_HOST_DEVICE constexpr i32 HeldFours(i32 columns) {
  const i32 fours = CeilDiv(columns, kConvertRowsThreads * 4);
  return fours <= 4 ? fours : fours <= 16 ? RoundUp(fours, 4) : 0;
}

// Rows of f32 to f16 and a power of two for each row. Row r of group g is read at
// x + r * x_row_bytes + g * x_group_bytes and written as row g * group_rows + r of `out`.
struct ConvertRowsParams {
  const u8* x;
  const u8* up;          // with SwiGlu: the source is silu(x) * up; strides as x
  u8* out;               // f16 [groups * group_rows, columns rounded up to 64]
  float* scales;         // what to multiply a row with to have its numbers back
  const i32* live_rows;  // null: all
  i64 x_row_bytes;
  i64 x_group_bytes;
  i32 columns;  // a multiple of 4
  i32 group_rows;
  i32 aligned;  // rows of the sources begin at multiples of 16 bytes
};

}  // namespace tandem::cuda
