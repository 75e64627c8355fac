#include "backends/device/quant.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "backends/device/float16.h"
#include "backends/device/quant_blocks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using testing::Each;
using testing::HasSubstr;

constexpr int64_t kRow = 4096;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> Gaussian(int64_t n, float deviation, int seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution(0, deviation);
  std::vector<float> values(n);
  for (float& value : values) value = distribution(generator);
  return values;
}

// A slow wave: groups with one sign only, and all phases.
std::vector<float> Wave(int64_t n) {
  std::vector<float> values(n);
  for (int64_t i = 0; i < n; ++i) values[i] = 0.1f + 2 * std::cos(static_cast<float>(i));
  return values;
}

const float* DataOrNull(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

std::vector<uint8_t> Encode(DType dtype, const std::vector<float>& x,
                            const std::vector<float>& importance = {}) {
  const auto n = static_cast<int64_t>(x.size());
  std::vector<uint8_t> bytes(RowBytes(dtype, n));
  const absl::Status status = QuantizeRow(dtype, x.data(), bytes.data(), n, DataOrNull(importance));
  EXPECT_TRUE(status.ok()) << status;
  return bytes;
}

std::vector<float> Decode(DType dtype, const std::vector<uint8_t>& bytes, size_t n) {
  std::vector<float> y(n);
  DequantizeRow(dtype, bytes.data(), y.data(), static_cast<int64_t>(n));
  return y;
}

std::vector<float> RoundTrip(DType dtype, const std::vector<float>& x,
                             const std::vector<float>& importance = {}) {
  return Decode(dtype, Encode(dtype, x, importance), x.size());
}

double SquaredError(const std::vector<float>& x, const std::vector<float>& y, size_t begin,
                    size_t end) {
  double sum = 0;
  for (size_t i = begin; i < end; ++i) sum += std::pow(static_cast<double>(x[i]) - y[i], 2);
  return sum;
}

// Root of the mean square error, in units of the root mean square of x.
double RelativeRmse(const std::vector<float>& x, const std::vector<float>& y) {
  return std::sqrt(SquaredError(x, y, 0, x.size()) /
                   SquaredError(x, std::vector<float>(x.size()), 0, x.size()));
}

struct ErrorBound {
  DType dtype;
  double gaussian;  // relative RMSE on normal deviates
  double wave;      // relative RMSE on Wave
};

// 1 to 2 % above what the encoders reach.
constexpr ErrorBound kErrorBounds[] = {
    {DType::kF32, 0, 0},
    {DType::kF16, 0.00022, 0.00022},
    {DType::kBF16, 0.0018, 0.0018},
    {DType::kQ4_0, 0.0818, 0.0497},
    {DType::kQ4_1, 0.0695, 0.0435},
    {DType::kQ5_0, 0.0406, 0.0253},
    {DType::kQ5_1, 0.0337, 0.0225},
    {DType::kQ8_0, 0.00496, 0.00301},
    {DType::kIQ4_NL, 0.0743, 0.0562},
    {DType::kMXFP4, 0.113, 0.0862},
    {DType::kQ2_K, 0.262, 0.2},
    {DType::kQ3_K, 0.1455, 0.1095},
    {DType::kQ4_K, 0.0702, 0.0435},
    {DType::kQ5_K, 0.0348, 0.0235},
    {DType::kQ6_K, 0.01695, 0.0111},
    {DType::kIQ4_XS, 0.0749, 0.0567},
};

class QuantTest : public testing::TestWithParam<ErrorBound> {
 protected:
  DType dtype() const { return GetParam().dtype; }
  int block_size() const { return GetDTypeInfo(dtype()).block_size; }
};

TEST_P(QuantTest, ErrorIsSmall) {
  const std::vector<float> weights = Gaussian(16 * kRow, 0.02f, 1), wave = Wave(16 * kRow);
  EXPECT_LE(RelativeRmse(weights, RoundTrip(dtype(), weights)), GetParam().gaussian);
  EXPECT_LE(RelativeRmse(wave, RoundTrip(dtype(), wave)), GetParam().wave);
}

TEST_P(QuantTest, ErrorDoesNotDependOnTheSizeOfTheNumbers) {
  for (const float deviation : {0.003f, 50.0f}) {
    const std::vector<float> x = Gaussian(4 * kRow, deviation, 2);
    EXPECT_LE(RelativeRmse(x, RoundTrip(dtype(), x)), 1.05 * GetParam().gaussian) << deviation;
  }
}

TEST_P(QuantTest, WritesItsOwnBytesOnly) {
  const std::vector<float> x = Gaussian(256, 1, 3);
  const int64_t bytes = RowBytes(dtype(), 256);
  std::vector<uint8_t> guarded(bytes + 64, 0xA5);
  ASSERT_TRUE(QuantizeRow(dtype(), x.data(), guarded.data(), 256, nullptr).ok());
  EXPECT_THAT(std::vector<uint8_t>(guarded.begin() + bytes, guarded.end()), Each(0xA5));
}

TEST_P(QuantTest, ZerosStayZeros) {
  const std::vector<float> zeros(512);
  EXPECT_EQ(RoundTrip(dtype(), zeros), zeros);
  EXPECT_EQ(RoundTrip(dtype(), zeros, zeros), zeros);
}

TEST_P(QuantTest, DenormalsGiveNoLargerNumbers) {
  for (const float size : {std::numeric_limits<float>::denorm_min(), 1e-40f, 1e-30f, 1e-9f}) {
    std::vector<float> x = Gaussian(256, size, 4);
    x[7] = size;
    const std::vector<float> y = RoundTrip(dtype(), x);
    for (size_t i = 0; i < x.size(); ++i) {
      // fp16, and so the scales, has steps of 2^-24; blocks below half of that are zero.
      ASSERT_LE(std::abs(y[i] - x[i]), std::max(2 * size, std::abs(x[i]))) << i << " of " << size;
    }
  }
}

TEST_P(QuantTest, NumbersNearTheSmallestScaleKeepTheirSize) {
  // A tenth of the largest number of a block is still more than one step of 2^-24.
  const std::vector<float> x = Gaussian(2048, 2e-6f, 5);
  EXPECT_LE(RelativeRmse(x, RoundTrip(dtype(), x)), std::max(0.02, 1.6 * GetParam().gaussian));
}

TEST_P(QuantTest, HugeNumbersSaturate) {
  for (const float huge : {1e30f, -1e30f, std::numeric_limits<float>::max()}) {
    std::vector<float> x = Gaussian(512, 1, 6);
    for (const size_t i : {3, 300, 301}) x[i] = huge;
    const std::vector<float> y = RoundTrip(dtype(), x);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_TRUE(std::isfinite(y[i])) << i;
    for (const size_t i : {3, 300, 301}) EXPECT_GE(y[i] * (huge > 0 ? 1 : -1), 60000) << i;
  }
  std::vector<float> alternating(256, std::numeric_limits<float>::max());
  for (size_t i = 0; i < alternating.size(); i += 2) alternating[i] *= -1;
  for (const float y : RoundTrip(dtype(), alternating)) ASSERT_TRUE(std::isfinite(y));
}

TEST_P(QuantTest, ConstantRowsKeepTheirValue) {
  for (const float value : {0.75f, -0.0123f}) {
    const std::vector<float> x(256, value);
    const double tolerance = dtype() == DType::kMXFP4 ? 0.2 : 0.01;
    EXPECT_LE(RelativeRmse(x, RoundTrip(dtype(), x)), tolerance) << value;
  }
}

TEST_P(QuantTest, EncodingAgainLosesLittle) {
  const std::vector<float> once = RoundTrip(dtype(), Gaussian(kRow, 1, 7));
  EXPECT_LE(RelativeRmse(once, RoundTrip(dtype(), once)), 0.3 * GetParam().gaussian);
}

TEST_P(QuantTest, OnlyTheRatiosOfImportanceCount) {
  const std::vector<float> x = Gaussian(1024, 1, 9);
  const std::vector<uint8_t> plain = Encode(dtype(), x);
  for (const float equal : {0.0f, 1.0f, 1e-45f, 7.0f, 3e38f}) {
    EXPECT_EQ(Encode(dtype(), x, std::vector<float>(x.size(), equal)), plain) << equal;
  }
  std::vector<float> importance = Gaussian(1024, 1, 10), scaled(1024);
  for (float& w : importance) w *= w;
  for (size_t i = 0; i < 1024; ++i) scaled[i] = std::ldexp(importance[i], 40);
  EXPECT_EQ(Encode(dtype(), x, scaled), Encode(dtype(), x, importance));
}

TEST_P(QuantTest, ColumnsWithoutImportanceStayReasonable) {
  const std::vector<float> x = Gaussian(kRow, 1, 11);
  std::vector<float> importance(x.size(), 0);
  for (size_t i = 0; i < x.size(); i += 256) importance[i] = 1;
  EXPECT_LE(RelativeRmse(x, RoundTrip(dtype(), x, importance)),
            std::max(0.6, 2 * GetParam().gaussian));
}

TEST_P(QuantTest, RefusesNumbersThatAreNotFinite) {
  std::vector<uint8_t> bytes(RowBytes(dtype(), 512));
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    std::vector<float> x = Gaussian(512, 1, 12), importance(512, 1);
    x[317] = bad;
    const absl::Status status = QuantizeRow(dtype(), x.data(), bytes.data(), 512, nullptr);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("index 317"));
    importance[5] = bad;
    x[317] = 0;
    const absl::Status weight =
        QuantizeRow(dtype(), x.data(), bytes.data(), 512, importance.data());
    EXPECT_EQ(weight.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(weight.message()), HasSubstr("index 5 "));
  }
}

TEST_P(QuantTest, RefusesPartsOfBlocks) {
  const std::vector<float> x(512);
  std::vector<uint8_t> bytes(RowBytes(dtype(), 512));
  EXPECT_EQ(QuantizeRow(dtype(), x.data(), bytes.data(), -block_size(), nullptr).code(),
            absl::StatusCode::kInvalidArgument);
  if (block_size() == 1) return;
  const absl::Status status =
      QuantizeRow(dtype(), x.data(), bytes.data(), block_size() + 16, nullptr);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::to_string(block_size() + 16)));
}

INSTANTIATE_TEST_SUITE_P(Types, QuantTest, testing::ValuesIn(kErrorBounds),
                         [](const auto& info) { return std::string(DTypeName(info.param.dtype)); });

class ImportanceTest : public QuantTest {};

TEST_P(ImportanceTest, ImportantColumnsGainAndTheWeightedErrorFalls) {
  const std::vector<float> x = Gaussian(4 * kRow, 1, 8);
  std::vector<float> importance(x.size(), 1);
  for (size_t i = 0; i < x.size(); i += 8) importance[i] = 100;
  const std::vector<float> plain = RoundTrip(dtype(), x), aware = RoundTrip(dtype(), x, importance);
  double plain_important = 0, aware_important = 0, plain_weighted = 0, aware_weighted = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double a = SquaredError(x, plain, i, i + 1), b = SquaredError(x, aware, i, i + 1);
    plain_weighted += importance[i] * a;
    aware_weighted += importance[i] * b;
    plain_important += importance[i] > 1 ? a : 0;
    aware_important += importance[i] > 1 ? b : 0;
  }
  EXPECT_LT(aware_important, 0.9 * plain_important);
  EXPECT_LT(aware_weighted, 0.92 * plain_weighted);
}

// The types with scales to choose: MXFP4 has nothing but an exponent, plain numbers nothing at all.
std::vector<ErrorBound> TypesWithScales() {
  std::vector<ErrorBound> types;
  std::copy_if(std::begin(kErrorBounds), std::end(kErrorBounds), std::back_inserter(types),
               [](const ErrorBound& bound) {
                 return IsQuantized(bound.dtype) && bound.dtype != DType::kMXFP4;
               });
  return types;
}

INSTANTIATE_TEST_SUITE_P(Types, ImportanceTest, testing::ValuesIn(TypesWithScales()),
                         [](const auto& info) { return std::string(DTypeName(info.param.dtype)); });

TEST(QuantizeRowTest, RefusesNegativeImportanceAndIntegers) {
  const std::vector<float> x(32);
  std::vector<float> importance(32, 1);
  std::vector<uint8_t> bytes(128);
  importance[31] = -1;
  const absl::Status status =
      QuantizeRow(DType::kIQ4_NL, x.data(), bytes.data(), 32, importance.data());
  EXPECT_THAT(std::string(status.message()), HasSubstr("importance -1 at index 31"));
  EXPECT_EQ(QuantizeRow(DType::kI32, x.data(), bytes.data(), 32, nullptr).code(),
            absl::StatusCode::kInvalidArgument);
}

// One scale, which puts the largest number on the code for -127; nearest codes.
std::vector<float> AnchoredIQ4(const std::vector<float>& x) {
  std::vector<float> y(x.size());
  for (size_t begin = 0; begin < x.size(); begin += 32) {
    const float peak =
        *std::max_element(x.begin() + begin, x.begin() + begin + 32,
                          [](float a, float b) { return std::abs(a) < std::abs(b); });
    const float d = F16ToF32(F32ToF16(peak / kIQ4Values[0]));
    for (size_t i = begin; i < begin + 32; ++i) {
      y[i] = d * *std::min_element(std::begin(kIQ4Values), std::end(kIQ4Values), [&](int a, int b) {
               return std::abs(x[i] - d * a) < std::abs(x[i] - d * b);
             });
    }
  }
  return y;
}

TEST(QuantizeRowTest, IQ4NLBeatsAnAnchoredScaleInEveryBlock) {
  const std::vector<float> x = Gaussian(16 * kRow, 1, 13);
  const std::vector<float> anchored = AnchoredIQ4(x), searched = RoundTrip(DType::kIQ4_NL, x);
  for (size_t begin = 0; begin < x.size(); begin += 32) {
    // The rounding of d to fp16 comes after the search.
    ASSERT_LE(SquaredError(x, searched, begin, begin + 32),
              1.001 * SquaredError(x, anchored, begin, begin + 32));
  }
  EXPECT_LT(RelativeRmse(x, searched), 0.93 * RelativeRmse(x, anchored));
}

class OnePassTest : public testing::TestWithParam<DType> {
 protected:
  // The row as the one-pass encoder leaves it.
  std::vector<float> RoundTripOnePass(const std::vector<float>& x) const {
    std::vector<uint8_t> bytes(RowBytes(GetParam(), static_cast<int64_t>(x.size())));
    const absl::Status status =
        QuantizeRowOnePass(GetParam(), x.data(), bytes.data(), static_cast<int64_t>(x.size()));
    EXPECT_TRUE(status.ok()) << status;
    return Decode(GetParam(), bytes, x.size());
  }
};

TEST_P(OnePassTest, StaysWithinOneStep) {
  const std::vector<float> x = Gaussian(kRow, 3, 14), y = RoundTripOnePass(x);
  const float codes = GetParam() == DType::kQ8_0 ? 127 : 8;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto block = x.begin() + i / 32 * 32;
    const float largest = std::abs(*std::max_element(
        block, block + 32, [](float a, float b) { return std::abs(a) < std::abs(b); }));
    // Half a step; a whole one at the end of Q4_0's range that has a code less.
    const float steps = std::abs(x[i]) > 0.9f * largest && codes == 8 ? 1.01f : 0.51f;
    ASSERT_LE(std::abs(x[i] - y[i]), steps * largest / codes) << i;
  }
}

TEST_P(OnePassTest, SearchIsNotWorse) {
  const std::vector<float> x = Gaussian(4 * kRow, 1, 15);
  EXPECT_LT(RelativeRmse(x, RoundTrip(GetParam(), x)), 0.96 * RelativeRmse(x, RoundTripOnePass(x)));
}

TEST_P(OnePassTest, HandlesZerosAndHugeNumbers) {
  const std::vector<float> zeros(64);
  EXPECT_EQ(RoundTripOnePass(zeros), zeros);
  std::vector<float> x(64, -1e-42f);
  EXPECT_THAT(RoundTripOnePass(x), Each(0.0f));
  x.assign(64, 1e30f);
  EXPECT_THAT(RoundTripOnePass(x), Each(testing::AllOf(testing::Ge(65504), testing::Lt(1e7f))));
}

TEST_P(OnePassTest, ShowsFaultsInTheirBlockOnly) {
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    std::vector<float> x(96, 1);
    x[40] = bad;
    const std::vector<float> y = RoundTripOnePass(x);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 32 == 1) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, OnePassTest, testing::Values(DType::kQ4_0, DType::kQ8_0),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST(QuantizeRowOnePassTest, CoversPlainTypesAndRefusesOthers) {
  const float x[2] = {1.5f, 1e30f};
  uint16_t halves[2];
  ASSERT_TRUE(QuantizeRowOnePass(DType::kF16, x, halves, 2).ok());
  EXPECT_EQ(F16ToF32(halves[0]), 1.5f);
  EXPECT_EQ(F16ToF32(halves[1]), kF16Max);
  const std::vector<float> row(256);
  std::vector<uint8_t> bytes(256);
  EXPECT_EQ(QuantizeRowOnePass(DType::kQ4_K, row.data(), bytes.data(), 256).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(QuantizeRowOnePass(DType::kQ8_0, row.data(), bytes.data(), 33).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tandem
