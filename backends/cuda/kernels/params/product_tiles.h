// Arguments of the products with weights in tiles.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// out[t, g] = w[g] x[t, g] + bias. Activations as convert_rows.cuh writes them: row g *
// x_group_rows
// + t.
struct ProductTilesParams {
  TensorMap weights;       // of all groups; boxes of a stage of a tile's panels
  TensorMap x;             // f16 [rows, K rounded up to 64], boxes of 64 k and the tokens of a tile
  const u8* weights_data;  // for the portable kernel, which does without maps
  const u8* x_data;
  i64 panel_bytes;        // of 16 rows of weights
  i32 x_rows;             // of all groups
  const float* x_scales;  // of each row; null: 1
  const float* bias;      // [out_features] or null
  u8* out;                // f32 or f16 [tokens, groups, out_features]
  const i32* live_rows;   // null: all tokens
  i64 out_row_bytes;
  i64 out_group_bytes;
  i32 groups;
  i32 out_features;  // a multiple of 16
  i32 tokens;
  i32 tiles;  // K / 32
  i32 x_group_rows;
  i32 aligned;  // rows of `out` begin at multiples of 16 bytes
  // Parts of K, whose sums are written apart: part i at out + i * split_bytes.
  i32 splits;
  i64 split_bytes;
};

// Parts of K begin at multiples of this many steps of 64.
inline constexpr int kSplitSteps = 4;

// out = the sum of the parts + bias.
struct SumSplitsParams {
  const float* parts;  // [splits, tokens, groups, features]
  const float* bias;   // or null
  u8* out;             // f32 [tokens, groups, features]
  const i32* live_rows;
  i64 out_row_bytes;
  i64 out_group_bytes;
  i32 splits, tokens, groups, features;  // features: a multiple of 4
};

}  // namespace tandem::cuda
