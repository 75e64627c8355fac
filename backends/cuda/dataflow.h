// Which calls of a program read what others write.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/device/program.h"

namespace tandem::cuda {

// Bytes of memory from `begin` to before `end`.
struct MemoryRange {
  uintptr_t begin = 0, end = 0;
  bool Overlaps(const MemoryRange& other) const {
    return begin < other.end && other.begin < end;
  }
};

// All bytes from the first of a tensor to its last, gaps between its rows included.
MemoryRange RangeOf(const TensorView& view);

// Answers about a program that must outlive it.
class Dataflow {
 public:
  explicit Dataflow(const Program& program);

  // The later calls that may read something that the call wrote, in order.
  std::vector<int> ReadersOf(int call) const;
  // Whether something that the call writes may be read after the program.
  bool IsResult(int call) const;

 private:
  struct Access {
    std::vector<MemoryRange> reads, writes;
  };
  // What the call writes, its workspace left out.
  std::vector<MemoryRange> WritesOf(int call) const;
  // A later call ends a value if it covers all of it.
  void ForgetOverwritten(size_t call, std::vector<MemoryRange>& alive) const;

  const Program& program_;
  std::vector<Access> access_;
};

}  // namespace tandem::cuda
