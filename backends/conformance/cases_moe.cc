#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "backends/conformance/cases.h"
#include "backends/conformance/compare.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

struct RouteForm {
  Rows rows;
  int64_t experts, chosen, groups, groups_used;
  GroupScore group_score;
};

constexpr RouteForm kRouteForms[] = {
    {{1, 1}, 64, 6, 1, 1, GroupScore::kMax},     {{40, 33}, 256, 8, 8, 4, GroupScore::kTop2Sum},
    {{7, 7}, 160, 6, 8, 3, GroupScore::kMax},    {{5, 5}, 32, 4, 1, 1, GroupScore::kTop2Sum},
    {{3, 2}, 12, 6, 3, 2, GroupScore::kTop2Sum}, {{2, 2}, 1, 1, 1, 1, GroupScore::kMax},
    {{4, 4}, 7, 7, 7, 7, GroupScore::kMax},
};

std::string_view GatingName(Gating gating) {
  switch (gating) {
    case Gating::kSoftmax:
      return "softmax";
    case Gating::kSigmoid:
      return "sigmoid";
    case Gating::kTopKSoftmax:
      return "top-k softmax";
  }
  return "";
}

// Logits of a row are equally spaced and shuffled, so that f32 tells their order for sure.
enum class Logits { kSpaced, kTied, kNotFinite };

std::vector<float> MakeLogits(CaseBuilder& b, const RouteForm& form, Logits kind) {
  std::vector<float> logits;
  std::vector<float> row(form.experts);
  for (int64_t t = 0; t < form.rows.total; ++t) {
    for (int64_t e = 0; e < form.experts; ++e) {
      row[e] = kind == Logits::kTied
                   ? static_cast<float>(e % 3)
                   : 8.0f * static_cast<float>(e) / static_cast<float>(form.experts) - 4.0f;
    }
    std::ranges::shuffle(row, b.random());
    if (kind == Logits::kNotFinite) {
      constexpr float kInfinity = std::numeric_limits<float>::infinity();
      row[t % form.experts] = std::nanf("");
      row[(t + 1) % form.experts] = kInfinity;
      row[(t + 2) % form.experts] = -kInfinity;
    }
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

void RouteCase(uint32_t seed, const RouteForm& form, RouteArgs args, Logits kind,
               const CaseSink& sink) {
  CaseBuilder b(KernelId::kRoute, seed);
  b.Name(Text(GatingName(args.gating)), " ", form.chosen, " of [", form.rows.total, ", ",
         form.experts, "]");
  const bool top2 = form.group_score == GroupScore::kTop2Sum;
  if (form.groups > 1) {
    b.Name(form.groups_used, " of ", form.groups, " groups by ", top2 ? "top 2" : "maximum");
  }
  if (kind == Logits::kTied) b.Name("ties");
  if (kind == Logits::kNotFinite) b.Name("not finite");
  args.logits = b.Floats({form.rows.total, form.experts}, MakeLogits(b, form, kind));
  if (seed % 2 == 0 && kind == Logits::kSpaced) {
    args.bias = b.Random(DType::kF32, {form.experts}, 0.1);
    b.Name("bias");
  }
  const Layout layout = seed % 3 == 0 ? Layout::kStrided : Layout::kPacked;
  args.ids = b.Blank(DType::kI32, {form.rows.total, form.chosen}, layout);
  args.weights = b.Blank(DType::kF32, {form.rows.total, form.chosen}, layout);
  args.groups = form.groups;
  args.groups_used = form.groups_used;
  args.group_score = form.group_score;
  args.normalize = seed % 4 < 2;
  args.scale = seed % 5 == 0 ? 1.0f : 2.5f;
  args.live_rows = b.Live(form.rows);
  if (args.normalize) b.Name("normalised");
  b.Call(args);
  b.Compare(args.ids, form.rows.live, 0.0);
  b.Compare(args.weights, form.rows.live, Tolerance(KernelId::kRoute, DType::kF32));
  sink(b.Finish());
}

struct ExpertsForm {
  Rows rows;
  int64_t experts, chosen;
  int64_t width_blocks, hidden_blocks;
  double deviation;
};

constexpr ExpertsForm kExpertsForms[] = {
    {{1, 1}, 5, 2, 1, 2, 1.0},
    {{7, 4}, 4, 3, 2, 1, 1.0},
    {{40, 40}, 3, 2, 1, 1, 30.0},
    {{3, 3}, 9, 1, 1, 1, 1.0},
};

// Ids of each token differ, except that some are unknown: -1 and the number of experts.
std::vector<int32_t> MakeIds(CaseBuilder& b, const ExpertsForm& form) {
  std::vector<int32_t> ids;
  std::vector<int32_t> all(form.experts + 2);
  std::iota(all.begin(), all.end(), -1);
  for (int64_t t = 0; t < form.rows.total; ++t) {
    std::ranges::shuffle(all, b.random());
    ids.insert(ids.end(), all.begin(), all.begin() + form.chosen);
  }
  return ids;
}

struct ExpertsTypes {
  DType gate, up, down;
};

void ExpertsCase(uint32_t seed, const ExpertsForm& form, ExpertsTypes types, const CaseSink& sink) {
  CaseBuilder b(KernelId::kExperts, seed);
  const int64_t block =
      std::max({GetDTypeInfo(types.gate).block_size, GetDTypeInfo(types.up).block_size,
                GetDTypeInfo(types.down).block_size});
  const int64_t unit = block == 1 ? 37 : block;
  const int64_t width = form.width_blocks * unit, hidden = form.hidden_blocks * unit;
  b.Name(Text(DTypeName(types.gate)), " ", Text(DTypeName(types.up)), " ",
         Text(DTypeName(types.down)), " [", form.experts, ", ", hidden, ", ", width, "]");
  b.Name(form.rows.live, " of ", form.rows.total, " tokens, ", form.chosen, " experts each");
  const Layout layout = seed % 2 == 0 ? Layout::kStrided : Layout::kPacked;
  if (layout == Layout::kStrided) b.Name("strided");
  ExpertsArgs args;
  args.x = b.Activations(form.rows, {width}, form.deviation, layout);
  args.ids = b.Ints({form.rows.total, form.chosen}, MakeIds(b, form));
  args.weights = b.Activations(form.rows, {form.chosen});
  args.gate = b.Random(types.gate, {form.experts, hidden, width}, 0.1, layout);
  args.up = b.Random(types.up, {form.experts, hidden, width}, 0.1);
  args.down = b.Random(types.down, {form.experts, width, hidden}, 0.1, layout);
  args.out = b.Blank(DType::kF32, {form.rows.total, width}, layout);
  args.live_rows = b.Live(form.rows);
  b.Call(args);
  double tolerance = 0;
  for (const DType dtype : {types.gate, types.up, types.down}) {
    tolerance = std::max(tolerance, Tolerance(KernelId::kExperts, dtype));
  }
  b.Compare(args.out, form.rows.live, tolerance);
  sink(b.Finish());
}

}  // namespace

void RouteCases(uint32_t seed, const CaseSink& sink) {
  seed *= 60;  // the low bits choose options
  for (const RouteForm& form : kRouteForms) {
    for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid, Gating::kTopKSoftmax}) {
      const RouteArgs args = {.gating = gating};
      for (int i = 0; i < 3; ++i) RouteCase(++seed, form, args, Logits::kSpaced, sink);
      RouteCase(++seed, form, args, Logits::kTied, sink);
      if (gating != Gating::kSoftmax) RouteCase(++seed, form, args, Logits::kNotFinite, sink);
    }
  }
}

void ExpertsCases(uint32_t seed, const CaseSink& sink) {
  for (const DType dtype : WeightTypes()) {
    for (const ExpertsForm& form : kExpertsForms) {
      ExpertsCase(++seed, form, {dtype, dtype, dtype}, sink);
    }
  }
  ExpertsCase(++seed, kExpertsForms[1], {DType::kQ4_K, DType::kQ4_K, DType::kQ6_K}, sink);
  ExpertsCase(++seed, kExpertsForms[2], {DType::kIQ4_XS, DType::kQ8_0, DType::kIQ4_NL}, sink);
  ExpertsCase(++seed, kExpertsForms[2], {DType::kF32, DType::kF16, DType::kBF16}, sink);
}

}  // namespace tandem
