// Arguments and shared memory of the kernels of product_rows.cuh: products of weights in tiles with
// a few rows of activations.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

inline constexpr i32 kRowsWarps = 16;         // of a block
inline constexpr i32 kRowsStageBytes = 2304;  // most of a stage, if a unit is not larger
inline constexpr i32 kMaxRows = 8;

// What is done to the activations before they are quantised.
enum class Prologue : i32 { kNone, kRmsNorm, kSwiGlu };

// A matrix that is multiplied with the same activations as another one, by blocks of its own.
struct JoinedMatrix {
  const u8* weight;  // tiles [rows, k]
  float* out;        // [tokens][rows]
  i64 out_row;
  i32 rows;
  i32 first_block, blocks;
};
inline constexpr i32 kMostJoined = 2;

struct LinearRowsParams {
  const u8* weight;      // tiles [groups][rows, k]
  const float* x;        // [tokens][groups][k]
  const float* gate;     // kSwiGlu: x becomes silu(gate) x; strides as x
  const float* norm;     // kRmsNorm: [k]
  const float* bias;     // [rows], or null
  const float* add;      // [tokens][rows], added to the result, or null
  float* out;            // [tokens][groups][rows]
  const i32* live_rows;  // or null: all tokens
  i32 first_row;         // counted among the live rows
  i64 weight_group;      // bytes from one group to the next
  i64 x_row, x_group;    // elements from one token, one group to the next
  i64 gate_row;
  i64 add_row;
  i64 out_row, out_group;
  i32 rows, k, tokens;
  i32 parts_log2;  // of the warps that share a panel
  float eps;
  i32 blocks;  // of the grid's x that multiply `weight`; the others have the joined matrices
  i32 joined_count;
  JoinedMatrix joined[kMostJoined];  // without groups, bias and addition
};

// Experts. A pair is a token and one of its choices. The hidden vectors of all pairs lie in
// `hidden`, in 8 bits: HiddenRowBytes each.
struct ExpertsRowsParams {
  const u8* gate;  // tiles [experts][inner, width]
  const u8* up;
  const u8* down;  // tiles [experts][width, inner]
  const float* x;  // [tokens][width]
  const i32* ids;  // [tokens][chosen]
  const float* weights;
  const float* add;  // [tokens][width], added to the result, or null
  float* out;        // [tokens][width]
  u8* hidden;
  const i32* live_rows;
  i32 first_row;
  i64 gate_expert, up_expert, down_expert;  // bytes from one expert to the next
  i64 x_row, ids_row, weights_row, add_row, out_row;
  i32 tokens, chosen, experts, width, inner;
  i32 parts_log2;  // of the parts of a product of an expert and a panel
};

// Form of what is kept beside the codes of 32 activations: their scale, and for weights with
// offsets or mins a number for each of their scales.
constexpr TANDEM_HOST_DEVICE i32 ActivationInfoBytes(bool extra, i32 weight_scales) {
  return !extra ? 4 : weight_scales == 1 ? 8 : 16;
}

// Bytes between the codes of two rows: four neighbours lie in different banks.
constexpr TANDEM_HOST_DEVICE i32 ActivationRowBytes(i32 k) { return RoundUp(k, 128) + 32; }
constexpr TANDEM_HOST_DEVICE i32 ActivationInfoRowBytes(i32 k, i32 info_bytes) {
  return RoundUp(k / 32 * info_bytes, 128) + 16;
}
constexpr TANDEM_HOST_DEVICE i32 HiddenRowBytes(i32 k, i32 info_bytes) {
  return k + RoundUp(k / 32 * info_bytes, 16);
}

constexpr TANDEM_HOST_DEVICE i32 StageUnits(i32 unit_bytes) {
  return unit_bytes >= kRowsStageBytes ? 1 : kRowsStageBytes / unit_bytes;
}

// Floats of partial results: those of all warps, in two sets that are used in turn.
constexpr TANDEM_HOST_DEVICE i32 PanelPartials(i32 columns) {
  return 2 * kRowsWarps * 16 * columns;
}
// Those of all parts of all pairs.
constexpr TANDEM_HOST_DEVICE i32 OuterPartials(i32 pairs, i32 parts_log2) {
  return (pairs << parts_log2) * 16;
}

// Offsets in the shared memory of a block.
struct RowsShared {
  i32 ring, barriers, codes, info, partials, bytes;
};
// `stages`: of the ring of a warp. `columns`: rows of activations of `k` elements;
// `partials`: floats.
constexpr TANDEM_HOST_DEVICE RowsShared MakeRowsShared(i32 unit_bytes, i32 info_bytes, i32 stages,
                                                       i32 columns, i32 k, i32 partials) {
  RowsShared s = {};
  s.ring = 0;
  s.barriers = kRowsWarps * stages * StageUnits(unit_bytes) * unit_bytes;
  s.codes = s.barriers + kRowsWarps * stages * 8;
  s.info = s.codes + columns * ActivationRowBytes(k);
  s.partials = s.info + columns * ActivationInfoRowBytes(k, info_bytes);
  s.bytes = s.partials + partials * 4;
  return s;
}

}  // namespace tandem::cuda
