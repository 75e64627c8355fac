// Cutting work into chunks that are worth a thread's while.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "backends/cpu/phase.h"
#include "backends/device/kernels.h"

namespace tandem::cpu {

// Work is counted in multiply-adds, roughly; a chunk of this many takes some microseconds, a few
// times what it costs to hand it to another thread.
inline constexpr int64_t kChunkWork = 65536;
inline constexpr int kUsualChunks = 1024;

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t AlignUp(int64_t bytes) { return CeilDiv(bytes, 64) * 64; }

inline int64_t LiveRows(LiveCount live, int64_t rows) {
  return live == nullptr ? rows : std::clamp<int64_t>(*live, 0, rows);
}

// Chunks for this much work in all.
inline int ChunksFor(int64_t work) {
  return static_cast<int>(std::clamp<int64_t>(work / kChunkWork, 1, kUsualChunks));
}

// Steps of up to so many tokens take as long as it takes to read the weights: those are cut finely,
// and are fetched ahead.
inline constexpr int64_t kFewTokens = 8;
inline constexpr int64_t kChunkBytes = 20480;  // of weights, about

// What a product of so much work costs, given the bytes of weights that it reads.
inline int64_t CostOf(int64_t work, int64_t weight_bytes) {
  return std::max(work, 2 * weight_bytes);
}

// `items()` pieces of work in at most `chunks` chunks; run(item) does one.
template <typename Items, typename Run>
Phase ItemPhase(int chunks, Items items, Run run) {
  Phase phase;
  phase.chunks = chunks;
  phase.begin = [chunks, items] { return static_cast<int>(std::min<int64_t>(items(), chunks)); };
  phase.run = [chunks, items, run](int chunk) {
    const int64_t count = items();
    const int64_t parts = std::min<int64_t>(count, chunks);
    const int64_t end = (chunk + 1) * count / parts;
    for (int64_t item = chunk * count / parts; item < end; ++item) run(item);
  };
  return phase;
}

// For Phase::run_several of an ItemPhase; run(begin, end) does these items.
template <typename Items, typename Run>
std::function<void(int, int)> SeveralOf(int chunks, Items items, Run run) {
  return [chunks, items, run](int first, int count) {
    const int64_t all = items();
    const int64_t parts = std::min<int64_t>(all, chunks);
    run(first * all / parts, (first + count) * all / parts);
  };
}

// For Phase::reads of an ItemPhase of `most` items at most; reads(item) is a stretch.
template <typename Reads>
std::function<Stretch(int, int)> ReadsOf(int chunks, int64_t most, Reads reads) {
  return [chunks, most, reads](int chunk, int part) -> Stretch {
    const int64_t item = chunk * most / chunks + part;
    return item < (chunk + 1) * most / chunks ? reads(item) : Stretch();
  };
}

// Nothing to do; keeps its place among the phases of other calls of a group.
inline Phase NoPhase() {
  return {.chunks = 1, .run = [](int) {}, .begin = [] { return 0; }};
}

// run(row) for each live row; `row_work` is the work of one.
template <typename Run>
Phase RowPhase(int64_t rows, int64_t row_work, LiveCount live, Run run) {
  const int64_t chunks = std::min<int64_t>(ChunksFor(rows * row_work), std::max<int64_t>(rows, 1));
  Phase phase = ItemPhase(
      static_cast<int>(chunks), [live, rows] { return LiveRows(live, rows); }, run);
  phase.work = CeilDiv(rows * row_work, chunks);
  return phase;
}

// Hands out parts of a workspace. Without memory it only counts.
class Carver {
 public:
  explicit Carver(void* data) : data_(static_cast<std::byte*>(data)) {}
  template <typename T>
  T* Take(int64_t count) {
    std::byte* part = data_ == nullptr ? nullptr : data_ + bytes_;
    bytes_ += AlignUp(count * static_cast<int64_t>(sizeof(T)));
    return reinterpret_cast<T*>(part);
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_;
  int64_t bytes_ = 0;
};

}  // namespace tandem::cpu
