// How a kernel call is cut into work for threads.
#pragma once

#include <functional>
#include <vector>

namespace tandem::cpu {

// A step of a call: chunks that may run in any order and at the same time. Which chunk does what
// follows from shapes and run-time counts, never from the number of threads.
struct Phase {
  int chunks = 1;                // the most that begin() returns, or the number if it is absent
  std::function<void(int)> run;  // one chunk
  std::function<int()> begin;    // optional; by one thread, before the chunks; how many of them
  std::function<bool()> again;   // optional; by one thread, after the chunks; true: go back
  int back = 0;                  // how many phases to go back
};

inline constexpr int kMaxChunks = 4095;

}  // namespace tandem::cpu
