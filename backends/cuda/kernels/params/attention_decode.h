// What the kernels of attention in splits are told, see attention_decode.cuh.
#pragma once

#include "../params/attention.h"

namespace tandem::cuda {

struct AttentionDecodeParams {
  AttentionParams attention;
  float* values;    // [units, rows of a tile, Dv]: each unit's sums
  float* weights;   // [units, rows of a tile, 2]: maximum of the scores (base 2), sum of weights
  i32 most_splits;  // of the keys of a sequence
  i32 least_tiles;  // of keys in a split
};

}  // namespace tandem::cuda
