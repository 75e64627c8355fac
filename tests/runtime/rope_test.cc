#include "runtime/rope.h"

#include <cmath>

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(RopeTest, PlainFrequenciesFallGeometrically) {
  const std::vector<float> freqs = RopeFrequencies({.dim = 8, .base = 10000.0});
  ASSERT_EQ(freqs.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(freqs[i], std::pow(10000.0, -0.25 * i));
}

TEST(RopeTest, LinearScalingAndDivisorsDivide) {
  RopeConfig config = {.dim = 4, .base = 100.0, .scaling = RopeScaling::kLinear, .factor = 4.0};
  config.divisors = {1.0f, 2.0f};
  const std::vector<float> freqs = RopeFrequencies(config);
  EXPECT_FLOAT_EQ(freqs[0], 0.25f);
  EXPECT_FLOAT_EQ(freqs[1], 0.0125f);
}

// DeepSeek's published numbers: dim 64, base 1e4, original context 4096: bounds 10 and 23.
TEST(RopeTest, YarnKeepsFastDimensionsAndInterpolatesSlowOnes) {
  const RopeConfig config = {
      .dim = 64, .scaling = RopeScaling::kYarn, .factor = 40.0, .original_context = 4096.0};
  const RopeConfig plain = {.dim = 64};
  const auto scaled = RopeFrequencies(config), base = RopeFrequencies(plain);
  for (size_t i = 0; i <= 10; ++i) EXPECT_FLOAT_EQ(scaled[i], base[i]) << i;
  for (size_t i = 23; i < 32; ++i) EXPECT_FLOAT_EQ(scaled[i], base[i] / 40.0f) << i;
  const float share = 5.0f / 13.0f;  // of pair 15 on the way from 10 to 23
  EXPECT_NEAR(scaled[15] / base[15], (1.0f - share) + share / 40.0f, 1e-5f);
}

TEST(RopeTest, Llama3KeepsShortWavesAndDividesLongOnes) {
  const RopeConfig config = {.dim = 128,
                             .base = 500000.0,
                             .scaling = RopeScaling::kLlama3,
                             .factor = 8.0,
                             .original_context = 8192.0};
  const RopeConfig plain = {.dim = 128, .base = 500000.0};
  const auto scaled = RopeFrequencies(config), base = RopeFrequencies(plain);
  for (size_t i = 0; i < scaled.size(); ++i) {
    const double wave = 2.0 * M_PI / base[i];
    if (wave < 8192.0 / 4.0) {
      EXPECT_FLOAT_EQ(scaled[i], base[i]);
    }
    if (wave > 8192.0) {
      EXPECT_FLOAT_EQ(scaled[i], base[i] / 8.0f);
    }
  }
}

TEST(RopeTest, Magnitudes) {
  RopeConfig config = {
      .dim = 64, .scaling = RopeScaling::kYarn, .factor = 40.0, .original_context = 4096.0};
  EXPECT_NEAR(RopeMagnitude(config), 1.0 + 0.1 * std::log(40.0), 1e-12);
  EXPECT_EQ(RopeScoreFactor(config), 1.0);
  config.mscale = config.mscale_all_dim = 0.707;
  EXPECT_EQ(RopeMagnitude(config), 1.0);
  // DeepSeek-V2-Lite: m = 1.2608.
  EXPECT_NEAR(RopeScoreFactor(config), 1.2608 * 1.2608, 1e-3);
  config.attention_factor = 0.5;
  EXPECT_EQ(RopeMagnitude(config), 0.5);
}

TEST(RopeTest, WrongNumbersAreRefused) {
  EXPECT_TRUE(ValidateRope({.dim = 64}).ok());
  EXPECT_FALSE(ValidateRope({.dim = 63}).ok());
  EXPECT_FALSE(ValidateRope({.dim = 64, .base = 0.0}).ok());
  EXPECT_FALSE(ValidateRope({.dim = 64, .factor = NAN}).ok());
  EXPECT_FALSE(ValidateRope({.dim = 64, .scaling = RopeScaling::kYarn}).ok());
}

}  // namespace
}  // namespace tandem
