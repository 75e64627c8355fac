// Merging of neighbouring symbols, best pair first: the heart of BPE and of SentencePiece.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace tandem {

// A run of bytes of the piece at work. Symbols form a list by position; one that was merged into
// its left neighbour has length 0.
struct Symbol {
  uint32_t begin = 0;
  uint32_t length = 0;
  int32_t id = -1;  // as the caller numbers symbols; -1: none
  int32_t previous = -1;
  int32_t next = -1;
};

struct MergeResult {
  uint32_t rank = 0;  // low is good
  int32_t id = -1;    // of the merged symbol
};

// A pair that may be merged: all that is needed to see whether it still stands.
struct MergeCandidate {
  uint32_t rank = 0;
  int32_t left = 0;
  int32_t right = 0;
  uint32_t length = 0;  // of both
  int32_t id = -1;

  // Order of the heap: the lowest rank on top, the leftmost of equals.
  friend bool operator>(const MergeCandidate& a, const MergeCandidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }
};

// Memory that successive pieces share.
struct MergeScratch {
  std::vector<Symbol> symbols;
  std::vector<MergeCandidate> heap;

  // Adds a symbol at the end of the list.
  void Append(uint32_t begin, uint32_t length, int32_t id) {
    const auto index = static_cast<int32_t>(symbols.size());
    if (index > 0) symbols.back().next = index;
    symbols.push_back({begin, length, id, index - 1, -1});
  }
};

// Merges the symbols of `scratch` until `find` knows no pair of neighbours any more.
// `find(const Symbol& left, const Symbol& right)` returns std::optional<MergeResult>.
// O(n log n) calls and steps for n symbols.
template <typename Find>
void MergeSymbols(MergeScratch& scratch, const Find& find) {
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<MergeCandidate>& heap = scratch.heap;
  heap.clear();
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const std::optional<MergeResult> found = find(symbols[left], symbols[right]);
    if (!found) return;
    const uint32_t length = symbols[left].length + symbols[right].length;
    heap.push_back({found->rank, left, right, length, found->id});
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  for (size_t i = 1; i < symbols.size(); ++i) {
    consider(static_cast<int32_t>(i) - 1, static_cast<int32_t>(i));
  }
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const MergeCandidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[best.left];
    Symbol& right = symbols[best.right];
    // Either side may have been merged since; then the lengths no longer add up.
    if (left.length == 0 || right.length == 0 || left.next != best.right ||
        left.length + right.length != best.length) {
      continue;
    }
    left.length = best.length;
    left.id = best.id;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) symbols[left.next].previous = best.left;
    consider(left.previous, best.left);
    consider(best.left, left.next);
  }
}

}  // namespace tandem
