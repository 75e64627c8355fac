#include <cmath>
#include <limits>

#include "tests/backends/reference/testing.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

struct Routed {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

// Routes one token.
Routed Route(RouteArgs args, std::vector<float> logits, int64_t k, std::vector<float> bias = {}) {
  const int64_t n = static_cast<int64_t>(logits.size());
  Floats l({1, n}, std::move(logits));
  Floats b({n}, std::move(bias));
  Ints ids({1, k});
  Floats weights({1, k});
  args.logits = l.view();
  if (!b.data.empty()) args.bias = b.view();
  args.ids = ids.view();
  args.weights = weights.view();
  RunOnReference(args);
  return {ids.data, weights.data};
}

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(ReferenceRouteTest, SoftmaxOverAllExperts) {
  const Routed r = Route({}, {0, 2, 1}, 2);
  const double sum = 1 + std::exp(2.0) + std::exp(1.0);
  EXPECT_THAT(r.ids, ElementsAre(1, 2));
  EXPECT_THAT(r.weights, ElementsAre(FloatNear(std::exp(2.0) / sum, 1e-6),
                                     FloatNear(std::exp(1.0) / sum, 1e-6)));
}

TEST(ReferenceRouteTest, NormalisesAndScales) {
  const Routed r = Route({.normalize = true, .scale = 2.5f}, {0, 2, 1}, 2);
  const double sum = std::exp(2.0) + std::exp(1.0);
  EXPECT_THAT(r.weights, ElementsAre(FloatNear(2.5 * std::exp(2.0) / sum, 1e-6),
                                     FloatNear(2.5 * std::exp(1.0) / sum, 1e-6)));
}

TEST(ReferenceRouteTest, TheBiasChoosesButDoesNotWeigh) {
  const Routed r = Route({.gating = Gating::kSigmoid}, {3, 2, 1}, 2, {0, 0, 5});
  EXPECT_THAT(r.ids, ElementsAre(2, 0));
  EXPECT_THAT(r.weights, ElementsAre(FloatNear(Sigmoid(1), 1e-6), FloatNear(Sigmoid(3), 1e-6)));
}

TEST(ReferenceRouteTest, SoftmaxOverTheChosen) {
  const Routed r = Route({.gating = Gating::kTopKSoftmax}, {1, -7, 2}, 2);
  EXPECT_THAT(r.ids, ElementsAre(2, 0));
  EXPECT_THAT(r.weights, ElementsAre(FloatNear(Sigmoid(1), 1e-6), FloatNear(Sigmoid(-1), 1e-6)));
}

TEST(ReferenceRouteTest, TiesGoToTheLowerIndex) {
  EXPECT_THAT(Route({}, {1, 2, 2, 1, 2}, 4).ids, ElementsAre(1, 2, 4, 0));
  EXPECT_THAT(Route({.groups = 3, .groups_used = 2}, {5, 0, 0, 5, 5, 0}, 4).ids,
              ElementsAre(0, 3, 1, 2));
}

TEST(ReferenceRouteTest, GroupsCompeteByTheirBestOrTheirTwoBest) {
  const std::vector<float> logits = {9, 0, 0, 5, 5, 0, 8, 0, 0};
  RouteArgs args = {.gating = Gating::kTopKSoftmax, .groups = 3, .groups_used = 1};
  EXPECT_THAT(Route(args, logits, 1).ids, ElementsAre(0));
  args.group_score = GroupScore::kTop2Sum;
  EXPECT_THAT(Route(args, logits, 2).ids, ElementsAre(3, 4));
}

TEST(ReferenceRouteTest, NotANumberIsChosenLast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Routed r = Route({.gating = Gating::kSigmoid}, {nan, -9, nan, -8}, 3);
  EXPECT_THAT(r.ids, ElementsAre(3, 1, 0));
  EXPECT_TRUE(std::isnan(r.weights[2]));
}

TEST(ReferenceExpertsTest, AddsTheChosenAndSkipsUnknownIds) {
  constexpr int kTokens = 2, kChoices = 3, kExperts = 4, kWidth = 5, kHidden = 7;
  Floats x = RandomFloats({kTokens, kWidth}, 1);
  Ints ids({kTokens, kChoices}, {3, 1, -1, 1, 4, 0});
  Floats weights = RandomFloats({kTokens, kChoices}, 2);
  Floats gate = RandomFloats({kExperts, kHidden, kWidth}, 3);
  Floats up = RandomFloats({kExperts, kHidden, kWidth}, 4);
  Floats down = RandomFloats({kExperts, kWidth, kHidden}, 5);
  Floats out({kTokens, kWidth});
  RunOnReference(ExpertsArgs{.x = x.view(),
                             .ids = ids.view(),
                             .weights = weights.view(),
                             .gate = gate.view(),
                             .up = up.view(),
                             .down = down.view(),
                             .out = out.view()});
  std::vector<double> expected(kTokens * kWidth);
  for (int i = 0; i < kTokens * kChoices; ++i) {
    const int t = i / kChoices, e = ids.data[i];
    if (e < 0 || e >= kExperts) continue;
    for (int f = 0; f < kHidden; ++f) {
      double g = 0, u = 0;
      for (int c = 0; c < kWidth; ++c) {
        g += double{gate.data[(e * kHidden + f) * kWidth + c]} * x.data[t * kWidth + c];
        u += double{up.data[(e * kHidden + f) * kWidth + c]} * x.data[t * kWidth + c];
      }
      for (int c = 0; c < kWidth; ++c) {
        expected[t * kWidth + c] += double{weights.data[i]} * g * Sigmoid(g) * u *
                                    double{down.data[(e * kWidth + c) * kHidden + f]};
      }
    }
  }
  ExpectNear(out.data, expected);
}

}  // namespace
}  // namespace tandem
