#include "backends/device/program.h"

#include <algorithm>
#include <array>

namespace tandem {
namespace {

constexpr std::array<std::string_view, kKernelCount> kNames = {
    "embed",  "rms_norm",    "rope",     "linear",    "add",   "swiglu",
    "concat", "gather_rows", "store_kv", "attention", "route", "experts"};

// The tensors of each kernel, read and written, in the order of its struct.
struct Access {
  std::vector<TensorView> reads, writes;
};

Access AccessOf(const EmbedArgs& a) { return {{a.ids, a.table}, {a.out}}; }
Access AccessOf(const RmsNormArgs& a) { return {{a.x, a.weight}, {a.out}}; }
Access AccessOf(const RopeArgs& a) { return {{a.x, a.positions, a.inv_freq}, {a.out}}; }
Access AccessOf(const LinearArgs& a) { return {{a.x, a.w, a.bias}, {a.out}}; }
Access AccessOf(const AddArgs& a) { return {{a.a, a.b}, {a.out}}; }
Access AccessOf(const SwiGluArgs& a) { return {{a.gate, a.up}, {a.out}}; }
Access AccessOf(const ConcatArgs& a) { return {{a.a, a.b}, {a.out}}; }
Access AccessOf(const GatherRowsArgs& a) { return {{a.x, a.rows}, {a.out}}; }
Access AccessOf(const StoreKvArgs& a) { return {{a.x, a.slots}, {a.cache}}; }
Access AccessOf(const AttentionArgs& a) {
  return {{a.q, a.k, a.v, a.expansion.k_up, a.expansion.v_up, a.batch.seq_start, a.batch.kv_len,
           a.batch.page_table, a.sinks},
          {a.out, a.lse}};
}
Access AccessOf(const RouteArgs& a) { return {{a.logits, a.bias}, {a.ids, a.weights}}; }
Access AccessOf(const ExpertsArgs& a) {
  return {{a.x, a.ids, a.weights, a.gate, a.up, a.down}, {a.out}};
}

std::vector<TensorView> Present(std::vector<TensorView> views) {
  std::erase_if(views, [](const TensorView& view) { return !view.present(); });
  return views;
}

double Bytes(const TensorView& view) {
  return view.present() ? static_cast<double>(ContiguousBytes(view.dtype, view.shape)) : 0.0;
}

double Elements(const TensorView& view) { return static_cast<double>(view.shape.elements()); }

// Every tensor is moved once, and a flop is done for each element that is written.
template <typename Args>
Work WorkOfArgs(const Args& args, int64_t) {
  const Access access = AccessOf(args);
  Work work;
  for (const TensorView& view : access.reads) work.bytes += Bytes(view);
  for (const TensorView& view : access.writes) {
    work.bytes += Bytes(view);
    if (view.present()) work.flops += Elements(view);
  }
  return work;
}

// Only the rows that are asked for are read.
Work WorkOfArgs(const EmbedArgs& args, int64_t) {
  const double row = static_cast<double>(RowBytes(args.table.dtype, args.table.shape.back()));
  return {Bytes(args.out) + args.ids.dim(0) * row, 0};
}

Work WorkOfArgs(const GatherRowsArgs& args, int64_t) { return {2 * Bytes(args.out), 0}; }

// The cache is written where the new rows go.
Work WorkOfArgs(const StoreKvArgs& args, int64_t) {
  const double row = static_cast<double>(RowBytes(args.cache.dtype, args.cache.shape.back()));
  return {Bytes(args.x) + static_cast<double>(args.x.shape.rows()) * row, Elements(args.x)};
}

Work WorkOfArgs(const LinearArgs& args, int64_t) {
  return {Bytes(args.x) + Bytes(args.w) + Bytes(args.out),
          2.0 * static_cast<double>(args.x.dim(0)) * Elements(args.w)};
}

Work WorkOfArgs(const AttentionArgs& args, int64_t kv_tokens) {
  const double keys = static_cast<double>(kv_tokens);
  const double tokens = static_cast<double>(args.q.dim(0));
  const double heads = static_cast<double>(args.q.dim(1));
  const double sequences = static_cast<double>(std::max<int64_t>(args.batch.kv_len.dim(0), 1));
  const double dk = static_cast<double>(args.q.dim(2));
  const double dv = static_cast<double>(args.out.dim(2));
  auto page_row = [](const TensorView& cache) {
    if (!cache.present()) return 0.0;
    return static_cast<double>(cache.dim(2) * RowBytes(cache.dtype, cache.dim(3)));
  };
  Work work;
  work.bytes = Bytes(args.q) + Bytes(args.out) + Bytes(args.expansion.k_up) +
               Bytes(args.expansion.v_up) +
               sequences * keys * (page_row(args.k) + page_row(args.v));
  work.flops = 2.0 * tokens * heads * keys * (dk + dv);
  if (args.expansion.present()) {
    work.flops +=
        2.0 * sequences * keys * (Elements(args.expansion.k_up) + Elements(args.expansion.v_up));
  }
  return work;
}

// At most one expert is read for each choice, and each expert once.
Work WorkOfArgs(const ExpertsArgs& args, int64_t) {
  const double choices = Elements(args.ids);
  const double experts = static_cast<double>(args.gate.dim(0));
  const double touched = std::min(choices, experts);
  const double weights = Bytes(args.gate) + Bytes(args.up) + Bytes(args.down);
  const double elements = Elements(args.gate) + Elements(args.up) + Elements(args.down);
  return {Bytes(args.x) + Bytes(args.out) + weights * touched / experts,
          2.0 * choices * elements / experts};
}

}  // namespace

std::string_view KernelName(KernelId id) { return kNames[static_cast<size_t>(id)]; }

std::vector<TensorView> Reads(const KernelArgs& args) {
  return std::visit([](const auto& a) { return Present(AccessOf(a).reads); }, args);
}

std::vector<TensorView> Writes(const KernelArgs& args) {
  return std::visit([](const auto& a) { return Present(AccessOf(a).writes); }, args);
}

Work WorkOf(const KernelArgs& args, int64_t kv_tokens) {
  return std::visit([kv_tokens](const auto& a) { return WorkOfArgs(a, kv_tokens); }, args);
}

}  // namespace tandem
