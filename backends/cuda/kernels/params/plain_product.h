// What products with weights in rows are told.
#pragma once

#include "../base.cuh"
#include "../params/rowwise.h"

namespace tandem::cuda {

// Weights [G, Out, In]: bytes from one matrix, and from one stored row, to the next.
struct PlainWeights {
  const u8* data;
  i64 group_stride, row_stride;
};

// out[t, g] = w[g] x[t, g] + bias.
struct PlainLinearParams {
  RowsView x, out;
  PlainWeights w;
  const float* bias;  // null: none
  i32 rows, groups, inputs, outputs;
  const i32* live;
};

struct PlainExpertsParams {
  RowsView x, ids, weights, out;
  PlainWeights gate, up, down;
  float* hidden;  // [T, K, F]
  i32 rows, experts, chosen, width, hidden_width;
  const i32* live;
};

}  // namespace tandem::cuda
