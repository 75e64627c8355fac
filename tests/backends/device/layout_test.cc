#include "backends/device/layout.h"

#include <random>
#include <string>
#include <vector>

#include "backends/device/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

std::vector<std::byte> RandomBytes(int64_t count) {
  std::mt19937 random(7);
  std::vector<std::byte> bytes(static_cast<size_t>(count));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

std::vector<DType> BlockTypes() {
  std::vector<DType> types;
  for (const DTypeInfo& info : AllDTypes()) {
    if (info.block_size > 1) types.push_back(info.dtype);
  }
  return types;
}

class LayoutTest : public testing::TestWithParam<DType> {
 protected:
  // A last group of an odd number of blocks.
  static constexpr int64_t kBlocks = kPanelBlocks + 3;
  int64_t row_bytes() const { return kBlocks * GetDTypeInfo(GetParam()).block_bytes; }
  static constexpr int64_t kRows = 3 * kPanelRows;
};

TEST_P(LayoutTest, EveryByteHasAPlace) {
  const auto rows = RandomBytes(kRows * row_bytes());
  std::vector<std::byte> interleaved(rows.size()), back(rows.size());
  Interleave(GetParam(), row_bytes(), kRows, rows.data(), interleaved.data());
  EXPECT_NE(interleaved, rows);
  Deinterleave(GetParam(), row_bytes(), kRows, interleaved.data(), back.data());
  EXPECT_EQ(back, rows);
  std::vector<std::byte> in_place = rows;
  ArrangeInPlace(WeightLayout::kInterleaved, GetParam(), row_bytes(), kRows, in_place.data());
  EXPECT_EQ(in_place, interleaved);
}

TEST_P(LayoutTest, HeadsOfEightBlocksComeFirstThenWords) {
  const BlockHead head = HeadOf(GetParam());
  const int64_t block = GetDTypeInfo(GetParam()).block_bytes;
  const int64_t words = (block - head.bytes) / 4, words_at = head.at == 0 ? head.bytes : 0;
  ASSERT_EQ((block - head.bytes) % 4, 0);
  const auto rows = RandomBytes(kRows * row_bytes());
  std::vector<std::byte> interleaved(rows.size());
  Interleave(GetParam(), row_bytes(), kRows, rows.data(), interleaved.data());
  // Row 5 of the second panel, the last block and its last word.
  const std::byte* from = rows.data() + (kPanelRows + 5) * row_bytes() + (kBlocks - 1) * block;
  const std::byte* heads =
      interleaved.data() + kPanelRows * row_bytes() + kPanelBlocks * kPanelRows * block;
  const std::byte* word = heads + 3 * kPanelRows * head.bytes +
                          (2 * words * kPanelRows + (words - 1) * kPanelRows + 5) * 4;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(word[i], from[words_at + (words - 1) * 4 + i]);
  for (int i = 0; i < head.bytes; ++i) {
    EXPECT_EQ(heads[(2 * kPanelRows + 5) * head.bytes + i], from[head.at + i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, LayoutTest, testing::ValuesIn(BlockTypes()),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TensorView View(DType type, const Shape& shape) { return MakeView(nullptr, type, shape); }

TEST(CanInterleaveTest, TakesPanelsOfWholeMatrices) {
  EXPECT_TRUE(CanInterleave(View(DType::kQ4_0, {32, 64})));
  EXPECT_TRUE(CanInterleave(View(DType::kQ4_0, {3, 16, 64})));
  EXPECT_FALSE(CanInterleave(View(DType::kQ4_0, {33, 64})));
  EXPECT_FALSE(CanInterleave(View(DType::kQ4_0, {3, 8, 64})));
  EXPECT_FALSE(CanInterleave(View(DType::kBF16, {32, 64})));
  TensorView gaps = View(DType::kQ4_0, {32, 64});
  gaps.strides[0] *= 2;
  EXPECT_FALSE(CanInterleave(gaps));
}

LinearArgs InterleavedProduct(int64_t out) {
  LinearArgs args = {.x = View(DType::kF32, {1, 64}),
                     .w = View(DType::kQ4_0, {out, 64}),
                     .out = View(DType::kF32, {1, out})};
  args.w.layout = WeightLayout::kInterleaved;
  return args;
}

TEST(CheckLayoutTest, ProductsTakeInterleavedWeights) {
  EXPECT_TRUE(CheckArgs(InterleavedProduct(48)).ok());
  EXPECT_THAT(CheckArgs(InterleavedProduct(40)).ToString(), HasSubstr("no panels of 16 rows"));
}

TEST(CheckLayoutTest, ExpansionsOfLatentsDoToo) {
  AttentionArgs args = {
      .q = View(DType::kF32, {1, 2, 96}),
      .k = View(DType::kF16, {1, 64, 1, 96}),
      .expansion = {View(DType::kQ4_0, {2, 64, 64}), View(DType::kQ4_0, {2, 32, 64}), true}};
  args.batch = {.seq_start = View(DType::kI32, {2}),
                .kv_len = View(DType::kI32, {1}),
                .page_table = View(DType::kI32, {1, 1})};
  args.out = View(DType::kF32, {1, 2, 32});
  EXPECT_TRUE(CheckArgs(args).ok()) << CheckArgs(args);
  args.expansion.k_up.layout = args.expansion.v_up.layout = WeightLayout::kInterleaved;
  EXPECT_TRUE(CheckArgs(args).ok()) << CheckArgs(args);
}

TEST(CheckLayoutTest, OthersDoNot) {
  EmbedArgs embed = {.ids = View(DType::kI32, {1}),
                     .table = View(DType::kQ4_0, {32, 64}),
                     .out = View(DType::kF32, {1, 64})};
  embed.table.layout = WeightLayout::kInterleaved;
  EXPECT_THAT(CheckArgs(embed).ToString(), HasSubstr("table lies in layout interleaved"));
}

}  // namespace
}  // namespace tandem
