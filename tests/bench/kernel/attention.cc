// Attention over an f16 cache on all threads: the last T of N tokens of one sequence.
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "tests/bench/kernel/bench.h"
#include "tests/bench/kernel/device_call.h"

namespace tandem::cpu {
namespace {

struct AttentionShape {
  std::string_view name;
  int64_t heads, kv_heads, key, value;
  bool v_is_view = false;  // of k: the absorbed form of latent attention
  int64_t latent = 0;      // > 0: the expanded form of it, the cache having one row for all heads

  int64_t rotated() const { return key - value; }  // of the expanded form, where plain = value
};

constexpr AttentionShape kShapes[] = {
    {.name = "64x64", .heads = 32, .kv_heads = 8, .key = 64, .value = 64},
    {.name = "128x128", .heads = 16, .kv_heads = 4, .key = 128, .value = 128},
    {.name = "192x128", .heads = 16, .kv_heads = 16, .key = 192, .value = 128},
    {.name = "576x512", .heads = 16, .kv_heads = 1, .key = 576, .value = 512, .v_is_view = true},
};
constexpr AttentionShape kExpansion = {
    .name = "192x128", .heads = 16, .kv_heads = 1, .key = 192, .value = 128, .latent = 512};

class AttentionCall {
 public:
  AttentionCall(const InstructionSet& set, int threads, const AttentionShape& shape, int64_t tokens,
                int64_t keys)
      : call_(set, threads), pages_((keys + kPageTokens - 1) / kPageTokens) {
    const AttentionShape& s = shape;
    const int64_t width = s.latent > 0 ? s.latent + s.rotated() : s.key;
    const bool has_values = s.latent == 0 && !s.v_is_view;
    const int64_t page_bytes = 2 * kPageTokens * s.kv_heads * (width + (has_values ? s.value : 0));
    all_pages_ = std::max(RotationBytes() / page_bytes + 1, pages_);
    AttentionArgs a = {.q = call_.Random(DType::kF32, {tokens, s.heads, s.key}, 1.0),
                       .k = Cache(s.kv_heads, width),
                       .v_from_k_offset = s.v_is_view ? 0 : -1,
                       .scale = 1.0f / std::sqrt(static_cast<float>(s.key))};
    if (has_values) a.v = Cache(s.kv_heads, s.value);
    if (s.latent > 0) {
      const Shape up = {s.heads, s.value, s.latent};
      a.expansion = {.k_up = call_.Random(DType::kQ8_0, up, 0.02),
                     .v_up = call_.Random(DType::kQ8_0, up, 0.02)};
    }
    page_table_ = call_.Allocate(DType::kI32, {1, pages_});
    a.batch = {.seq_start = call_.I32({2}, std::vector{0, static_cast<int32_t>(tokens)}),
               .kv_len = call_.I32({1}, std::vector{static_cast<int32_t>(keys)}),
               .page_table = page_table_};
    a.out = call_.F32({tokens, s.heads, s.value});
    a.workspace_limit = int64_t{256} << 20;
    if (call_.status().ok()) Turn();
    call_.Prepare(a);
  }

  // Goes on to pages that were not read for long.
  void Turn() {
    for (int64_t i = 0; i < pages_; ++i) {
      page_table_.row<int32_t>()[i] = static_cast<int32_t>((first_page_ + i) % all_pages_);
    }
    first_page_ = (first_page_ + pages_) % all_pages_;
  }
  DeviceCall& call() { return call_; }

 private:
  TensorView Cache(int64_t heads, int64_t width) {
    return call_.Random(DType::kF16, {all_pages_, kPageTokens, heads, width}, 1.0);
  }

  DeviceCall call_;
  int64_t pages_, all_pages_ = 0, first_page_ = 0;
  TensorView page_table_;
};

void RunAttention(benchmark::State& state, Bench& bench, const InstructionSet& set,
                  const AttentionShape& shape) {
  const int64_t tokens = state.range(0), keys = state.range(1);
  const std::string key = absl::StrCat("attention ", Text(set.name), " ", Text(shape.name), " ",
                                       shape.latent, " ", tokens, " ", keys);
  auto& attention = bench.Get<AttentionCall>(key, [&] {
    return std::make_shared<AttentionCall>(set, bench.threads(), shape, tokens, keys);
  });
  DeviceCall& call = attention.call();
  const double seconds = SecondsOfIteration(state, [&] {
    attention.Turn();
    call.Run();
  });
  if (!call.status().ok()) {
    return state.SkipWithError(std::string(call.status().message()).c_str());
  }
  // Causal: a query sees the keys up to its own, so (tokens - 1) / 2 fewer than all on average. All
  // are read, and expanded.
  Work work = WorkOf(call.args(), keys);
  const double unseen = static_cast<double>(tokens * (tokens - 1)) / 2;
  work.flops -= 2.0 * unseen * static_cast<double>(shape.heads * (shape.key + shape.value));
  Report(state, seconds, work, bench.Ceiling(set, "f32", bench.threads()));
}

void Register(Bench& bench, const InstructionSet& set, const AttentionShape& shape) {
  const bool newest = &set == bench.sets().back();
  auto* it = benchmark::RegisterBenchmark(
      absl::StrCat(shape.latent > 0 ? "expanded/" : "attention/", Text(shape.name), "/",
                   Text(set.name))
          .c_str(),
      [&bench, &set, shape](benchmark::State& state) { RunAttention(state, bench, set, shape); });
  it->ArgNames({"T", "N"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  if (shape.latent > 0) {
    it->Args({512, 512})->Args({512, 4096});
    return;
  }
  it->ArgsProduct({{1}, {512, 4096, 16384}})->Args({512, 512})->Args({512, 4096});
  // Takes seconds.
  if (newest && (shape.v_is_view || shape.key == 128)) it->Args({512, 16384});
}

}  // namespace

void RegisterAttention(Bench& bench) {
  for (const InstructionSet* set : bench.sets()) {
    for (const AttentionShape& shape : kShapes) Register(bench, *set, shape);
    Register(bench, *set, kExpansion);
  }
}

}  // namespace tandem::cpu
