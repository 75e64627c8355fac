#include "backends/cuda/fuse.h"

#include <algorithm>
#include <map>
#include <utility>

#include "backends/cuda/dataflow.h"

namespace tandem::cuda {
namespace {

bool SameView(const TensorView& a, const TensorView& b) {
  return a.data == b.data && a.shape == b.shape && a.strides == b.strides;
}

// The output of a product, in one shape: [T, E].
TensorView* OutputOf(KernelArgs& args) {
  if (auto* linear = std::get_if<LinearArgs>(&args)) return &linear->out;
  if (auto* experts = std::get_if<ExpertsArgs>(&args)) return &experts->out;
  return nullptr;
}

class Fuser {
 public:
  Fuser(const Program& program, const FusionRules& rules)
      : program_(program), rules_(rules), flow_(program), removed_(program.calls.size()) {
    for (const Call& call : program.calls) fused_.push_back({.call = call});
  }

  std::vector<FusedCall> Run() {
    const int count = static_cast<int>(fused_.size());
    for (int i = 0; i < count; ++i) {
      const KernelArgs& args = program_.calls[static_cast<size_t>(i)].args;
      if (const auto* norm = std::get_if<RmsNormArgs>(&args)) TakeNorm(i, *norm);
      if (const auto* activation = std::get_if<SwiGluArgs>(&args)) TakeActivation(i, *activation);
    }
    for (int i = 0; i < count; ++i) {
      const KernelArgs& args = program_.calls[static_cast<size_t>(i)].args;
      if (const auto* add = std::get_if<AddArgs>(&args)) TakeSum(i, *add);
    }
    for (int i = 0; i < count; ++i) {
      const KernelArgs& args = program_.calls[static_cast<size_t>(i)].args;
      if (const auto* add = std::get_if<AddArgs>(&args)) TakeAdd(i, *add);
    }
    for (int i = 0; i < count; ++i) JoinTo(i);
    std::vector<FusedCall> left;
    for (int i = 0; i < count; ++i) {
      const bool moved = std::ranges::any_of(behind_, [i](const auto& b) { return b.second == i; });
      if (!IsRemoved(i) && !moved) left.push_back(std::move(at(i)));
      if (behind_.contains(i)) left.push_back(std::move(at(behind_[i])));
    }
    return left;
  }

 private:
  FusedCall& at(int i) { return fused_[static_cast<size_t>(i)]; }
  LinearArgs* LinearAt(int i) { return std::get_if<LinearArgs>(&at(i).call.args); }
  bool IsRemoved(int i) const { return removed_[static_cast<size_t>(i)]; }
  void Remove(int i) { removed_[static_cast<size_t>(i)] = true; }

  // The linear layers that alone read what call `i` writes, `made`; empty if something else does,
  // or if what they would read instead is gone by then.
  std::vector<int> LayersBehind(int i, const TensorView& made,
                                std::initializer_list<const TensorView*> instead) {
    if (flow_.IsResult(i)) return {};
    std::vector<int> readers = flow_.ReadersOf(i);
    for (const int r : readers) {
      const LinearArgs* linear = LinearAt(r);
      if (linear == nullptr || !SameView(linear->x, made) || !rules_.before(*linear)) return {};
      for (const TensorView* view : instead) {
        const MemoryRange range = RangeOf(*view);
        if (IsWrittenBetween(i, r, range) || range.Overlaps(RangeOf(linear->out))) return {};
      }
    }
    return readers;
  }

  void TakeNorm(int i, const RmsNormArgs& norm) {
    const std::vector<int> layers = LayersBehind(i, norm.out, {&norm.x});
    if (layers.empty()) return;
    for (const int r : layers) {
      at(r).norm = norm;
      LinearAt(r)->x = norm.x;
    }
    Remove(i);
  }

  void TakeActivation(int i, const SwiGluArgs& activation) {
    const std::vector<int> layers =
        LayersBehind(i, activation.out, {&activation.gate, &activation.up});
    if (layers.empty()) return;
    for (const int r : layers) {
      at(r).activation = activation;
      LinearAt(r)->x = activation.up;
    }
    Remove(i);
  }

  // The product whose output is the whole of `view` and is read by call `reader` alone; -1 if there
  // is none that can add something to it.
  int ProductOf(const TensorView& view, int reader) {
    for (int i = reader - 1; i >= 0; --i) {
      TensorView* out = OutputOf(at(i).call.args);
      const bool writes = out != nullptr && SameView(*out, view);
      if (!writes) {
        if (IsWrittenBetween(i - 1, i + 1, RangeOf(view))) return -1;
        continue;
      }
      const bool can = !IsRemoved(i) && !at(i).add.present() &&
                       rules_.after(at(i).call.args) && !flow_.IsResult(i) &&
                       flow_.ReadersOf(i) == std::vector<int>{reader};
      return can ? i : -1;
    }
    return -1;
  }

  bool Touches(const std::vector<TensorView>& views, const MemoryRange& range) {
    return std::ranges::any_of(
        views, [&](const TensorView& view) { return range.Overlaps(RangeOf(view)); });
  }
  // Calls after `first` and before `last` that are left.
  bool IsReadBetween(int first, int last, const MemoryRange& range) {
    for (int i = first + 1; i < last; ++i) {
      if (!IsRemoved(i) && Touches(ReadsOf(at(i)), range)) return true;
      if (behind_.contains(i) && Touches(ReadsOf(at(behind_[i])), range)) return true;
    }
    return false;
  }
  bool IsWrittenBetween(int first, int last, const MemoryRange& range) {
    for (int i = first + 1; i < last; ++i) {
      if (!IsRemoved(i) && Touches(WritesOf(at(i)), range)) return true;
      if (behind_.contains(i) && Touches(WritesOf(at(behind_[i])), range)) return true;
    }
    return false;
  }

  // Whether product `p` may write `out` instead of call `i`, and read `term` then.
  bool CanWrite(int p, int i, const TensorView& out, const TensorView& term) {
    const MemoryRange range = RangeOf(out);
    if (Touches(ReadsOf(at(p)), range)) return false;
    // The term itself may be where the sum goes: each element is read before it is written.
    if (range.Overlaps(RangeOf(term)) && !SameView(out, term)) return false;
    return !IsWrittenBetween(p, i, range) && !IsReadBetween(p, i, range) &&
           !IsWrittenBetween(p, i, RangeOf(term));
  }

  void AddTo(int p, const TensorView& term, const TensorView& out) {
    at(p).add = term;
    *OutputOf(at(p).call.args) = out;
  }

  // term + (first + second), both products: (first + term), then second + that.
  void TakeSum(int inner, const AddArgs& sum) {
    const std::vector<int> readers = flow_.ReadersOf(inner);
    if (readers.size() != 1 || flow_.IsResult(inner)) return;
    const int outer = readers[0];
    const auto* total = std::get_if<AddArgs>(&program_.calls[static_cast<size_t>(outer)].args);
    if (total == nullptr || IsRemoved(outer)) return;
    const bool right = SameView(total->b, sum.out);
    if (!right && !SameView(total->a, sum.out)) return;
    const TensorView& term = right ? total->a : total->b;
    int first = ProductOf(sum.a, inner), second = ProductOf(sum.b, inner);
    if (first < 0 || second < 0 || first == second) return;
    if (first > second) std::swap(first, second);
    // Experts last, so that a chain of other products may run beside their long one.
    const bool experts_first = std::holds_alternative<ExpertsArgs>(at(first).call.args);
    removed_[static_cast<size_t>(inner)] = true;  // its accesses no longer count
    if (experts_first && AddInTurn(second, first, term, *total, outer)) return;
    if (AddInTurn(first, second, term, *total, outer)) return;
    removed_[static_cast<size_t>(inner)] = false;
  }

  // Product `a` adds the term, then product `b` adds the result of `a` and writes the total. If `b` is
  // before `a`, it is moved behind it.
  bool AddInTurn(int a, int b, const TensorView& term, const AddArgs& total, int outer) {
    const TensorView between = *OutputOf(at(a).call.args);
    const int last = std::max(a, b);
    if (RangeOf(between).Overlaps(RangeOf(term)) || IsWrittenBetween(a, last, RangeOf(between)) ||
        IsWrittenBetween(a, outer, RangeOf(term))) {
      return false;
    }
    if (b < a && !MaySink(b, a)) return false;
    if (Touches(ReadsOf(at(b)), RangeOf(total.out)) ||
        RangeOf(total.out).Overlaps(RangeOf(between)) ||
        IsWrittenBetween(last, outer, RangeOf(total.out)) ||
        IsReadBetween(last, outer, RangeOf(total.out))) {
      return false;
    }
    // What the term is read as must still be so when `a` runs, and the total may be its place.
    if (RangeOf(total.out).Overlaps(RangeOf(term)) && !SameView(total.out, term)) return false;
    AddTo(a, term, between);
    AddTo(b, between, total.out);
    if (b < a) behind_[a] = b;
    Remove(outer);
    return true;
  }

  // Whether call `i` may run right behind call `last`.
  bool MaySink(int i, int last) {
    for (const TensorView& view : ReadsOf(at(i))) {
      if (IsWrittenBetween(i, last + 1, RangeOf(view))) return false;
    }
    // Its output will be another one; its workspace is what it has.
    const auto workspace = reinterpret_cast<uintptr_t>(at(i).call.workspace.data);
    const MemoryRange scratch = {workspace,
                                 workspace + static_cast<uintptr_t>(at(i).call.workspace.bytes)};
    return !IsWrittenBetween(i, last + 1, scratch) && !IsReadBetween(i, last + 1, scratch);
  }

  void TakeAdd(int i, const AddArgs& add) {
    if (IsRemoved(i)) return;
    for (const bool right : {true, false}) {
      const int p = ProductOf(right ? add.b : add.a, i);
      const TensorView& term = right ? add.a : add.b;
      if (p < 0 || !CanWrite(p, i, add.out, term)) continue;
      AddTo(p, term, add.out);
      return Remove(i);
    }
  }

  bool MayJoin(int i) {
    const LinearArgs* linear = IsRemoved(i) ? nullptr : LinearAt(i);
    return linear != nullptr && rules_.joins(*linear) && !linear->bias.present() &&
           linear->x.shape.rank == 2 && !at(i).activation.has_value() && !at(i).add.present() &&
           at(i).joined.empty();
  }

  static bool SameNorm(const FusedCall& a, const FusedCall& b) {
    if (a.norm.has_value() != b.norm.has_value()) return false;
    return !a.norm.has_value() ||
           (a.norm->weight.data == b.norm->weight.data && a.norm->eps == b.norm->eps);
  }

  // Layers behind call `i` that multiply the same input join it, as long as they may run so early.
  void JoinTo(int i) {
    if (!MayJoin(i)) return;
    const LinearArgs& first = *LinearAt(i);
    for (int j = i + 1; j < static_cast<int>(fused_.size()); ++j) {
      if (at(i).joined.size() == rules_.most_joined) return;
      if (!MayJoin(j) || !SameNorm(at(i), at(j))) continue;
      const LinearArgs& other = *LinearAt(j);
      const MemoryRange out = RangeOf(other.out), x = RangeOf(first.x);
      if (!SameView(first.x, other.x) || first.w.dtype != other.w.dtype ||
          first.live_rows != other.live_rows || IsWrittenBetween(i - 1, j, x) ||
          IsWrittenBetween(i - 1, j, out) || IsReadBetween(i - 1, j, out)) {
        continue;
      }
      at(i).joined.push_back(other);
      removed_[static_cast<size_t>(j)] = true;
    }
  }

  const Program& program_;
  const FusionRules& rules_;
  const Dataflow flow_;
  std::vector<FusedCall> fused_;
  std::vector<bool> removed_;
  std::map<int, int> behind_;  // a call, and the earlier one that is moved behind it
};

}  // namespace

std::vector<TensorView> ReadsOf(const FusedCall& fused) {
  std::vector<TensorView> views = Reads(fused.call.args);
  if (fused.activation.has_value()) views.push_back(fused.activation->gate);
  if (fused.add.present()) views.push_back(fused.add);
  for (const LinearArgs& joined : fused.joined) views.push_back(joined.w);
  return views;
}

std::vector<TensorView> WritesOf(const FusedCall& fused) {
  std::vector<TensorView> views = Writes(fused.call.args);
  for (const LinearArgs& joined : fused.joined) views.push_back(joined.out);
  const Workspace& workspace = fused.call.workspace;
  if (workspace.bytes > 0) {
    views.push_back(MakeView(workspace.data, DType::kF32, {(workspace.bytes + 3) / 4}));
  }
  return views;
}

std::vector<FusedCall> Fuse(const Program& program, const FusionRules& rules) {
  return Fuser(program, rules).Run();
}

}  // namespace tandem::cuda
