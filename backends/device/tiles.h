// Tiles: the layout of block-quantised weights for the matrix instructions of GPUs.
//
// A tile is 16 rows by 32 elements. A panel is 16 consecutive rows, in as many bytes as they have
// in files; panel follows panel, and the matrices of a stack follow each other. A panel is a
// sequence of units along the row: one tile for types with blocks of 32, eight tiles (a super-block
// of each of the 16 rows) for types with blocks of 256. A unit holds the 16 blocks, bit for bit, in
// parts, each 16-byte aligned in the unit and, but for the scales of a super-block, tile after
// tile.
//
// Elements of a tile are dealt to the 32 lanes of a warp as the instruction mma.m16n8k32 wants its
// matrix A of bytes (PTX ISA, "Matrix fragments for mma.m16n8k32"). Lane l, with g = l / 4 and
// t = l % 4, has four registers of four bytes; byte i of
//   register 0: row g,     element 4t + i           register 2: row g,     element 16 + 4t + i
//   register 1: row g + 8, element 4t + i           register 3: row g + 8, element 16 + 4t + i
// Of the codes of these elements a part holds
//   8 bits: 16 bytes a lane (512 a tile): the four registers
//   4 bits: 8 bytes a lane (256 a tile): a word for row g, then one for row g + 8. In a word
//     split:    byte i: element 4t + i in the low nibble, 16 + 4t + i in the high one
//     straight: nibble i (bits 4i..4i+3): element 4t + i for i < 4, else 16 + 4t + i - 4;
//               for codes that select from a table (iq4_nl, iq4_xs, mxfp4)
//   2 bits: 4 bytes a lane (128 a tile): byte i of register r in bits 2r, 2r + 1 of byte i
//   1 bit:  4 bytes for lanes 2j and 2j + 1 (64 a tile): byte i of register r in bit r of byte i,
//           for the odd lane in bit r + 4
//
// Units, byte by byte. [g] counts the pairs of rows g, g + 8. f16 numbers are the bits of the file.
//   q4_0, iq4_nl  288: d f16 [g][2] at 0, codes (4 bits) at 32
//   q4_1          320: f16 [g][d of g, d of g + 8, m of g, m of g + 8] at 0, codes at 64
//   q5_0          352: d f16 [g][2] at 0, codes (low 4 bits) at 32, bit 4 at 288
//   q5_1          384: f16 [g][4] as in q4_1 at 0, codes at 64, bit 4 at 320
//   q8_0          544: d f16 [g][2] at 0, codes (8 bits) at 32
//   mxfp4         272: e u8 [g][2] at 0, codes (4 bits) at 16
//   q2_k         1344: f16 [g][d, d, dmin, dmin] at 0; scales [tile][g][4] at 64: bytes as in the
//                      file, of elements 0..15 of rows g and g + 8, then of 16..31; codes (2 bits)
//                      at 320
//   q3_k         1760: d f16 [g][2] at 0; six-bit scales at 32, value v those of elements 0..15 of
//                      rows g and g + 8, then of 16..31; codes (low 2 bits) at 224, bit 2 at 1248
//   q4_k         2304: f16 [g][d, d, dmin, dmin] at 0; six-bit scales at 64, value v the scales of
//                      rows g and g + 8, then their mins; codes (4 bits) at 256
//   q5_k         2816: as q4_k, then bit 4 at 2304
//   q6_k         3360: d f16 [g][2] at 0; scales i8 [tile][g][4] at 32, in the order of q2_k; codes
//                      (low 4 bits) at 288, bits 4 and 5 at 2336
//   iq4_xs       2176: d f16 [g][2] at 0; six-bit scales at 32, value v those of rows g and g + 8
//   of
//                      an even tile, then of the odd tile after it; codes (4 bits) at 128
// Six-bit scales come as n entries of values v = 0..3 for each g: an entry a tile, n = 8, or for
// iq4_xs a pair of tiles, n = 4. First their low nibbles, [n / 2][g] words: byte v holds value v of
// the even entry in its low nibble, of the odd one in the high; then the two high bits, [n / 4][g]
// words: byte v holds those of entry e in bits 2 (e % 4), 2 (e % 4) + 1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/device/tensor.h"

namespace tandem {

inline constexpr int kTileRows = 16;
inline constexpr int kTileElements = 32;  // of a row

// Order of the nibbles in a word of 4-bit codes.
enum class NibbleOrder { kSplit, kStraight };

struct TileFormat {
  int tiles;      // in a unit
  int bytes;      // of a unit: 16 blocks
  int scales;     // where the six-bit or 8-bit scales of a super-block begin; 0: none
  int codes;      // where the codes begin
  int code_bits;  // 2, 4 or 8
  int high;       // where the upper bits of the codes begin; 0: none
  int high_bits;  // 0, 1 or 2
  NibbleOrder nibbles = NibbleOrder::kSplit;
};
// `type` must be a block type.
TileFormat GetTileFormat(DType type);

// Whether the matrix (or stack of matrices), its rows following each other in memory, can be laid
// out in tiles: block-quantised, with a multiple of 16 rows in each matrix.
bool CanTile(const TensorView& weight);

// From `rows`, a multiple of 16, of `k` elements in file order; `to` has room for as many bytes and
// does not overlap.
void ToTiles(DType type, int64_t rows, int64_t k, const std::byte* from, std::byte* to);
// The reverse of ToTiles.
void FromTiles(DType type, int64_t rows, int64_t k, const std::byte* from, std::byte* to);

}  // namespace tandem
