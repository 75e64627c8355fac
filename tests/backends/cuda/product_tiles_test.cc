#include "backends/cuda/product_tiles.h"

#include "backends/cuda/experts_tiles.h"
#include "backends/device/dtype.h"
#include "backends/device/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Target Hopper() {
  Target target;
  target.arch = 90;
  target.sms = 132;
  target.shared_per_block = 227 * 1024;
  return target;
}

ProductSize Size(int64_t tokens, int64_t outputs, int64_t inputs) {
  return {
      .type = DType::kIQ4_NL, .outputs = outputs, .inputs = inputs, .tokens = tokens, .groups = 1};
}

int64_t Blocks(const TileShape& shape, const ProductSize& n) {
  return (n.outputs + shape.rows() - 1) / shape.rows() *
         ((n.tokens + shape.tokens - 1) / shape.tokens);
}

TEST(TileShapeTest, FillsTheMultiprocessorsInWholeTurns) {
  const ProductSize query = Size(2048, 3072, 2048);
  const TileChoice choice = ChooseTiles(query, Hopper());
  EXPECT_LE(Blocks(choice.shape, query), 2 * 132) << ToString(choice);
  EXPECT_GT(Blocks(choice.shape, query), 132 * 3 / 2) << ToString(choice);
  EXPECT_EQ(choice.splits, 1);
}

TEST(TileShapeTest, TakesSmallTilesForFewTokens) {
  EXPECT_EQ(ChooseTiles(Size(16, 2048, 2048), Hopper()).shape.tokens, 32);
  EXPECT_GE(ChooseTiles(Size(4096, 10944, 2048), Hopper()).shape.tokens, 128);
}

TEST(TileShapeTest, SplitsKWhereThereAreFewTiles) {
  const ProductSize few = Size(32, 2048, 10944);
  const TileChoice choice = ChooseTiles(few, Hopper());
  EXPECT_GT(choice.splits, 4) << ToString(choice);
  EXPECT_LE(Blocks(choice.shape, few) * choice.splits, 2 * 132) << ToString(choice);
  EXPECT_EQ(ProductPartsBytes(few, Hopper()), 32 * 2048 * 4 * choice.splits);
  EXPECT_EQ(ChooseTiles(Size(32, 2048, 64), Hopper()).splits, 1);
}

TEST(TileShapeTest, FitsSharedMemoryWithEveryType) {
  for (const DTypeInfo& info : AllDTypes()) {
    if (!IsQuantized(info.dtype)) continue;
    for (int64_t tokens : {9, 64, 512, 2048, 8192}) {
      ProductSize size = Size(tokens, 4096, 4096);
      size.type = info.dtype;
      const TileShape shape = ChooseTiles(size, Hopper()).shape;
      ASSERT_GE(shape.stages, 2) << Text(info.name) << ", " << tokens << " tokens";
      EXPECT_LE(shape.consumers, 3);
    }
  }
}

TEST(TileShapeTest, IsPrinted) {
  EXPECT_EQ(ToString(TileChoice{{2, 1, 192, 7}, 3}), "2x1x64 rows, 192 tokens, 7 stages, 3 parts");
}

LinearArgs Linear(int64_t tokens, DType type, WeightLayout layout, bool transposed) {
  LinearArgs args;
  args.x = MakeView(nullptr, DType::kF32, {tokens, 512});
  args.w = MakeView(nullptr, type, transposed ? Shape{512, 256} : Shape{256, 512});
  args.w.layout = layout;
  args.out = MakeView(nullptr, DType::kF32, {tokens, 256});
  args.transposed = transposed;
  return args;
}

std::vector<std::string> KernelFiles(const LinearArgs& args, const Target& target) {
  const auto launches = LowerTiles(args, {}, {.target = target});
  EXPECT_TRUE(launches.ok()) << launches.status();
  std::vector<std::string> files;
  for (const Launch& launch : *launches) files.push_back(launch.kernel.file);
  return files;
}

TEST(LowerTilesTest, MultipliesWeightsInTilesAsTheyAre) {
  const LinearArgs args = Linear(64, DType::kQ4_K, WeightLayout::kTiles, false);
  EXPECT_THAT(KernelFiles(args, Hopper()), ElementsAre("convert_rows.cuh", "product_tiles.cuh"));
  EXPECT_THAT(KernelFiles(args, Target()),
              ElementsAre("convert_rows.cuh", "product_tiles_portable.cuh"));
}

TEST(LowerTilesTest, MakesF16TilesOfOtherWeights) {
  for (const LinearArgs& args : {Linear(64, DType::kQ8_0, WeightLayout::kTiles, true),
                                 Linear(64, DType::kBF16, WeightLayout::kRows, false)}) {
    EXPECT_THAT(KernelFiles(args, Hopper()),
                ElementsAre("convert_rows.cuh", "f16_tiles.cuh", "product_tiles.cuh"));
    EXPECT_GT(TilesWorkspaceBytes(args, Hopper()), 256 * 512 * 2);
  }
}

TEST(LowerTilesTest, KeepsF32WeightsExact) {
  const LinearArgs args = Linear(64, DType::kF32, WeightLayout::kRows, false);
  EXPECT_THAT(KernelFiles(args, Hopper()), ElementsAre("product_f32.cuh"));
  EXPECT_EQ(TilesWorkspaceBytes(args, Hopper()), 0);
}

TEST(LowerTilesTest, RefusesExpertsOfTwoTypes) {
  ExpertsArgs args;
  args.gate = MakeView(nullptr, DType::kQ4_K, {4, 256, 256});
  args.up = MakeView(nullptr, DType::kQ8_0, {4, 256, 256});
  args.down = MakeView(nullptr, DType::kQ8_0, {4, 256, 256});
  for (TensorView* w : {&args.gate, &args.up, &args.down}) w->layout = WeightLayout::kTiles;
  const absl::Status status = SupportsTiles(args);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("gate is q4_k, up q8_0"));
}

}  // namespace
}  // namespace tandem::cuda
