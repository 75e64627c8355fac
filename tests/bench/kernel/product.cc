// Products of weight rows with columns of activations on one thread, a tile at a time as `linear`
// hands them out.
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/cpu/activations.h"
#include "backends/device/layout.h"
#include "backends/device/status.h"
#include "runtime/host_memory.h"
#include "runtime/random_blocks.h"
#include "tests/bench/kernel/bench.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kIn = 2048;
constexpr int64_t kRows = kTileRows;

// Weights of one type, tile after tile, more than any cache holds.
struct Weights {
  std::shared_ptr<HostMemory> memory;
  int64_t stride = 0, tiles = 0;

  static std::shared_ptr<Weights> Make(DType type, WeightLayout layout) {
    auto weights = std::make_shared<Weights>();
    weights->stride = RowBytes(type, kIn);
    weights->tiles = RotationBytes() / (kRows * weights->stride) + 1;
    const int64_t bytes = weights->tiles * kRows * weights->stride;
    auto memory = HostMemory::Allocate(bytes);
    if (!memory.ok()) return weights;
    weights->memory = *std::move(memory);
    RandomBlocks({.dtype = type, .deviation = 0.02, .key = 1})
        .Fill(0, weights->memory->bytes().first(static_cast<size_t>(bytes)));
    if (layout == WeightLayout::kInterleaved) {
      ArrangeInPlace(WeightLayout::kInterleaved, type, weights->stride, weights->tiles * kRows,
                        weights->memory->bytes().data());
    }
    return weights;
  }
  const std::byte* Tile(int64_t i) const {
    return memory->bytes().data() + i % tiles * kRows * stride;
  }
};

// Activations and results of a tile.
struct Columns {
  std::vector<float> x, results;
  std::vector<std::byte> quantized;
  std::vector<const std::byte*> columns;
  std::vector<float*> out;

  Columns(DType type, int64_t count)
      : x(static_cast<size_t>(count * kIn)),
        results(static_cast<size_t>(count * kRows)),
        quantized(static_cast<size_t>(count * ActivationBytes(kIn))) {
    RandomBlocks({.key = 2}).Fill(0, std::as_writable_bytes(std::span(x)));
    for (int64_t c = 0; c < count; ++c) {
      std::byte* row = quantized.data() + c * ActivationBytes(kIn);
      const float* floats = x.data() + c * kIn;
      QuantizeActivations(floats, kIn, row);
      columns.push_back(IsQuantized(type) ? row : reinterpret_cast<const std::byte*>(floats));
      out.push_back(results.data() + c * kRows);
    }
  }
};

void RunProduct(benchmark::State& state, Bench& bench, const InstructionSet& set, DType type,
                WeightLayout layout) {
  const int64_t count = state.range(0);
  const auto& weights =
      bench.Get<Weights>(absl::StrCat("weights ", Text(DTypeName(type)), static_cast<int>(layout)),
                         [type, layout] { return Weights::Make(type, layout); });
  if (weights.memory == nullptr) return state.SkipWithError("no memory for the weights");
  Columns columns(type, count);
  ProductTile tile = {.stride = weights.stride,
                      .rows = kRows,
                      .in = kIn,
                      .columns = columns.columns.data(),
                      .out = columns.out.data(),
                      .count = count};
  ProductFn* product = set.FindProduct(type, layout);
  int64_t turn = 0;
  const double seconds = SecondsOfIteration(state, [&] {
    tile.weights = weights.Tile(turn++);
    product(tile);
    benchmark::ClobberMemory();
  });
  const Work work = {static_cast<double>(kRows * weights.stride),
                     2.0 * static_cast<double>(kRows * kIn * count)};
  Report(state, seconds, work, bench.Ceiling(set, IsQuantized(type) ? "int8" : "f32", 1));
}

}  // namespace

void RegisterProducts(Bench& bench) {
  for (const DTypeInfo& info : AllDTypes()) {
    if (info.dtype == DType::kI32) continue;
    for (const WeightLayout layout : {WeightLayout::kInterleaved, WeightLayout::kRows}) {
      if (layout == WeightLayout::kInterleaved && !IsQuantized(info.dtype)) continue;
      for (const InstructionSet* set : bench.sets()) {
        const char* name = layout == WeightLayout::kRows ? "rows" : "interleaved";
        benchmark::RegisterBenchmark(
            absl::StrCat("product/", Text(info.name), "/", name, "/", Text(set->name)).c_str(),
            [&bench, set, layout, type = info.dtype](benchmark::State& state) {
              RunProduct(state, bench, *set, type, layout);
            })
            ->ArgName("columns")
            ->Arg(1)
            ->Arg(16)
            ->Arg(48)
            ->Arg(128)
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace tandem::cpu
