// What the kernels of attention in splits are told, see attention_decode.cuh.
#pragma once

#include "attention.h"

namespace tandem::cuda {

struct AttentionDecodeParams {
  AttentionParams attention;
  float* values;    // [units, rows of a tile, Dv]: each unit's sums, divided by their weight
  float* weights;   // [units, rows of a tile, 2]: maximum of the scores (base 2) and sum
  i32 most_splits;  // of the keys of a sequence
  i32 least_keys;   // of a split
  i32 tile_rows;    // for the kernel that merges
  i32 tile_keys;
};

}  // namespace tandem::cuda
