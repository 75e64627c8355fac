#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "backends/conformance/cases.h"
#include "backends/conformance/compare.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

// Heads of an attention call. With a latent of L elements, K heads are made from it.
struct Heads {
  std::string_view name;
  int64_t count, kv_count, dk, dv;
  int64_t v_offset = -1;
  int64_t latent = 0;
  bool k_transposed = false;
};

constexpr Heads kHeads[] = {
    {"multi-head", 4, 4, 64, 64},
    {"grouped", 8, 2, 128, 128},
    {"multi-query, Dk above Dv", 6, 1, 192, 128},
    {"odd sizes", 3, 3, 40, 24},
    {"Dk below Dv", 2, 1, 32, 96},
    {"absorbed latent", 16, 1, 576, 512, 0},
    {"absorbed latent, rotated first", 4, 1, 160, 128, 32},
    {"values in grouped keys", 6, 2, 96, 32, 64},
    {"expanded latent", 4, 1, 96, 64, -1, 96},
    {"expanded latent, transposed", 3, 1, 96, 32, -1, 64, true},
};

// Rows and keys of up to four sequences; those from `live` on are not in use.
struct Sequences {
  std::string_view name;
  std::array<std::array<int32_t, 2>, 4> rows_and_keys;
  int count, live;
};

constexpr Sequences kSequences[] = {
    {"one token", {{{1, 1}}}, 1, 1},
    {"generation", {{{1, 300}, {1, 64}, {1, 65}, {1, 1}}}, 4, 4},
    {"prompt", {{{70, 70}}}, 1, 1},
    {"mixed, 3 of 4 live", {{{1, 257}, {33, 33}, {5, 520}, {2, 9}}}, 4, 3},
    {"an empty sequence", {{{3, 130}, {0, 0}, {2, 2}}}, 3, 3},
    {"long", {{{1, 3000}, {2, 1025}}}, 2, 2},
    {"rows before the first key", {{{2, 0}, {1, 300}, {5, 2}}}, 3, 3},
    {"none live", {{{1, 70}, {2, 2}}}, 2, 0},
};

struct Options {
  bool causal = true;
  int64_t window = 0;
  bool sinks = false;
  float soft_cap = 0;
  bool lse = false;
  bool big = false;
  Layout layout = Layout::kPacked;
};

struct KvTypes {
  DType k, v;
};

// What is common to filling a cache and attending to it.
struct Pages {
  int64_t count = 0;
  TensorView slots;  // of every key of every sequence, in turn
  AttentionBatch batch;
  int64_t keys = 0, tokens = 0, live_tokens = 0;
};

int64_t PagesFor(int64_t keys) { return (keys + kPageTokens - 1) / kPageTokens; }

// Gives the live sequences pages in random order. What is not in use stays -1.
Pages MakePages(CaseBuilder& b, const Sequences& form) {
  Pages pages;
  int64_t longest = 0;
  for (int s = 0; s < form.count; ++s) {
    pages.count += PagesFor(form.rows_and_keys[s][1]);
    longest = std::max(longest, PagesFor(form.rows_and_keys[s][1]));
  }
  pages.count += 2;
  std::vector<int32_t> free(pages.count);
  std::iota(free.begin(), free.end(), 0);
  std::ranges::shuffle(free, b.random());
  std::vector<int32_t> table(form.count * longest, -1), lengths(form.count, -1), slots;
  std::vector<int32_t> starts(form.count + 1, -1);
  starts[0] = 0;
  for (int s = 0; s < form.count; ++s) {
    const auto [rows, keys] = form.rows_and_keys[s];
    pages.tokens += rows;
    if (s >= form.live) continue;
    for (int32_t j = 0; j < keys; ++j) {
      int32_t& page = table[s * longest + j / kPageTokens];
      if (j % kPageTokens == 0) {
        page = free.back();
        free.pop_back();
      }
      slots.push_back(page * static_cast<int32_t>(kPageTokens) + j % kPageTokens);
    }
    lengths[s] = keys;
    starts[s + 1] = starts[s] + rows;
  }
  pages.keys = static_cast<int64_t>(slots.size());
  pages.live_tokens = starts[form.live];
  pages.slots = b.Ints({pages.keys}, slots);
  pages.batch = {b.Ints({form.count + 1}, starts), b.Ints({form.count}, lengths),
                 b.Ints({form.count, longest}, table), b.Live({form.count, form.live})};
  return pages;
}

struct CacheForm {
  DType dtype;
  int64_t heads, width;
  double deviation;
};

// A cache with random keys (or values) in the slots of the sequences.
TensorView FillCache(CaseBuilder& b, const Pages& pages, const CacheForm& form) {
  const auto [dtype, heads, width, deviation] = form;
  StoreKvArgs store;
  store.x = b.Random(DType::kF32, {pages.keys, heads, width}, deviation);
  store.slots = pages.slots;
  store.cache = b.Blank(dtype, {pages.count, kPageTokens, heads, width});
  b.Call(store);
  return store.cache;
}

bool Fits(DType dtype, int64_t width) { return width % GetDTypeInfo(dtype).block_size == 0; }

void NameCase(CaseBuilder& b, const Heads& heads, const Sequences& sequences, KvTypes types) {
  b.Name(Text(heads.name), " ", heads.count, "/", heads.kv_count, " of ", heads.dk, "/", heads.dv);
  b.Name(Text(sequences.name));
  b.Name("K ", Text(DTypeName(types.k)));
  if (heads.v_offset < 0 && heads.latent == 0) b.Name("V ", Text(DTypeName(types.v)));
}

void ApplyOptions(CaseBuilder& b, const Heads& heads, const Options& options, AttentionArgs& args) {
  args.causal = options.causal;
  if (!options.causal) b.Name("not causal");
  args.window = options.window;
  if (options.window > 0) b.Name("window ", options.window);
  args.soft_cap = options.soft_cap;
  if (options.soft_cap > 0) b.Name("soft cap ", options.soft_cap);
  if (options.sinks) {
    args.sinks = b.Random(DType::kF32, {heads.count}, 2.0);
    b.Name("sinks");
  }
  if (options.lse) {
    args.lse = b.Blank(DType::kF32, {args.q.dim(0), heads.count}, options.layout);
    b.Name("lse");
  }
  if (options.big) b.Name("values of 1e4");
  if (options.layout == Layout::kStrided) b.Name("strided");
  args.scale = 1.0f / std::sqrt(static_cast<float>(heads.dk));
}

LatentExpansion MakeExpansion(CaseBuilder& b, const Heads& heads, DType dtype) {
  const int64_t rotated = heads.dk / 3;
  const int64_t plain = heads.dk - rotated;
  const double deviation = 1.0 / std::sqrt(static_cast<double>(heads.latent));
  LatentExpansion expansion;
  expansion.k_transposed = heads.k_transposed;
  expansion.k_up = b.Random(dtype,
                            heads.k_transposed ? Shape{heads.count, heads.latent, plain}
                                               : Shape{heads.count, plain, heads.latent},
                            deviation);
  expansion.v_up = b.Random(dtype, {heads.count, heads.dv, heads.latent}, deviation);
  b.Name("k_up ", Text(DTypeName(dtype)));
  return expansion;
}

void AttentionCase(uint32_t seed, const Heads& heads, const Sequences& sequences, KvTypes types,
                   const Options& options, const CaseSink& sink) {
  CaseBuilder b(KernelId::kAttention, seed);
  NameCase(b, heads, sequences, types);
  const Pages pages = MakePages(b, sequences);
  AttentionArgs args;
  double tolerance = Tolerance(KernelId::kAttention, types.k);
  args.q = b.Activations({pages.tokens, pages.live_tokens}, {heads.count, heads.dk},
                         options.big ? 100.0 : 3.0, options.layout);
  const double k_deviation = options.big ? 100.0 : 1.0;
  if (heads.latent > 0) {
    constexpr DType kUpTypes[] = {DType::kF32, DType::kBF16, DType::kQ8_0};
    const DType up = kUpTypes[seed % 3];
    args.k = FillCache(b, pages, {types.k, 1, heads.latent + heads.dk / 3, k_deviation});
    args.expansion = MakeExpansion(b, heads, up);
    tolerance = std::max(tolerance, 2 * Tolerance(KernelId::kAttention, up));
  } else {
    args.k = FillCache(b, pages, {types.k, heads.kv_count, heads.dk, k_deviation});
  }
  if (heads.v_offset >= 0) args.v_from_k_offset = heads.v_offset;
  if (heads.latent == 0 && heads.v_offset < 0) {
    args.v = FillCache(b, pages, {types.v, heads.kv_count, heads.dv, options.big ? 1e4 : 1.0});
    tolerance = std::max(tolerance, Tolerance(KernelId::kAttention, types.v));
  }
  // Scores near 1e4 are rounded to 1e-3 in f32, and the softmax passes that on.
  if (options.big) tolerance = std::max(tolerance, 1e-3);
  args.batch = pages.batch;
  args.out = b.Blank(DType::kF32, {pages.tokens, heads.count, heads.dv}, options.layout);
  ApplyOptions(b, heads, options, args);
  b.Call(args);
  b.Compare(args.out, pages.live_tokens, tolerance);
  if (args.lse.present()) b.Compare(args.lse, pages.live_tokens, tolerance);
  sink(b.Finish());
}

// Each option with each kind of heads, and pairs of options that meet in the mask or the sum.
void OptionCases(uint32_t seed, const CaseSink& sink) {
  const Options options[] = {
      {},
      {.causal = false, .lse = true},
      {.window = 1},
      {.window = 40, .sinks = true, .lse = true},
      {.sinks = true, .soft_cap = 5.0f},
      {.soft_cap = 2.0f, .lse = true, .layout = Layout::kStrided},
      {.causal = false, .sinks = true, .big = true},
      {.window = 300, .soft_cap = 30.0f},
  };
  size_t turn = seed;
  for (const Heads& heads : kHeads) {
    for (const Options& option : options) {
      const Sequences& sequences = kSequences[turn++ % std::size(kSequences)];
      AttentionCase(++seed, heads, sequences, {DType::kF32, DType::kF32}, option, sink);
    }
    ++turn;  // so that options meet other sequences with the next heads
  }
}

void TypeCases(uint32_t seed, const CaseSink& sink) {
  size_t turn = seed;
  for (const DType k : CacheTypes()) {
    for (const DType v : CacheTypes()) {
      for (int i = 0; i < 2; ++i, turn += 3) {
        const Heads* heads = &kHeads[turn % std::size(kHeads)];
        if (!Fits(k, heads->dk) || !Fits(v, heads->dv)) heads = &kHeads[1];
        const Options options = {.window = turn % 4 == 0 ? 100 : 0,
                                 .sinks = turn % 5 == 0,
                                 .lse = turn % 2 == 0,
                                 .layout = turn % 7 == 0 ? Layout::kStrided : Layout::kPacked};
        AttentionCase(++seed, *heads, kSequences[(turn / 2) % std::size(kSequences)], {k, v},
                      options, sink);
      }
    }
  }
}

struct StoreForm {
  int64_t heads, width;
  Rows rows;
  Layout layout;
};

// Reads keys back by attention that sees one key: each is a sequence of its own, in the page of the
// key and as long as the key's row in it, with a window of 1.
AttentionArgs ReadBack(CaseBuilder& b, const TensorView& cache, const std::vector<int32_t>& slots) {
  const auto count = static_cast<int64_t>(slots.size());
  std::vector<int32_t> starts(count + 1), lengths, pages;
  std::iota(starts.begin(), starts.end(), 0);
  for (const int32_t slot : slots) {
    pages.push_back(slot / static_cast<int32_t>(kPageTokens));
    lengths.push_back(slot % static_cast<int32_t>(kPageTokens) + 1);
  }
  const int64_t heads = cache.dim(2), width = cache.dim(3);
  AttentionArgs args;
  args.q = b.Random(DType::kF32, {count, heads, width}, 1e-3);
  args.k = cache;
  args.v_from_k_offset = 0;
  args.batch = {b.Ints({count + 1}, starts), b.Ints({count}, lengths), b.Ints({count, 1}, pages),
                nullptr};
  args.window = 1;
  args.out = b.Blank(DType::kF32, {count, heads, width});
  return args;
}

// Fills all slots, then writes some of them again among slots outside the cache.
void StoreKvCase(uint32_t seed, DType dtype, const StoreForm& form, const CaseSink& sink) {
  constexpr int32_t kPages = 3;
  constexpr auto kSlots = static_cast<int32_t>(kPages * kPageTokens);
  CaseBuilder b(KernelId::kStoreKv, seed);
  b.Name(Text(DTypeName(dtype)), " [", form.rows.total, ", ", form.heads, ", ", form.width, "]");
  if (form.rows.live != form.rows.total) b.Name(form.rows.live, " live");
  if (form.layout == Layout::kStrided) b.Name("strided");
  std::vector<int32_t> all(kSlots);
  std::iota(all.begin(), all.end(), 0);
  std::ranges::shuffle(all, b.random());
  const std::vector<int32_t>& filled = all;
  // Rows that are not live have slots as well, so that a store too many shows.
  std::vector<int32_t> again(all.end() - form.rows.total, all.end());
  if (form.rows.live > 2) {
    again[0] = -1;
    again[1] = kSlots;
  }
  StoreKvArgs first;
  first.x = b.Random(DType::kF32, {kSlots, form.heads, form.width});
  first.slots = b.Ints({kSlots}, filled);
  first.cache = b.Blank(dtype, {kPages, kPageTokens, form.heads, form.width});
  StoreKvArgs second = first;
  second.x = b.Activations(form.rows, {form.heads, form.width}, 2.0, form.layout);
  second.slots = b.Ints({form.rows.total}, again);
  second.live_rows = b.Live(form.rows);
  const AttentionArgs read = ReadBack(b, first.cache, filled);
  b.Call(first);
  b.Call(second);
  b.Call(read);
  b.Compare(read.out, kSlots, Tolerance(KernelId::kStoreKv, dtype));
  sink(b.Finish());
}

}  // namespace

std::vector<DType> CacheTypes() {
  return {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0};
}

void StoreKvCases(uint32_t seed, const CaseSink& sink) {
  constexpr StoreForm kForms[] = {
      {1, 576, {1, 1}, Layout::kPacked},
      {2, 64, {20, 20}, Layout::kStrided},
      {4, 128, {40, 11}, Layout::kPacked},
      {3, 32, {5, 0}, Layout::kPacked},
  };
  for (const DType dtype : CacheTypes()) {
    for (const StoreForm& form : kForms) StoreKvCase(++seed, dtype, form, sink);
    if (!IsQuantized(dtype)) StoreKvCase(++seed, dtype, {2, 33, {9, 9}, Layout::kPacked}, sink);
  }
}

void AttentionCases(uint32_t seed, const CaseSink& sink) {
  OptionCases(seed, sink);
  TypeCases(seed + 1000, sink);
}

}  // namespace tandem
