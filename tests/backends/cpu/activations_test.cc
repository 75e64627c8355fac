#include "backends/cpu/activations.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "backends/cpu/kernel_set.h"
#include "backends/device/tensor.h"
#include "gtest/gtest.h"

namespace tandem::cpu {
namespace {

constexpr int kGroup = ActivationSpan::kGroup, kGroups = ActivationSpan::kGroups;

std::vector<float> RandomRow(int64_t n) {
  std::mt19937 engine(7);
  std::normal_distribution<float> normal;
  std::vector<float> row(static_cast<size_t>(n));
  for (float& x : row) x = normal(engine);
  return row;
}

// The spans of a row, written over bytes that are all ones.
std::vector<ActivationSpan> Quantize(const std::vector<float>& row) {
  const auto n = static_cast<int64_t>(row.size());
  std::vector<ActivationSpan> spans(static_cast<size_t>(ActivationBytes(n)) /
                                    sizeof(ActivationSpan));
  std::memset(static_cast<void*>(spans.data()), 0xff, spans.size() * sizeof(ActivationSpan));
  QuantizeActivations(row.data(), n, reinterpret_cast<std::byte*>(spans.data()));
  return spans;
}

TEST(ActivationsTest, RowsAreRoundedUpToSpans) {
  const auto span = static_cast<int64_t>(sizeof(ActivationSpan));
  EXPECT_EQ(ActivationBytes(32), span);
  EXPECT_EQ(ActivationBytes(256), span);
  EXPECT_EQ(ActivationBytes(288), 2 * span);
}

TEST(ActivationsTest, QuantsAreTheNearestAndTheLargestIs127) {
  const std::vector<float> row = RandomRow(512);
  const auto spans = Quantize(row);
  ASSERT_EQ(spans.size(), 2u);
  for (size_t g = 0; g < row.size() / kGroup; ++g) {
    const ActivationSpan& span = spans[g / kGroups];
    const float scale = span.scales[g % kGroups];
    int largest = 0;
    for (int i = 0; i < kGroup; ++i) {
      const int q = span.quants[g % kGroups * kGroup + i];
      EXPECT_LE(std::abs(row[g * kGroup + i] - scale * static_cast<float>(q)), 0.5001f * scale);
      largest = std::max(largest, std::abs(q));
    }
    EXPECT_EQ(largest, 127) << "group " << g;
  }
}

TEST(ActivationsTest, SumsAreThoseOfTheQuants) {
  const auto spans = Quantize(RandomRow(768));
  for (const ActivationSpan& span : spans) {
    for (int g = 0; g < kGroups; ++g) {
      const int8_t* q = span.quants + g * kGroup;
      const int first = std::accumulate(q, q + kGroup / 2, 0);
      const int second = std::accumulate(q + kGroup / 2, q + kGroup, 0);
      EXPECT_EQ(span.sums[g], span.scales[g] * static_cast<float>(first + second));
      EXPECT_EQ(span.bias[g], -128 * (first + second));
      EXPECT_EQ(span.half_bias[2 * g], -128 * first);
      EXPECT_EQ(span.half_bias[2 * g + 1], -128 * second);
    }
  }
}

TEST(ActivationsTest, WhatIsMissingOfTheLastSpanIsZero) {
  for (const int64_t n : {32, 224, 288, 480}) {
    const auto spans = Quantize(RandomRow(n));
    const ActivationSpan& last = spans.back();
    const auto live = static_cast<int>((n / kGroup - 1) % kGroups + 1);
    EXPECT_GT(last.scales[live - 1], 0.0f) << n;
    for (int g = live; g < kGroups; ++g) {
      const int8_t* q = last.quants + g * kGroup;
      EXPECT_TRUE(std::all_of(q, q + kGroup, [](int8_t x) { return x == 0; })) << n;
      EXPECT_EQ(last.scales[g], 0.0f);
      EXPECT_EQ(last.sums[g], 0.0f);
      EXPECT_EQ(last.bias[g], 0);
      EXPECT_EQ(last.half_bias[2 * g], 0);
      EXPECT_EQ(last.half_bias[2 * g + 1], 0);
    }
  }
}

TEST(ActivationsTest, APartOfTheGroupsAtATimeGivesTheSameBytes) {
  const std::vector<float> row = RandomRow(480);
  const auto whole = Quantize(row);
  std::vector<ActivationSpan> parts(whole.size());
  std::memset(static_cast<void*>(parts.data()), 0xff, parts.size() * sizeof(ActivationSpan));
  auto* bytes = reinterpret_cast<std::byte*>(parts.data());
  const int64_t borders[] = {0, 1, 7, 8, 11, 15};
  for (size_t i = 1; i < std::size(borders); ++i) {
    QuantizeGroups(&row[borders[i - 1] * kGroup], borders[i - 1], borders[i], 480, bytes);
  }
  EXPECT_EQ(std::memcmp(parts.data(), whole.data(), whole.size() * sizeof(ActivationSpan)), 0);
}

TEST(ActivationsTest, ZerosAndTheSmallestNumbersGiveAScaleOfZero) {
  for (const float x : {0.0f, -0.0f, 1e-31f, std::numeric_limits<float>::denorm_min()}) {
    const auto spans = Quantize(std::vector<float>(32, x));
    EXPECT_EQ(spans[0].scales[0], 0.0f) << x;
    EXPECT_EQ(spans[0].sums[0], 0.0f) << x;
  }
}

// An f16 scale or sum would not hold these.
TEST(ActivationsTest, LargeNumbersStayFinite) {
  for (const float large : {1e6f, 1e36f}) {
    const auto spans = Quantize(std::vector<float>(32, -large));
    EXPECT_EQ(spans[0].quants[5], -127);
    EXPECT_FLOAT_EQ(spans[0].scales[0], large / 127.0f);
    EXPECT_FLOAT_EQ(spans[0].sums[0], -32.0f * large);
  }
}

TEST(ActivationsTest, AGroupThatIsNotFiniteShowsAndLeavesTheOthers) {
  const std::vector<float> good = RandomRow(256);
  const auto expected = Quantize(good);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (int at = 64; at < 96; ++at) {  // group 2
      std::vector<float> row = good;
      row[static_cast<size_t>(at)] = bad;
      const auto spans = Quantize(row);
      EXPECT_FALSE(std::isfinite(spans[0].scales[2])) << bad << " at " << at;
      EXPECT_FALSE(std::isfinite(spans[0].sums[2])) << bad << " at " << at;
      for (const int g : {0, 1, 3, 7}) EXPECT_EQ(spans[0].scales[g], expected[0].scales[g]);
    }
  }
}

TEST(SharedActivationsTest, FindsTheSameRowsWithTheSameCountAlone) {
  std::vector<float> data(4 * 64);
  const int32_t live = 2;
  std::byte first{}, second{}, third{}, fourth{};
  const TensorView x = MakeView(data.data(), DType::kF32, {4, 64});
  TensorView half = x;  // the same rows, but half as wide
  half.shape.dims[1] = 32;
  SharedActivations shared;
  EXPECT_EQ(shared.Find(x, nullptr, &first), nullptr);
  EXPECT_EQ(shared.Find(x, &live, &second), nullptr);
  EXPECT_EQ(shared.Find(half, nullptr, &third), nullptr);
  EXPECT_EQ(shared.Find(x, nullptr, &fourth), &first);
  EXPECT_EQ(shared.Find(x, &live, &fourth), &second);
  EXPECT_EQ(shared.Find(half, nullptr, &fourth), &third);
}

}  // namespace
}  // namespace tandem::cpu
