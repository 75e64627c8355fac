#include "backends/cuda/row_groups.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "backends/cuda/dataflow.h"

namespace tandem::cuda {
namespace {

struct RowsOfCall {
  int64_t rows = 0;  // 0: it is no kernel on single rows
  LiveCount live = nullptr;
  bool operator==(const RowsOfCall&) const = default;
};

RowsOfCall RowsOf(const KernelArgs& args) {
  return std::visit(
      [](const auto& a) -> RowsOfCall {
        using Args = std::decay_t<decltype(a)>;
        if constexpr (std::is_same_v<Args, RmsNormArgs> || std::is_same_v<Args, RopeArgs> ||
                      std::is_same_v<Args, StoreKvArgs>) {
          return {a.x.dim(0), a.live_rows};
        } else if constexpr (std::is_same_v<Args, AddArgs> || std::is_same_v<Args, ConcatArgs>) {
          return {a.a.dim(0), a.live_rows};
        } else if constexpr (std::is_same_v<Args, SwiGluArgs>) {
          return {a.gate.dim(0), a.live_rows};
        } else {
          return {};
        }
      },
      args);
}

// conflict(a, b) for all pairs of which one writes.
template <class Conflict>
bool AnyConflict(const FusedCall& a, const FusedCall& b, Conflict conflict) {
  const auto any = [&](const std::vector<TensorView>& xs, const std::vector<TensorView>& ys) {
    return std::ranges::any_of(xs, [&](const TensorView& x) {
      return std::ranges::any_of(ys, [&](const TensorView& y) {
        return RangeOf(x).Overlaps(RangeOf(y)) && conflict(x, y);
      });
    });
  };
  const auto a_writes = WritesOf(a), b_writes = WritesOf(b);
  return any(a_writes, b_writes) || any(a_writes, ReadsOf(b)) || any(ReadsOf(a), b_writes);
}

bool MaySwap(const FusedCall& a, const FusedCall& b) {
  return !AnyConflict(a, b, [](const TensorView&, const TensorView&) { return true; });
}

// Whether the row of a token in one is apart from the rows of all other tokens in the other.
bool RowsMatch(const TensorView& a, const TensorView& b, int64_t rows) {
  if (rows == 1) return true;
  if (a.strides[0] != b.strides[0] || a.dim(0) != rows || b.dim(0) != rows) return false;
  const auto row_end = [](const TensorView& view) {
    const MemoryRange range = RangeOf(view);
    return range.end - static_cast<uintptr_t>((view.dim(0) - 1) * view.strides[0]);
  };
  const uintptr_t begin = std::min(RangeOf(a).begin, RangeOf(b).begin);
  return std::max(row_end(a), row_end(b)) - begin <= static_cast<uintptr_t>(a.strides[0]);
}

// The kernel is compiled for one type of cache.
bool SameStore(const FusedCall& a, const FusedCall& b) {
  const auto* x = std::get_if<StoreKvArgs>(&a.call.args);
  const auto* y = std::get_if<StoreKvArgs>(&b.call.args);
  return x == nullptr || y == nullptr || x->cache.dtype == y->cache.dtype;
}

bool MayShareABlock(const FusedCall& a, const FusedCall& b) {
  const RowsOfCall rows = RowsOf(a.call.args);
  return rows.rows > 0 && rows == RowsOf(b.call.args) && SameStore(a, b) &&
         !AnyConflict(a, b, [&](const TensorView& x, const TensorView& y) {
           return !RowsMatch(x, y, rows.rows);
         });
}

using Group = std::vector<FusedCall>;

}  // namespace

// From the last call to the first: each joins the nearest group behind that it may sink to.
std::vector<std::vector<FusedCall>> GroupRows(std::vector<FusedCall> calls, size_t most) {
  std::vector<Group> groups;  // the last one first
  while (!calls.empty()) {
    FusedCall call = std::move(calls.back());
    calls.pop_back();
    const bool single_rows = RowsOf(call.call.args).rows > 0;
    Group* joined = nullptr;
    for (auto group = groups.rbegin(); single_rows && group != groups.rend(); ++group) {
      const auto shares = [&](const FusedCall& other) { return MayShareABlock(call, other); };
      if (group->size() < most && std::ranges::all_of(*group, shares)) {
        joined = &*group;
        break;
      }
      const auto swaps = [&](const FusedCall& other) { return MaySwap(call, other); };
      if (!std::ranges::all_of(*group, swaps)) break;
    }
    if (joined == nullptr) joined = &groups.emplace_back();
    joined->insert(joined->begin(), std::move(call));
  }
  std::ranges::reverse(groups);
  return groups;
}

}  // namespace tandem::cuda
