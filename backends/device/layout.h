// Layouts of weights other than rows.
//
// Interleaved weights: the layout in which kernels that use many rows at once read them in the
// order of memory.
//
// A panel holds 16 consecutive rows in as many bytes as they have in files. A block is taken apart
// into words of four bytes and, where its bytes are no multiple of four, a head that holds its
// scale. Eight blocks of the rows follow each other, or those that are left at the end: first the
// heads, for each block those of the 16 rows; then the words, for each block and each of its words
// those of the 16 rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "backends/device/tensor.h"

namespace tandem {

// Whether the matrix, or stack of matrices, can lie in this layout. In kRows all can; the others
// take block-quantised ones whose rows follow each other, a multiple of 16 of each matrix.
bool CanArrange(WeightLayout layout, const TensorView& weight);

// From rows to `layout`, and back: `rows` rows, a multiple of 16 unless the layout is kRows, of
// `row_bytes` bytes; `to` has room for as many bytes and does not overlap.
void Arrange(WeightLayout layout, DType type, int64_t row_bytes, int64_t rows,
             const std::byte* from, std::byte* to);
void Restore(WeightLayout layout, DType type, int64_t row_bytes, int64_t rows,
             const std::byte* from, std::byte* to);
// Arrange within `data`. Needs memory for a panel.
void ArrangeInPlace(WeightLayout layout, DType type, int64_t row_bytes, int64_t rows,
                    std::byte* data);

std::string_view LayoutName(WeightLayout layout);  // "tiles"

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kPanelBlocks = 8;  // whose heads stand together

// The head of a block: bytes [at, at + bytes); at the start of the block or at its end.
struct BlockHead {
  int at = 0;
  int bytes = 0;
};
constexpr BlockHead HeadOf(DType type) {
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
      return {0, 2};
    case DType::kMXFP4:
      return {0, 1};
    case DType::kQ3_K:
      return {108, 2};
    case DType::kQ6_K:
      return {208, 2};
    default:
      return {};
  }
}

// Whether the matrix, its rows following each other in memory, can be interleaved: block-quantised,
// with a multiple of 16 rows (of each group, if it has three dimensions).
bool CanInterleave(const TensorView& weight);

// From `rows`, a multiple of 16, of `row_bytes` bytes of blocks of a quantised type; `to` has room
// for as many bytes and does not overlap.
void Interleave(DType type, int64_t row_bytes, int64_t rows, const std::byte* from, std::byte* to);
// The reverse of Interleave.
void Deinterleave(DType type, int64_t row_bytes, int64_t rows, const std::byte* from,
                  std::byte* to);

}  // namespace tandem
