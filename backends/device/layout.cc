#include "backends/device/layout.h"

#include <algorithm>
#include <cstring>
#include <vector>

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

// move(offset of the panel, row, block) for each block of each row.
template <typename Move>
void ForEachBlock(const Panel& p, int64_t rows, Move move) {
  for (int64_t first = 0; first < rows; first += kPanelRows) {
    for (int64_t b = 0; b < p.blocks; ++b) {
      for (int64_t r = 0; r < kPanelRows; ++r) move(first * p.row_bytes, r, b);
    }
  }
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
  ForEachBlock(p, rows, [&](int64_t panel, int64_t r, int64_t b) {
    CopyHead(p, from + panel + p.HeadInRows(r, b), to + panel + p.Head(r, b));
    const std::byte* in = from + panel + p.WordsInRows(r, b);
    std::byte* out = to + panel + p.Words(r, b);
    for (int64_t w = 0; w < p.words; ++w) Copy<kWord>(in + w * kWord, out + w * kPanelRows * kWord);
  });
}

void InterleaveInPlace(DType type, int64_t row_bytes, int64_t rows, std::byte* data) {
  std::vector<std::byte> panel(static_cast<size_t>(kPanelRows * row_bytes));
  for (int64_t first = 0; first < rows; first += kPanelRows, data += panel.size()) {
    std::memcpy(panel.data(), data, panel.size());
    Interleave(type, row_bytes, kPanelRows, panel.data(), data);
  }
}

void Deinterleave(DType type, int64_t row_bytes, int64_t rows, const std::byte* from,
                  std::byte* to) {
  const Panel p(type, row_bytes);
  ForEachBlock(p, rows, [&](int64_t panel, int64_t r, int64_t b) {
    CopyHead(p, from + panel + p.Head(r, b), to + panel + p.HeadInRows(r, b));
    const std::byte* in = from + panel + p.Words(r, b);
    std::byte* out = to + panel + p.WordsInRows(r, b);
    for (int64_t w = 0; w < p.words; ++w) Copy<kWord>(in + w * kPanelRows * kWord, out + w * kWord);
  });
}

}  // namespace tandem
