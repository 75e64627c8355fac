#include <cmath>

#include "tests/backends/reference/testing.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;

TEST(ReferenceEmbedTest, CopiesRowsAndZerosForUnknownIds) {
  Ints ids({4}, {2, -1, 0, 3});
  Floats table({3, 2}, {1, 2, 3, 4, 5, 6});
  Floats out({4, 2});
  RunOnReference(EmbedArgs{.ids = ids.view(), .table = table.view(), .out = out.view()});
  EXPECT_THAT(out.data, ElementsAre(5, 6, 0, 0, 1, 2, 0, 0));
}

TEST(ReferenceEmbedTest, DecodesQuantisedTables) {
  Ints ids({2}, {4, 1});
  Encoded table(DType::kQ4_0, RandomFloats({5, 64}, 1));
  Floats out({2, 64});
  RunOnReference(EmbedArgs{.ids = ids.view(), .table = table.view(), .out = out.view()});
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(out.data[i], table.decoded.data[4 * 64 + i]);
    EXPECT_EQ(out.data[64 + i], table.decoded.data[64 + i]);
  }
}

TEST(ReferenceRmsNormTest, DividesByTheRootMeanSquare) {
  Floats x({1, 2, 2}, {3, 4, -6, 8});
  Floats weight({2}, {1, 10});
  Floats out({1, 2, 2});
  RunOnReference(
      RmsNormArgs{.x = x.view(), .weight = weight.view(), .out = out.view(), .eps = 0.5f});
  const double first = std::sqrt(12.5 + 0.5), second = std::sqrt(50.0 + 0.5);
  ExpectNear(out.data, {3 / first, 40 / first, -6 / second, 80 / second});
}

TEST(ReferenceRopeTest, TurnsPairsBothWays) {
  Ints positions({1}, {3});
  Floats inv_freq({2}, {0.5f, 0.25f});
  Floats x({1, 1, 6}, {9, 1, 2, 3, 4, 7});
  Floats out({1, 1, 6});
  RopeArgs args = {.x = x.view(),
                   .positions = positions.view(),
                   .inv_freq = inv_freq.view(),
                   .out = out.view(),
                   .begin = 1,
                   .magnitude = 2.0f};
  RunOnReference(args);
  const double c0 = 2 * std::cos(1.5), s0 = 2 * std::sin(1.5);
  const double c1 = 2 * std::cos(0.75), s1 = 2 * std::sin(0.75);
  ExpectNear(out.data, {9, c0 - 2 * s0, s0 + 2 * c0, 3 * c1 - 4 * s1, 3 * s1 + 4 * c1, 7});
  args.pairing = RopePairing::kHalves;
  RunOnReference(args);
  ExpectNear(out.data, {9, c0 - 3 * s0, 2 * c1 - 4 * s1, s0 + 3 * c0, 2 * s1 + 4 * c1, 7});
}

TEST(ReferenceRopeTest, MayWorkInPlace) {
  Ints positions({1}, {1});
  Floats inv_freq({1}, {1.0f});
  Floats x({1, 1, 2}, {1, 0});
  RunOnReference(RopeArgs{
      .x = x.view(), .positions = positions.view(), .inv_freq = inv_freq.view(), .out = x.view()});
  ExpectNear(x.data, {std::cos(1.0), std::sin(1.0)});
}

TEST(ReferenceAddTest, LeavesTheRestOfAStridedOutput) {
  Floats a({2, 2}, {1, 2, 3, 4});
  Floats b({2, 2}, {10, 20, 30, 40});
  Floats wide({2, 3}, {0, 0, -1, 0, 0, -1});
  TensorView out = wide.view();
  out.shape = {2, 2};
  RunOnReference(AddArgs{.a = a.view(), .b = b.view(), .out = out});
  EXPECT_THAT(wide.data, ElementsAre(11, 22, -1, 33, 44, -1));
}

TEST(ReferenceAddTest, StopsAfterTheLiveRows) {
  Floats a({3, 1}, {1, 2, 3});
  Floats out({3, 1}, {-1, -1, -1});
  const int32_t live = 2;
  RunOnReference(AddArgs{.a = a.view(), .b = a.view(), .out = out.view(), .live_rows = &live});
  EXPECT_THAT(out.data, ElementsAre(2, 4, -1));
}

TEST(ReferenceSwiGluTest, GatesWithSilu) {
  Floats gate({1, 3}, {0, 2, -100});
  Floats up({1, 3}, {5, 3, 2});
  Floats out({1, 3});
  RunOnReference(SwiGluArgs{.gate = gate.view(), .up = up.view(), .out = out.view()});
  ExpectNear(out.data, {0, 6 / (1 + std::exp(-2.0)), 0});
}

TEST(ReferenceConcatTest, PutsHeadsSideBySide) {
  Floats a({1, 2, 1}, {1, 2});
  Floats b({1, 2, 2}, {3, 4, 5, 6});
  Floats out({1, 2, 3});
  RunOnReference(ConcatArgs{.a = a.view(), .b = b.view(), .out = out.view()});
  EXPECT_THAT(out.data, ElementsAre(1, 3, 4, 2, 5, 6));
}

TEST(ReferenceGatherRowsTest, CopiesRowsAndZerosOutside) {
  Floats x({2, 2}, {1, 2, 3, 4});
  Ints rows({3}, {1, 2, 0});
  Floats out({3, 2});
  RunOnReference(GatherRowsArgs{.x = x.view(), .rows = rows.view(), .out = out.view()});
  EXPECT_THAT(out.data, ElementsAre(3, 4, 0, 0, 1, 2));
}

class ReferenceLinearTest : public ::testing::TestWithParam<DType> {};

TEST_P(ReferenceLinearTest, MultipliesEveryWeightType) {
  Floats x = RandomFloats({3, 256}, 2);
  Encoded w(GetParam(), RandomFloats({4, 256}, 3));
  Floats bias({4}, {1, 2, 3, 4});
  Floats out({3, 4});
  RunOnReference(LinearArgs{.x = x.view(), .w = w.view(), .bias = bias.view(), .out = out.view()});
  std::vector<double> expected;
  for (int t = 0; t < 3; ++t) {
    for (int o = 0; o < 4; ++o) {
      double sum = bias.data[o];
      for (int i = 0; i < 256; ++i) {
        sum += double{x.data[t * 256 + i]} * double{w.decoded.data[o * 256 + i]};
      }
      expected.push_back(sum);
    }
  }
  ExpectNear(out.data, expected);
}

std::vector<DType> WeightTypes() {
  std::vector<DType> types;
  for (const DTypeInfo& info : AllDTypes()) {
    if (info.dtype != DType::kI32) types.push_back(info.dtype);
  }
  return types;
}

INSTANTIATE_TEST_SUITE_P(All, ReferenceLinearTest, ::testing::ValuesIn(WeightTypes()),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST(ReferenceLinearTest, GroupsHaveTheirOwnWeights) {
  Floats x({1, 2, 2}, {1, 2, 3, 4});
  Floats w({2, 1, 2}, {1, 10, 100, 1000});
  Floats out({1, 2, 1});
  RunOnReference(LinearArgs{.x = x.view(), .w = w.view(), .out = out.view()});
  EXPECT_THAT(out.data, ElementsAre(21, 4300));
}

TEST(ReferenceLinearTest, TransposedWeightsHaveInputsAsRows) {
  Floats x({1, 2}, {1, 2});
  Floats w({2, 3}, {1, 2, 3, 10, 20, 30});
  Floats out({1, 3});
  RunOnReference(LinearArgs{.x = x.view(), .w = w.view(), .out = out.view(), .transposed = true});
  EXPECT_THAT(out.data, ElementsAre(21, 42, 63));
}

}  // namespace
}  // namespace tandem
