// Arguments of the conversion of weights to tiles of f16 numbers.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// w [groups, rows, k], or transposed [groups, k, rows], to tiles of `padded_rows` rows, a multiple of
// 16; the rows beyond the last are zero.
struct F16TilesParams {
  const u8* w;
  u8* out;
  i64 group_bytes;
  i64 row_bytes;  // of w in rows; of w in tiles: from 16 rows to the next
  i32 groups;
  i32 rows, padded_rows;
  i32 k;  // a multiple of 32; of transposed tiles: of 16
};

}  // namespace tandem::cuda
