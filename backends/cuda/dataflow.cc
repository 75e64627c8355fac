#include "backends/cuda/dataflow.h"

#include <algorithm>

namespace tandem::cuda {
namespace {

bool OverlapsAny(const MemoryRange& range, const std::vector<MemoryRange>& others) {
  return std::ranges::any_of(others, [&](const MemoryRange& o) { return range.Overlaps(o); });
}

}  // namespace

MemoryRange RangeOf(const TensorView& view) {
  if (!view.present() || view.shape.elements() == 0) return {};
  int64_t bytes = RowBytes(view.dtype, view.shape.back());
  for (int i = 0; i + 1 < view.shape.rank; ++i) bytes += (view.dim(i) - 1) * view.strides[i];
  const auto begin = reinterpret_cast<uintptr_t>(view.data);
  return {begin, begin + static_cast<uintptr_t>(bytes)};
}

Dataflow::Dataflow(const Program& program) : program_(program) {
  for (const Call& call : program.calls) {
    Access access;
    for (const TensorView& view : Reads(call.args)) access.reads.push_back(RangeOf(view));
    for (const TensorView& view : Writes(call.args)) access.writes.push_back(RangeOf(view));
    const auto workspace = reinterpret_cast<uintptr_t>(call.workspace.data);
    access.writes.push_back({workspace, workspace + static_cast<uintptr_t>(call.workspace.bytes)});
    access_.push_back(std::move(access));
  }
}

void Dataflow::ForgetOverwritten(size_t call, std::vector<MemoryRange>& alive) const {
  std::erase_if(alive, [&](const MemoryRange& a) {
    return std::ranges::any_of(access_[call].writes, [&](const MemoryRange& w) {
      return w.begin <= a.begin && a.end <= w.end;
    });
  });
}

std::vector<MemoryRange> Dataflow::WritesOf(int call) const {
  std::vector<MemoryRange> ranges;
  for (const TensorView& view : Writes(program_.calls[static_cast<size_t>(call)].args)) {
    ranges.push_back(RangeOf(view));
  }
  return ranges;
}

std::vector<int> Dataflow::ReadersOf(int call) const {
  std::vector<int> readers;
  std::vector<MemoryRange> alive = WritesOf(call);
  for (size_t i = static_cast<size_t>(call) + 1; i < access_.size() && !alive.empty(); ++i) {
    const bool reads = std::ranges::any_of(
        access_[i].reads, [&](const MemoryRange& r) { return OverlapsAny(r, alive); });
    if (reads) readers.push_back(static_cast<int>(i));
    ForgetOverwritten(i, alive);
  }
  return readers;
}

bool Dataflow::IsResult(int call) const {
  if (!program_.results.has_value()) return true;
  std::vector<MemoryRange> alive = WritesOf(call);
  for (size_t i = static_cast<size_t>(call) + 1; i < access_.size() && !alive.empty(); ++i) {
    ForgetOverwritten(i, alive);
  }
  return std::ranges::any_of(*program_.results, [&](const TensorView& result) {
    return OverlapsAny(RangeOf(result), alive);
  });
}

}  // namespace tandem::cuda
