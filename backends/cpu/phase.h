// How a kernel call is cut into work for threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace tandem::cpu {

// Bytes that follow each other in memory.
struct Stretch {
  const std::byte* first = nullptr;
  int64_t bytes = 0;
};

// A number of chunks, and how much work each is: multiply-adds, roughly.
struct AlikeChunks {
  int chunks = 0;
  int64_t work = 1;
};

// A step of a call: chunks that may run in any order and at the same time. Which chunk does what
// follows from shapes and run-time counts, never from the number of threads.
struct Phase {
  int chunks = 1;                // the most that begin() returns, or the number if it is absent
  std::function<void(int)> run;  // one chunk
  std::function<int()> begin;    // optional; by one thread, before the chunks; how many of them
  std::function<bool()> again;   // optional; by one thread, after the chunks; true: go back
  int back = 0;                  // how many phases to go back
  int64_t work = 1;              // of a chunk; see AlikeChunks

  // Optional: the chunks [first, first + count) that a thread has claimed together, where that
  // reads longer pieces of memory than one chunk after the other. The results are the same.
  std::function<void(int first, int count)> run_several = {};

  // Where the chunks are not alike, what they are, in order; else empty.
  std::vector<AlikeChunks> kinds = {};

  // Optional: part `part` of the weights that a chunk reads, if as many chunks run as there can be;
  // nothing after the last part. Any thread may ask at any time, before the phase opens and long
  // after the run, so the answer is a guess that no memory of the run is read for, and what is not
  // known yet is left out.
  std::function<Stretch(int chunk, int part)> reads = {};
};

inline void RunChunks(const Phase& phase, int first, int count) {
  if (phase.run_several) return phase.run_several(first, count);
  for (int i = 0; i < count; ++i) phase.run(first + i);
}

inline int64_t TotalWork(const Phase& phase) {
  int64_t work = phase.kinds.empty() ? phase.chunks * phase.work : 0;
  for (const AlikeChunks& kind : phase.kinds) work += kind.chunks * kind.work;
  return work;
}

inline constexpr int kMaxChunks = 4095;

}  // namespace tandem::cpu
