#include "backends/conformance/bind.h"

#include <vector>

namespace tandem {
namespace {

using Views = std::vector<TensorView*>;

Views ViewsOf(EmbedArgs& a) { return {&a.ids, &a.table, &a.out}; }
Views ViewsOf(RmsNormArgs& a) { return {&a.x, &a.weight, &a.out}; }
Views ViewsOf(RopeArgs& a) { return {&a.x, &a.positions, &a.inv_freq, &a.out}; }
Views ViewsOf(LinearArgs& a) { return {&a.x, &a.w, &a.bias, &a.out}; }
Views ViewsOf(AddArgs& a) { return {&a.a, &a.b, &a.out}; }
Views ViewsOf(SwiGluArgs& a) { return {&a.gate, &a.up, &a.out}; }
Views ViewsOf(ConcatArgs& a) { return {&a.a, &a.b, &a.out}; }
Views ViewsOf(GatherRowsArgs& a) { return {&a.x, &a.rows, &a.out}; }
Views ViewsOf(StoreKvArgs& a) { return {&a.x, &a.slots, &a.cache}; }
Views ViewsOf(AttentionArgs& a) {
  return {&a.q,
          &a.k,
          &a.v,
          &a.expansion.k_up,
          &a.expansion.v_up,
          &a.batch.seq_start,
          &a.batch.kv_len,
          &a.batch.page_table,
          &a.sinks,
          &a.out,
          &a.lse};
}
Views ViewsOf(RouteArgs& a) { return {&a.logits, &a.bias, &a.ids, &a.weights}; }
Views ViewsOf(ExpertsArgs& a) {
  return {&a.x, &a.ids, &a.weights, &a.gate, &a.up, &a.down, &a.out};
}

template <typename Args>
LiveCount& LiveOf(Args& args) {
  return args.live_rows;
}
LiveCount& LiveOf(AttentionArgs& args) { return args.batch.live_seqs; }

}  // namespace

std::vector<TensorView*> WeightsOf(KernelArgs& args) {
  if (auto* linear = std::get_if<LinearArgs>(&args)) return {&linear->w};
  if (auto* experts = std::get_if<ExpertsArgs>(&args)) {
    return {&experts->gate, &experts->up, &experts->down};
  }
  auto* attention = std::get_if<AttentionArgs>(&args);
  if (attention != nullptr && attention->expansion.present()) {
    return {&attention->expansion.k_up, &attention->expansion.v_up};
  }
  return {};
}

void Rebind(KernelArgs& args, const std::function<void*(const void*)>& move) {
  std::visit(
      [&move](auto& a) {
        for (TensorView* view : ViewsOf(a)) {
          if (view->data != nullptr) view->data = move(view->data);
        }
        LiveCount& live = LiveOf(a);
        if (live != nullptr) live = static_cast<LiveCount>(move(live));
      },
      args);
}

}  // namespace tandem
