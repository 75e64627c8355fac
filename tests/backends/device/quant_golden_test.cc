// DequantizeRow against an independent implementation: scripts/make_quant_goldens.py.
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "backends/device/quant.h"
#include "backends/device/quant_blocks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

class QuantGoldenTest : public testing::TestWithParam<DTypeInfo> {};

TEST_P(QuantGoldenTest, DecodesToTheSameFloats) {
  const DTypeInfo& info = GetParam();
  const std::string path = TANDEM_SOURCE_DIR "/tests/data/quant/" + std::string(info.name) + ".bin";
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const size_t float_bytes = sizeof(float) * info.block_size;
  const size_t blocks = bytes.size() / (info.block_bytes + float_bytes);
  ASSERT_GE(blocks, 6u) << path;
  ASSERT_EQ(bytes.size(), blocks * (info.block_bytes + float_bytes)) << path;
  std::vector<float> expected(blocks * info.block_size), decoded(expected.size());
  std::memcpy(expected.data(), bytes.data() + blocks * info.block_bytes, blocks * float_bytes);
  DequantizeRow(info.dtype, bytes.data(), decoded.data(), static_cast<int64_t>(decoded.size()));
  EXPECT_EQ(decoded, expected);
}

std::vector<DTypeInfo> BlockTypes() {
  std::vector<DTypeInfo> types;
  for (const DTypeInfo& info : AllDTypes()) {
    if (IsQuantized(info.dtype)) types.push_back(info);
  }
  return types;
}

INSTANTIATE_TEST_SUITE_P(Types, QuantGoldenTest, testing::ValuesIn(BlockTypes()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(QuantBlocksTest, EachBlockTypeHasAStructOfItsSize) {
  for (const DTypeInfo& info : AllDTypes()) {
    size_t size = 0;
    const bool found = VisitBlockType(info.dtype, [&]<class Block>(std::type_identity<Block>) {
      EXPECT_EQ(Block::kType, info.dtype);
      size = sizeof(Block);
    });
    EXPECT_EQ(found, IsQuantized(info.dtype)) << info.name;
    EXPECT_EQ(size, found ? info.block_bytes : 0) << info.name;
  }
}

TEST(DequantizeRowTest, DecodesPlainNumbers) {
  const uint16_t halves[] = {0x3C00, 0xC000, 0x0001}, bf16s[] = {0x3F80, 0xC000, 0x7F7F};
  const int32_t integers[] = {1, -2, 16777217};
  std::vector<float> decoded(3);
  DequantizeRow(DType::kF16, halves, decoded.data(), 3);
  EXPECT_THAT(decoded, testing::ElementsAre(1.0f, -2.0f, 0x1p-24f));
  DequantizeRow(DType::kBF16, bf16s, decoded.data(), 3);
  EXPECT_THAT(decoded, testing::ElementsAre(1.0f, -2.0f, 0x1.FEp127f));
  DequantizeRow(DType::kI32, integers, decoded.data(), 3);
  EXPECT_THAT(decoded, testing::ElementsAre(1.0f, -2.0f, 16777216.0f));
}

}  // namespace
}  // namespace tandem
