// Chains of calls as models have them, of which only the last results are read, so that a device may
// fuse them: norm and layers, activation, layer and residual, experts beside a shared one.
#include <algorithm>
#include <string_view>
#include <vector>

#include "backends/conformance/cases.h"
#include "backends/conformance/compare.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

constexpr int64_t kWidth = 512, kInner = 256;

struct Chain {
  CaseBuilder builder;
  DType dtype;
  Rows rows;
  LiveCount live = nullptr;

  Chain(KernelId kernel, std::string_view name, uint32_t seed, DType type, Rows n)
      : builder(kernel, seed), dtype(type), rows(n) {
    builder.Name(Text(name), " ", Text(DTypeName(type)), " ", n.live, " of ", n.total, " tokens");
    live = builder.Live(n);
  }

  TensorView Input(int64_t width) { return builder.Activations(rows, {width}); }
  TensorView Value(int64_t width) { return builder.Blank(DType::kF32, {rows.total, width}); }
  // x of width `from` to `to` elements.
  TensorView Linear(const TensorView& x, int64_t to) {
    const LinearArgs args = {.x = x,
                             .w = builder.Random(dtype, {to, x.dim(1)}, 0.1),
                             .out = Value(to),
                             .live_rows = live};
    builder.Call(args);
    return args.out;
  }
  TensorView Add(const TensorView& a, const TensorView& b) {
    const AddArgs args = {.a = a, .b = b, .out = Value(a.dim(1)), .live_rows = live};
    builder.Call(args);
    return args.out;
  }
  void Compare(const TensorView& view) {
    const double linear = Tolerance(KernelId::kLinear, dtype);
    builder.Compare(view, rows.live, std::max(linear, Tolerance(KernelId::kExperts, dtype)));
  }
};

void NormAndLayers(uint32_t seed, DType dtype, Rows rows, const CaseSink& sink) {
  Chain c(KernelId::kLinear, "norm and two layers", seed, dtype, rows);
  RmsNormArgs norm = {.x = c.Input(kWidth), .out = c.Value(kWidth), .live_rows = c.live};
  norm.weight = c.builder.Random(DType::kF32, {kWidth});
  c.builder.Call(norm);
  c.Compare(c.Linear(norm.out, 48));
  c.Compare(c.Linear(norm.out, 112));
  sink(c.builder.Finish());
}

void DownAndResidual(uint32_t seed, DType dtype, Rows rows, const CaseSink& sink) {
  Chain c(KernelId::kLinear, "activation, layer, residual", seed, dtype, rows);
  const SwiGluArgs activation = {.gate = c.Input(kInner),
                                 .up = c.Input(kInner),
                                 .out = c.Value(kInner),
                                 .live_rows = c.live};
  c.builder.Call(activation);
  c.Compare(c.Add(c.Input(kWidth), c.Linear(activation.out, kWidth)));
  sink(c.builder.Finish());
}

void ExpertsAndShared(uint32_t seed, DType dtype, Rows rows, const CaseSink& sink) {
  constexpr int64_t kExperts = 5;
  Chain c(KernelId::kExperts, "experts, shared expert, residual", seed, dtype, rows);
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < rows.total; ++t) {
    ids.push_back(static_cast<int32_t>(t % kExperts));
    ids.push_back(static_cast<int32_t>((t + 2) % kExperts));
  }
  ExpertsArgs args = {.x = c.Input(kWidth), .out = c.Value(kWidth), .live_rows = c.live};
  args.ids = c.builder.Ints({rows.total, 2}, ids);
  args.weights = c.builder.Activations(rows, {2});
  args.gate = c.builder.Random(dtype, {kExperts, kInner, kWidth}, 0.1);
  args.up = c.builder.Random(dtype, {kExperts, kInner, kWidth}, 0.1);
  args.down = c.builder.Random(dtype, {kExperts, kWidth, kInner}, 0.1);
  const TensorView gate = c.Linear(args.x, kInner), up = c.Linear(args.x, kInner);
  const SwiGluArgs activation = {
      .gate = gate, .up = up, .out = c.Value(kInner), .live_rows = c.live};
  c.builder.Call(activation);
  c.builder.Call(args);
  const TensorView shared = c.Linear(activation.out, kWidth);
  c.Compare(c.Add(c.Input(kWidth), c.Add(args.out, shared)));
  sink(c.builder.Finish());
}

}  // namespace

void ChainCases(uint32_t seed, const CaseSink& sink) {
  constexpr Rows kRows[] = {{1, 1}, {4, 3}, {40, 40}};
  for (const DType dtype : {DType::kIQ4_NL, DType::kQ8_0, DType::kQ4_K, DType::kF32}) {
    for (const Rows rows : kRows) {
      NormAndLayers(++seed, dtype, rows, sink);
      DownAndResidual(++seed, dtype, rows, sink);
      ExpertsAndShared(++seed, dtype, rows, sink);
    }
  }
}

}  // namespace tandem
