// Arguments of products of many tokens with f32 weights.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// out[t, g] = w[g] x[t, g] + bias.
struct ProductF32Params {
  const u8* x;  // f32 [tokens, groups, k]
  const u8* w;  // f32 [groups, outputs, k]
  const float* bias;
  u8* out;  // f32 [tokens, groups, outputs]
  const i32* live_rows;
  i64 x_row_bytes, x_group_bytes;
  i64 w_row_bytes, w_group_bytes;
  i64 out_row_bytes, out_group_bytes;
  i32 tokens, outputs;
  i32 k;  // a multiple of 16; rows of x and w begin at multiples of 16 bytes
};

}  // namespace tandem::cuda
