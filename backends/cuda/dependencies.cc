#include "backends/cuda/dependencies.h"

#include <algorithm>
#include <set>

#include "backends/cuda/dataflow.h"

namespace tandem::cuda {
namespace {

struct Access {
  std::vector<MemoryRange> reads, writes;
};

bool Overlap(const std::vector<MemoryRange>& a, const std::vector<MemoryRange>& b) {
  return std::ranges::any_of(a, [&](const MemoryRange& x) {
    return std::ranges::any_of(b, [&](const MemoryRange& y) { return x.Overlaps(y); });
  });
}

bool Conflict(const Access& a, const Access& b) {
  return Overlap(a.writes, b.writes) || Overlap(a.writes, b.reads) || Overlap(a.reads, b.writes);
}

Access AccessOf(const std::vector<FusedCall>& group) {
  Access access;
  for (const FusedCall& fused : group) {
    for (const TensorView& view : ReadsOf(fused)) access.reads.push_back(RangeOf(view));
    for (const TensorView& view : WritesOf(fused)) access.writes.push_back(RangeOf(view));
  }
  return access;
}

}  // namespace

std::vector<std::vector<int>> DependenciesOf(const std::vector<std::vector<FusedCall>>& groups) {
  std::vector<Access> access;
  std::vector<std::vector<bool>> ancestors;  // of each group
  std::vector<std::vector<int>> dependencies;
  for (size_t i = 0; i < groups.size(); ++i) {
    access.push_back(AccessOf(groups[i]));
    std::vector<bool> known(i, false);
    std::vector<int> direct;
    for (size_t j = i; j-- > 0;) {
      if (known[j] || !Conflict(access[j], access[i])) continue;
      direct.push_back(static_cast<int>(j));
      known[j] = true;
      for (size_t k = 0; k < j; ++k) known[k] = known[k] || ancestors[j][k];
    }
    ancestors.push_back(std::move(known));
    dependencies.push_back(std::move(direct));
  }
  return dependencies;
}

}  // namespace tandem::cuda
