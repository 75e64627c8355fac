#include <array>
#include <cmath>

#include "backends/conformance/cases.h"
#include "backends/conformance/compare.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

// What the cases of a row-wise kernel go through.
struct Form {
  Rows rows;
  int64_t width;
  Layout layout;
  bool in_place;
  double deviation;
};

constexpr Form kForms[] = {
    {{1, 1}, 1, Layout::kPacked, false, 1.0},       {{1, 1}, 2048, Layout::kPacked, true, 1.0},
    {{3, 3}, 7, Layout::kStrided, false, 1.0},      {{16, 9}, 64, Layout::kPacked, false, 1.0},
    {{17, 17}, 130, Layout::kStrided, true, 1e4},   {{64, 1}, 96, Layout::kStrided, false, 1e4},
    {{130, 130}, 513, Layout::kPacked, true, 1e-3}, {{8, 0}, 33, Layout::kPacked, false, 1.0},
};

CaseBuilder Builder(KernelId kernel, uint32_t seed, const Form& form) {
  CaseBuilder builder(kernel, seed);
  builder.Name("[", form.rows.total, ", ", form.width, "]");
  if (form.rows.live != form.rows.total) builder.Name(form.rows.live, " live");
  if (form.layout == Layout::kStrided) builder.Name("strided");
  if (form.deviation != 1.0) builder.Name("values of ", form.deviation);
  return builder;
}

void EmbedCases(uint32_t seed, const CaseSink& sink) {
  for (const DType dtype : WeightTypes()) {
    for (const Layout layout : {Layout::kPacked, Layout::kStrided}) {
      const int64_t width = IsQuantized(dtype) ? 3 * GetDTypeInfo(dtype).block_size : 37;
      const Rows rows = {7, layout == Layout::kPacked ? 7 : 5};
      CaseBuilder b(KernelId::kEmbed, seed++);
      b.Name(Text(DTypeName(dtype)), " table [11, ", width, "]");
      if (layout == Layout::kStrided) b.Name("strided, 5 of 7 live");
      EmbedArgs args;
      args.ids = b.Ints({7}, std::array<int32_t, 7>{10, 0, -1, 4, 11, 4, 1 << 30});
      args.table = b.Random(dtype, {11, width}, 1.0, layout);
      args.out = b.Blank(DType::kF32, {7, width}, layout);
      args.live_rows = b.Live(rows);
      b.Call(args);
      b.Compare(args.out, rows.live, Tolerance(KernelId::kEmbed, dtype));
      sink(b.Finish());
    }
  }
}

void GatherRowsCases(uint32_t seed, const CaseSink& sink) {
  for (const Form& form : kForms) {
    CaseBuilder b = Builder(KernelId::kGatherRows, seed++, form);
    std::vector<int32_t> rows(form.rows.total);
    for (int32_t& row : rows) row = static_cast<int32_t>(b.random()() % 9) - 2;
    GatherRowsArgs args;
    args.x = b.Random(DType::kF32, {5, form.width}, form.deviation, form.layout);
    args.rows = b.Ints({form.rows.total}, rows);
    args.out = b.Blank(DType::kF32, {form.rows.total, form.width}, form.layout);
    args.live_rows = b.Live(form.rows);
    b.Call(args);
    b.Compare(args.out, form.rows.live, Tolerance(KernelId::kGatherRows, DType::kF32));
    sink(b.Finish());
  }
}

void RmsNormCases(uint32_t seed, const CaseSink& sink) {
  for (const Form& form : kForms) {
    for (const bool heads : {false, true}) {
      CaseBuilder b = Builder(KernelId::kRmsNorm, seed++, form);
      if (heads) b.Name("3 heads");
      if (form.in_place) b.Name("in place");
      const auto activations = [&] {
        if (!heads) return b.Activations(form.rows, {form.width}, form.deviation, form.layout);
        return b.Activations(form.rows, {3, form.width}, form.deviation, form.layout);
      };
      RmsNormArgs args;
      args.x = activations();
      args.weight = b.Random(DType::kF32, {form.width});
      args.out = form.in_place ? args.x : b.Blank(DType::kF32, args.x.shape, form.layout);
      args.eps = heads ? 1e-5f : 1e-6f;
      args.live_rows = b.Live(form.rows);
      b.Call(args);
      b.Compare(args.out, form.rows.live, Tolerance(KernelId::kRmsNorm, DType::kF32));
      sink(b.Finish());
    }
  }
}

struct RopeForm {
  int64_t heads, width, begin, pairs;
  int32_t last_position;
  float magnitude;
};

constexpr RopeForm kRopeForms[] = {
    {1, 64, 0, 32, 100, 1.0f},       {4, 192, 128, 32, 4000, 1.0f}, {3, 10, 1, 3, 10, 0.7f},
    {2, 576, 512, 32, 160000, 1.4f}, {5, 128, 0, 16, 1000, 1.0f},
};

void RopeCase(uint32_t seed, const RopeForm& form, const Form& rows, const CaseSink& sink) {
  CaseBuilder b(KernelId::kRope, seed);
  const bool halves = seed % 2 == 0;
  b.Name("[", rows.rows.total, ", ", form.heads, ", ", form.width, "]");
  b.Name(2 * form.pairs, " from ", form.begin, halves ? " in halves" : " interleaved");
  b.Name("positions to ", form.last_position);
  if (rows.rows.live != rows.rows.total) b.Name(rows.rows.live, " live");
  if (rows.layout == Layout::kStrided) b.Name("strided");
  if (rows.in_place) b.Name("in place");
  std::vector<int32_t> positions(rows.rows.total);
  for (int32_t& position : positions) {
    position = static_cast<int32_t>(b.random()() % form.last_position);
  }
  positions.front() = form.last_position;
  std::vector<float> inv_freq(form.pairs);
  for (int64_t i = 0; i < form.pairs; ++i) {
    inv_freq[i] = static_cast<float>(std::pow(1e4, -static_cast<double>(i) / form.pairs));
  }
  RopeArgs args;
  args.x = b.Activations(rows.rows, {form.heads, form.width}, rows.deviation, rows.layout);
  args.positions = b.Ints({rows.rows.total}, positions);
  args.inv_freq = b.Floats({form.pairs}, inv_freq);
  args.out = rows.in_place ? args.x : b.Blank(DType::kF32, args.x.shape, rows.layout);
  args.begin = form.begin;
  args.magnitude = form.magnitude;
  args.pairing = halves ? RopePairing::kHalves : RopePairing::kInterleaved;
  args.live_rows = b.Live(rows.rows);
  b.Call(args);
  // An angle in f32 is wrong by up to 2^-24 of itself, and so is the pair that it turns.
  const double angle = form.last_position * std::ldexp(1.0, -24);
  b.Compare(args.out, rows.rows.live, Tolerance(KernelId::kRope, DType::kF32) + angle);
  sink(b.Finish());
}

void RopeCases(uint32_t seed, const CaseSink& sink) {
  for (const RopeForm& form : kRopeForms) {
    for (const Form& rows : {kForms[0], kForms[2], kForms[3], kForms[4]}) {
      RopeCase(seed, form, rows, sink);
      RopeCase(seed + 1, form, rows, sink);
      seed += 2;
    }
  }
}

// Kernels with two inputs and an output of one shape.
template <typename Args>
void PairCases(KernelId kernel, TensorView Args::*left, TensorView Args::*right, uint32_t seed,
               const CaseSink& sink) {
  for (const Form& form : kForms) {
    for (const int place : {0, 1, 2}) {
      if ((place > 0) != form.in_place) continue;
      CaseBuilder b = Builder(kernel, seed++, form);
      if (place > 0) b.Name("in place of input ", place);
      Args args;
      args.*left = b.Activations(form.rows, {form.width}, form.deviation, form.layout);
      args.*right = b.Activations(form.rows, {form.width}, form.deviation, Layout::kPacked);
      args.out = place == 1   ? args.*left
                 : place == 2 ? args.*right
                              : b.Blank(DType::kF32, {form.rows.total, form.width}, form.layout);
      args.live_rows = b.Live(form.rows);
      b.Call(args);
      b.Compare(args.out, form.rows.live, Tolerance(kernel, DType::kF32));
      sink(b.Finish());
    }
  }
}

void ConcatCases(uint32_t seed, const CaseSink& sink) {
  for (const Form& form : kForms) {
    for (const bool heads : {false, true}) {
      CaseBuilder b = Builder(KernelId::kConcat, seed++, form);
      b.Name("and ", form.width / 2 + 1, heads ? ", 4 heads" : "");
      const auto activations = [&](int64_t width) {
        if (!heads) return b.Activations(form.rows, {width}, form.deviation, form.layout);
        return b.Activations(form.rows, {4, width}, form.deviation, form.layout);
      };
      ConcatArgs args;
      args.a = activations(form.width);
      args.b = activations(form.width / 2 + 1);
      Shape shape = args.a.shape;
      shape.dims[shape.rank - 1] += args.b.shape.back();
      args.out = b.Blank(DType::kF32, shape, form.layout);
      args.live_rows = b.Live(form.rows);
      b.Call(args);
      b.Compare(args.out, form.rows.live, Tolerance(KernelId::kConcat, DType::kF32));
      sink(b.Finish());
    }
  }
}

}  // namespace

void RowwiseCases(uint32_t seed, const CaseSink& sink) {
  EmbedCases(seed + 1000, sink);
  RmsNormCases(seed + 2000, sink);
  RopeCases(seed + 3000, sink);
  PairCases(KernelId::kAdd, &AddArgs::a, &AddArgs::b, seed + 4000, sink);
  PairCases(KernelId::kSwiGlu, &SwiGluArgs::gate, &SwiGluArgs::up, seed + 5000, sink);
  ConcatCases(seed + 6000, sink);
  GatherRowsCases(seed + 7000, sink);
}

}  // namespace tandem
