#include "backends/device/layout.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "backends/device/tiles.h"

namespace tandem {
namespace {

constexpr int64_t kWord = 4;  // bytes

// Where the parts of a panel are: in rows, and interleaved.
struct Panel {
  BlockHead head;
  int64_t row_bytes, block_bytes, blocks, words;  // blocks of a row, words of a block
  int64_t words_at;                               // of a block

  Panel(DType type, int64_t row_bytes)
      : head(HeadOf(type)),
        row_bytes(row_bytes),
        block_bytes(GetDTypeInfo(type).block_bytes),
        blocks(row_bytes / block_bytes),
        words((block_bytes - head.bytes) / kWord),
        words_at(head.at == 0 ? head.bytes : 0) {}

  int64_t HeadInRows(int64_t row, int64_t block) const {
    return row * row_bytes + block * block_bytes + head.at;
  }
  int64_t Head(int64_t row, int64_t block) const {
    const int64_t first = block / kPanelBlocks * kPanelBlocks;
    return (first * block_bytes + (block - first) * head.bytes) * kPanelRows + row * head.bytes;
  }
  int64_t WordsInRows(int64_t row, int64_t block) const {
    return row * row_bytes + block * block_bytes + words_at;
  }
  // The next word of the row is kPanelRows words further on.
  int64_t Words(int64_t row, int64_t block) const {
    const int64_t first = block / kPanelBlocks * kPanelBlocks;
    const int64_t heads = std::min(kPanelBlocks, blocks - first) * head.bytes;
    return (first * block_bytes + heads + (block - first) * words * kWord) * kPanelRows +
           row * kWord;
  }
};

template <int64_t kBytes>
void Copy(const std::byte* from, std::byte* to) {
  std::memcpy(to, from, kBytes);
}

void CopyHead(const Panel& p, const std::byte* from, std::byte* to) {
  if (p.head.bytes == 2) Copy<2>(from, to);
  if (p.head.bytes == 1) Copy<1>(from, to);
}

// Four words of a row; the compiler has vectors of them on every x86-64.
typedef uint32_t Words4 __attribute__((vector_size(16)));
constexpr int64_t kFour = 4;

Words4 Load4(const std::byte* from) {
  Words4 words;
  std::memcpy(&words, from, sizeof(words));
  return words;
}

// Four words of four rows, `from_stride` bytes apart, to four words of each place.
void Transpose4(const std::byte* from, int64_t from_stride, std::byte* to, int64_t to_stride) {
  const Words4 a = Load4(from), b = Load4(from + from_stride);
  const Words4 c = Load4(from + 2 * from_stride), d = Load4(from + 3 * from_stride);
  const Words4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Words4 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Words4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Words4 cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Words4 out[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                         __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                         __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                         __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
  for (int i = 0; i < 4; ++i) std::memcpy(to + i * to_stride, &out[i], sizeof(Words4));
}

// A matrix of words, to its transposed one.
struct WordMatrix {
  const std::byte* from;
  int64_t from_stride;  // bytes
  std::byte* to;
  int64_t to_stride;
  int64_t rows, columns;
};

void Transpose(const WordMatrix& m) {
  const int64_t rows = m.rows / kFour * kFour, columns = m.columns / kFour * kFour;
  for (int64_t r = 0; r < rows; r += kFour) {
    for (int64_t c = 0; c < columns; c += kFour) {
      Transpose4(m.from + r * m.from_stride + c * kWord, m.from_stride,
                 m.to + c * m.to_stride + r * kWord, m.to_stride);
    }
  }
  for (int64_t r = 0; r < m.rows; ++r) {
    for (int64_t c = r < rows ? columns : 0; c < m.columns; ++c) {
      Copy<kWord>(m.from + r * m.from_stride + c * kWord, m.to + c * m.to_stride + r * kWord);
    }
  }
}

// do_block(offset of the panel, block) for each block of each panel.
template <typename DoBlock>
void ForEachBlock(const Panel& p, int64_t rows, DoBlock do_block) {
  for (int64_t first = 0; first < rows; first += kPanelRows) {
    for (int64_t b = 0; b < p.blocks; ++b) do_block(first * p.row_bytes, b);
  }
}

int64_t ElementsOf(DType type, int64_t row_bytes) {
  const DTypeInfo& info = GetDTypeInfo(type);
  return row_bytes / info.block_bytes * info.block_size;
}

}  // namespace

bool CanInterleave(const TensorView& weight) {
  const int rank = weight.shape.rank;
  if (rank < 2 || rank > 3 || !IsQuantized(weight.dtype)) return false;
  const int64_t row_bytes = RowBytes(weight.dtype, weight.shape.back());
  const int64_t panel_bytes = kPanelRows * row_bytes;
  return weight.strides[rank - 2] == row_bytes && weight.dim(rank - 2) % kPanelRows == 0 &&
         (rank == 2 || weight.strides[0] % panel_bytes == 0);
}

void Interleave(DType type, int64_t row_bytes, int64_t rows, const std::byte* from, std::byte* to) {
  const Panel p(type, row_bytes);
  ForEachBlock(p, rows, [&](int64_t panel, int64_t b) {
    for (int64_t r = 0; r < kPanelRows; ++r) {
      CopyHead(p, from + panel + p.HeadInRows(r, b), to + panel + p.Head(r, b));
    }
    Transpose({.from = from + panel + p.WordsInRows(0, b),
               .from_stride = row_bytes,
               .to = to + panel + p.Words(0, b),
               .to_stride = kPanelRows * kWord,
               .rows = kPanelRows,
               .columns = p.words});
  });
}

void Deinterleave(DType type, int64_t row_bytes, int64_t rows, const std::byte* from,
                  std::byte* to) {
  const Panel p(type, row_bytes);
  ForEachBlock(p, rows, [&](int64_t panel, int64_t b) {
    for (int64_t r = 0; r < kPanelRows; ++r) {
      CopyHead(p, from + panel + p.Head(r, b), to + panel + p.HeadInRows(r, b));
    }
    Transpose({.from = from + panel + p.Words(0, b),
               .from_stride = kPanelRows * kWord,
               .to = to + panel + p.WordsInRows(0, b),
               .to_stride = row_bytes,
               .rows = p.words,
               .columns = kPanelRows});
  });
}

bool CanArrange(WeightLayout layout, const TensorView& weight) {
  switch (layout) {
    case WeightLayout::kInterleaved:
      return CanInterleave(weight);
    case WeightLayout::kTiles:
      return CanTile(weight);
    default:
      return layout == WeightLayout::kRows;
  }
}

void Arrange(WeightLayout layout, DType type, int64_t row_bytes, int64_t rows,
             const std::byte* from, std::byte* to) {
  switch (layout) {
    case WeightLayout::kInterleaved:
      return Interleave(type, row_bytes, rows, from, to);
    case WeightLayout::kTiles:
      return ToTiles(type, rows, ElementsOf(type, row_bytes), from, to);
    case WeightLayout::kRows:
      std::memcpy(to, from, static_cast<size_t>(rows * row_bytes));
  }
}

void Restore(WeightLayout layout, DType type, int64_t row_bytes, int64_t rows,
             const std::byte* from, std::byte* to) {
  switch (layout) {
    case WeightLayout::kInterleaved:
      return Deinterleave(type, row_bytes, rows, from, to);
    case WeightLayout::kTiles:
      return FromTiles(type, rows, ElementsOf(type, row_bytes), from, to);
    case WeightLayout::kRows:
      std::memcpy(to, from, static_cast<size_t>(rows * row_bytes));
  }
}

void ArrangeInPlace(WeightLayout layout, DType type, int64_t row_bytes, int64_t rows,
                    std::byte* data) {
  if (layout == WeightLayout::kRows) return;
  std::vector<std::byte> panel(static_cast<size_t>(kPanelRows * row_bytes));
  for (int64_t first = 0; first < rows; first += kPanelRows, data += panel.size()) {
    std::memcpy(panel.data(), data, panel.size());
    Arrange(layout, type, row_bytes, kPanelRows, panel.data(), data);
  }
}

std::string_view LayoutName(WeightLayout layout) {
  switch (layout) {
    case WeightLayout::kInterleaved:
      return "interleaved";
    case WeightLayout::kTiles:
      return "tiles";
    default:
      return "rows";
  }
}

}  // namespace tandem
