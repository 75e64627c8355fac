// What kernels on single rows are told. Strides are in bytes.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// A tensor [T, H, D] or, with one head, [T, D].
struct RowsView {
  u8* data = nullptr;
  i64 row_stride = 0;   // from one T to the next
  i64 head_stride = 0;  // from one H to the next
};

struct EmbedParams {
  const i32* ids;
  const u8* table;
  i64 table_stride, vocab, width;
  RowsView out;
  const i32* live;
};

struct RmsNormParams {
  RowsView x, out;
  const float* weight;
  i32 rows, heads, width;
  float eps;
  const i32* live;
};

struct RopeParams {
  RowsView x, out;
  const i32* positions;
  const float* inv_freq;
  i32 rows, heads, width, begin, pairs;
  float magnitude;
  const i32* live;
};

// out = a op b; a concatenation has `b` behind the `width` elements of `a`.
struct BinaryParams {
  RowsView a, b, out;
  i32 rows, heads, width, b_width;
  const i32* live;
};

struct GatherRowsParams {
  RowsView x, out;
  const i32* index;
  i32 rows, out_rows, width;
  const i32* live;
};

struct RouteParams {
  RowsView logits, ids, weights;
  const float* bias;  // null: none
  i32 rows, experts, chosen, groups, groups_used;
  float scale;
  const i32* live;
};

}  // namespace tandem::cuda
