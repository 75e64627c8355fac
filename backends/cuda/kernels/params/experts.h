// Arguments of the kernels of experts on prompts: tokens are sorted by expert, so that the experts'
// matrices are multiplied with tiles of tokens.
//
// A pair is a token and one of its choices: pair t * choices + i. Pairs are sorted by expert and,
// within one, by number. A place is a pair's position in that order.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// The pairs of one expert: places [place, place + pairs), in `tiles` tiles of `width` places each,
// the last of which may be shorter. One entry for each tile: that of tile i of all is its expert's,
// whose first tile is `first_tile`.
struct alignas(16) ExpertTiles {
  i32 expert;
  i32 place;
  i32 pairs;
  i32 first_tile;
  i32 tiles;
  i32 width;
  i32 unused[2];
};

struct SortPairsParams {
  const u8* ids;         // i32 [tokens, choices]
  const i32* live_rows;  // null: all tokens
  i64 ids_row_bytes;
  i32 tokens;
  i32 choices;
  i32 experts;
  i32 tile_width;  // the widest tile, a multiple of kExpertBox
  i32* pairs;      // of each place
  i32* places;     // of each pair; -1 if its expert is none
  i32* counts;     // [0]: places in use; [1]: tiles in use; [2]: 0, [3]: 0 (see any_exponent)
  ExpertTiles* tiles;
};

// Tokens of a tile come in multiples of this many.
inline constexpr int kExpertBox = 32;

// Room for tiles: each expert can have one that is not full.
TANDEM_HOST_DEVICE constexpr i32 MaxExpertTiles(i32 pairs, i32 experts, i32 width) {
  return pairs / width + Min(experts, pairs);
}

// x of each token as operand B at the places of its pairs; and what later kernels expect to find.
struct PlaceRowsParams {
  const u8* x;           // f32 [tokens, columns]
  const i32* live_rows;  // null: all tokens
  const i32* places;     // [tokens, choices]
  u8* out;               // f16 [places, columns rounded up to 64]
  float* scales;         // [places]
  float* hidden_scales;  // [places], set to 1
  i8* hidden_exponents;  // [places, hidden_panels], set to 0
  i8* out_exponents;     // [pairs, out_panels], set to 0
  i64 x_row_bytes;
  i32 columns;  // a multiple of 4
  i32 choices;
  i32 hidden_panels;
  i32 out_panels;
  i32 aligned;  // rows of x begin at multiples of 16 bytes
};

// A row of f16 numbers that may have any size: each 16 neighbours have an exponent e, of a byte,
// and stand for their numbers times 2^e. Nearly always e = 0. `exponents` null and 0 where none is
// not.
//
// With both: out = silu(gate x) * (up x), permuted as operand B. Else out = weights x.
struct ExpertProductsParams {
  TensorMap weights;      // [experts]: gate or down; boxes of a stage of all panels of a tile, or
  TensorMap up;           // with both matrices of 4 panels
  TensorMap x;            // f16 [places, K rounded up to 64], boxes of kExpertBox rows
  const float* x_scales;  // of each place
  u8* out;                // f16 [rows, features]
  i8* exponents;          // [rows, features / 16], zero unless this kernel writes another
  // For the portable kernels, which do without maps:
  const u8* weights_data;
  const u8* up_data;
  const u8* x_data;
  i64 panel_bytes;  // of 16 rows of weights
  i32 x_rows;
  i32* any_exponent;  // set to 1 if one is not zero
  const i32* pairs;   // row of `out` of each place; null: the place
  const ExpertTiles* tiles;
  const i32* counts;
  i32 features;     // rows of a matrix, a multiple of 16
  i32 out_columns;  // from a row of `out` to the next
  i32 k_tiles;      // K / 32
};

// Gives the numbers of each row one exponent, as a factor in `scales`.
struct LevelRowsParams {
  u8* rows;             // f16 [places, features]
  const i8* exponents;  // [places, features / 16]
  float* scales;        // [places], set to 1 beforehand
  const i32* any_exponent;
  const i32* counts;
  i32 features;
  i32 columns;  // from a row to the next
};

// out[t] = sum over the choices, in their order, of weight * row of the pair.
struct CombineParams {
  const u8* rows;       // f16 [pairs, features]
  const i8* exponents;  // [pairs, features / 16]
  const i32* any_exponent;
  const u8* ids;      // i32 [tokens, choices]
  const u8* weights;  // f32 [tokens, choices]
  const i32* live_rows;
  u8* out;  // f32 [tokens, features]
  i64 ids_row_bytes;
  i64 weights_row_bytes;
  i64 out_row_bytes;
  i32 choices;
  i32 experts;
  i32 features;  // a multiple of 8
  i32 aligned;   // rows of `out` begin at multiples of 16 bytes
};

}  // namespace tandem::cuda
