#include "backends/cuda/product_rows.h"

#include <cstring>
#include <string>
#include <vector>

#include "backends/cuda/kernels/params/product_rows.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

using ::testing::HasSubstr;

Target H200() { return {.arch = 90, .sms = 132, .shared_per_block = 227 * 1024}; }

RowsProblem Problem(DType type, int64_t outputs, int64_t inputs, int64_t tokens) {
  return {.type = type, .outputs = outputs, .inputs = inputs, .tokens = tokens, .groups = 1};
}

TEST(ChooseRowsShapeTest, EveryMultiprocessorHasWork) {
  const RowsShape square = ChooseRowsShape(Problem(DType::kIQ4_NL, 2048, 2048, 1), H200());
  EXPECT_EQ(square.parts_log2, 4);  // a panel for each block
  EXPECT_EQ(square.blocks, 128);
  const RowsShape head = ChooseRowsShape(Problem(DType::kQ6_K, 102400, 2048, 1), H200());
  EXPECT_GE(head.blocks, 132);
}

TEST(ChooseRowsShapeTest, ARowHasNoMorePartsThanUnits) {
  for (const DType type : {DType::kQ4_K, DType::kQ6_K, DType::kQ2_K}) {
    EXPECT_LE(1 << ChooseRowsShape(Problem(type, 2048, 512, 1), H200()).parts_log2, 2);
    EXPECT_EQ(ChooseRowsShape(Problem(type, 2048, 256, 1), H200()).parts_log2, 0);
  }
}

TEST(ChooseRowsShapeTest, PartsDoNotDependOnTokens) {
  // A token's result shall not depend on what else is in the step.
  for (const int64_t outputs : {576, 2048, 3072, 10944}) {
    const int parts = ChooseRowsShape(Problem(DType::kIQ4_NL, outputs, 2048, 1), H200()).parts_log2;
    for (const int64_t tokens : {2, 4, 8}) {
      EXPECT_EQ(ChooseRowsShape(Problem(DType::kIQ4_NL, outputs, 2048, tokens), H200()).parts_log2,
                parts)
          << outputs << " outputs, " << tokens << " tokens";
    }
  }
}

TEST(ChooseRowsShapeTest, LongRowsAreTakenInFewerTokens) {
  const RowsShape few = ChooseRowsShape(Problem(DType::kIQ4_NL, 7168, 18432, 8), H200());
  EXPECT_EQ(few.tokens, 4);
  EXPECT_LE(few.shared_bytes, H200().shared_per_block);
  EXPECT_EQ(ChooseRowsShape(Problem(DType::kIQ4_NL, 16, 1 << 20, 1), H200()).stages, 0);
}

TEST(ChooseRowsShapeTest, ExpertsFit) {
  for (const int64_t tokens : {1, 2, 4, 8}) {
    const ExpertsRowsShape v3 = ChooseRowsShape({.up = DType::kIQ4_NL,
                                                 .down = DType::kIQ4_NL,
                                                 .tokens = tokens,
                                                 .chosen = 8,
                                                 .width = 7168,
                                                 .inner = 2048},
                                                H200());
    EXPECT_GE(v3.inner.stages, 2);
    EXPECT_GE(v3.outer.stages, 2);
    EXPECT_GE(v3.outer.tokens, 1);
    EXPECT_LE(v3.outer.shared_bytes + 4096, H200().shared_per_block);
  }
}

TensorView Tiles(DType type, const Shape& shape) {
  TensorView view = MakeView(nullptr, type, shape);
  view.layout = WeightLayout::kTiles;
  return view;
}
TensorView Floats(const Shape& shape) { return MakeView(nullptr, DType::kF32, shape); }

LinearArgs Linear(int64_t tokens, int64_t inputs, int64_t outputs) {
  return {.x = Floats({tokens, inputs}),
          .w = Tiles(DType::kIQ4_NL, {outputs, inputs}),
          .out = Floats({tokens, outputs})};
}

TEST(SupportsRowsTest, FewTokensAndWeightsInTiles) {
  EXPECT_TRUE(SupportsRows(Linear(8, 2048, 512), H200()).ok());
  EXPECT_THAT(SupportsRows(Linear(9, 2048, 512), H200()).ToString(), HasSubstr("at most 8"));
  LinearArgs rows = Linear(1, 2048, 512);
  rows.w.layout = WeightLayout::kRows;
  EXPECT_THAT(SupportsRows(rows, H200()).ToString(), HasSubstr("in tiles"));
  LinearArgs odd = Linear(2, 2048, 512);
  odd.x.strides[0] += 4;
  EXPECT_THAT(SupportsRows(odd, H200()).ToString(), HasSubstr("aligned"));
}

template <class Params>
Params ParamsOf(const Launch& launch) {
  Params params;
  std::memcpy(&params, launch.params.data(), sizeof(params));
  return params;
}

TEST(LowerRowsTest, NamesAKernelAndDividesTokens) {
  const std::vector<Launch> one = LowerRows(Linear(3, 2048, 512), {}, H200());
  ASSERT_EQ(one.size(), 1);
  EXPECT_EQ(one[0].kernel.file, "product_rows.cuh");
  EXPECT_THAT(one[0].kernel.name, HasSubstr("LinearRows<tandem::cuda::WeightType(20), 4, "));
  EXPECT_TRUE(one[0].waits_itself);

  const std::vector<Launch> two = LowerRows(Linear(7, 18432, 512), {}, H200());
  ASSERT_EQ(two.size(), 3);  // of at most 3 tokens
  EXPECT_EQ(ParamsOf<LinearRowsParams>(two[1]).first_row, 3);
  EXPECT_EQ(ParamsOf<LinearRowsParams>(two[2]).tokens, 1);
}

TEST(LowerRowsTest, TakesOverNormAndAddition) {
  FusedCall fused;
  fused.norm = RmsNormArgs{.x = Floats({1, 2048}), .weight = Floats({2048}), .eps = 1e-5f};
  fused.add = Floats({1, 512});
  const std::vector<Launch> launches = LowerRows(Linear(1, 2048, 512), fused, H200());
  ASSERT_EQ(launches.size(), 1);
  EXPECT_THAT(launches[0].kernel.name, HasSubstr("kRmsNorm"));
  EXPECT_EQ(ParamsOf<LinearRowsParams>(launches[0]).eps, 1e-5f);
}

}  // namespace
}  // namespace tandem::cuda
