#include "runtime/random_blocks.h"

#include <cmath>
#include <vector>

#include "backends/device/quant.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::Each;
using ::testing::Ge;

std::vector<std::byte> Bytes(const RandomNumbers& numbers, int64_t elements) {
  std::vector<std::byte> bytes(static_cast<size_t>(RowBytes(numbers.dtype, elements)));
  RandomBlocks(numbers).Fill(0, bytes);
  return bytes;
}

std::vector<float> Values(const RandomNumbers& numbers, int64_t elements) {
  const std::vector<std::byte> bytes = Bytes(numbers, elements);
  std::vector<float> values(static_cast<size_t>(elements));
  DequantizeRow(numbers.dtype, bytes.data(), values.data(), elements);
  return values;
}

struct Moments {
  double mean = 0, deviation = 0;
};

Moments MomentsOf(const std::vector<float>& values) {
  double sum = 0, squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(values.size());
  return {sum / count, std::sqrt(squares / count - sum * sum / count / count)};
}

class RandomBlocksTest : public ::testing::TestWithParam<DType> {};

// Large, ordinary, and as small as the weights of a wide model with many layers.
TEST_P(RandomBlocksTest, HaveTheWantedMoments) {
  for (const double deviation : {1.0, 0.02, 0.0008}) {
    const auto values = Values({GetParam(), 0.0, deviation, 7}, 1 << 20);
    const Moments moments = MomentsOf(values);
    EXPECT_NEAR(moments.mean, 0.0, 0.01 * deviation);
    EXPECT_NEAR(moments.deviation, deviation, 0.03 * deviation);
  }
}

// A biased codebook must not show at any place of a block.
TEST_P(RandomBlocksTest, HaveNoMeanAnywhereInABlock) {
  constexpr int kPlaces = 256, kBlocks = 4096;
  const auto values = Values({GetParam(), 0.0, 1.0, 7}, kPlaces * kBlocks);
  for (int place = 0; place < kPlaces; ++place) {
    double sum = 0;
    for (int block = 0; block < kBlocks; ++block) {
      sum += static_cast<double>(values[static_cast<size_t>(kPlaces * block + place)]);
    }
    EXPECT_LT(std::abs(sum / kBlocks), 5.0 / std::sqrt(kBlocks)) << place;
  }
}

// The sums of whole blocks vary as those of independent weights do, within the factor that a shared
// scale and the mean of a codebook cost: what is left of a minimum would show here.
TEST_P(RandomBlocksTest, HaveCentredBlocks) {
  constexpr int kBlock = 32, kBlocks = 1 << 15;
  const auto values = Values({GetParam(), 0.0, 1.0, 7}, kBlock * kBlocks);
  double squares = 0;
  for (int block = 0; block < kBlocks; ++block) {
    double sum = 0;
    for (int i = 0; i < kBlock; ++i) sum += values[static_cast<size_t>(kBlock * block + i)];
    squares += sum * sum;
  }
  const double variance = squares / kBlocks / kBlock;
  EXPECT_GT(variance, 0.9);
  EXPECT_LT(variance, 2.0);
}

TEST_P(RandomBlocksTest, PartsAreThoseOfTheWhole) {
  const RandomNumbers numbers = {GetParam(), 0.0, 1.0, 7};
  const std::vector<std::byte> whole = Bytes(numbers, 4096);
  const RandomBlocks blocks(numbers);
  const auto unit = static_cast<size_t>(blocks.unit_bytes());
  std::vector<std::byte> parts(whole.size());
  const size_t units = whole.size() / unit, cut = units / 3;
  const auto out = std::span(parts);
  blocks.Fill(static_cast<int64_t>(cut), out.subspan(cut * unit));
  blocks.Fill(0, out.first(cut * unit));
  EXPECT_EQ(parts, whole);
}

TEST_P(RandomBlocksTest, DependOnTheKey) {
  EXPECT_EQ(Bytes({GetParam(), 0.0, 1.0, 7}, 256), Bytes({GetParam(), 0.0, 1.0, 7}, 256));
  EXPECT_NE(Bytes({GetParam(), 0.0, 1.0, 7}, 256), Bytes({GetParam(), 0.0, 1.0, 8}, 256));
}

std::vector<DType> WeightTypes() {
  std::vector<DType> types;
  for (const DTypeInfo& info : AllDTypes()) {
    if (info.dtype != DType::kI32) types.push_back(info.dtype);
  }
  return types;
}

INSTANTIATE_TEST_SUITE_P(AllTypes, RandomBlocksTest, ::testing::ValuesIn(WeightTypes()),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST(RandomNumbersTest, HaveAMean) {
  const Moments moments = MomentsOf(Values({DType::kF32, 1.0, 0.05, 3}, 1 << 16));
  EXPECT_NEAR(moments.mean, 1.0, 0.001);
  EXPECT_NEAR(moments.deviation, 0.05, 0.001);
}

TEST(RandomNumbersTest, EndWithPartOfAUnit) {
  std::vector<std::byte> all(40), some(36);
  const RandomBlocks blocks({DType::kF32, 0.0, 1.0, 3});
  blocks.Fill(0, all);
  blocks.Fill(0, some);
  all.resize(some.size());
  EXPECT_EQ(all, some);
}

TEST(RandomNumbersTest, Q8CodesAreSymmetric) {
  const auto bytes = Bytes({DType::kQ8_0, 0.0, 1.0, 3}, 32 * 4096);
  std::vector<int> codes;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i % 34 >= 2) codes.push_back(static_cast<int8_t>(bytes[i]));
  }
  EXPECT_THAT(codes, Each(Ge(-127)));
}

TEST(RandomKeyTest, TellsSeedsAndNamesApart) {
  EXPECT_EQ(RandomKey(1, "a"), RandomKey(1, "a"));
  EXPECT_NE(RandomKey(1, "a"), RandomKey(2, "a"));
  EXPECT_NE(RandomKey(1, "a"), RandomKey(1, "b"));
}

}  // namespace
}  // namespace tandem
