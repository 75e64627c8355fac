#include "runtime/sampler.h"

#include <cmath>
#include <limits>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using testing::HasSubstr;

Sampler Make(const SamplerOptions& options) {
  auto sampler = Sampler::Create(options);
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  return *std::move(sampler);
}

// How often each token comes up in 20000 draws.
std::map<int32_t, double> Frequencies(const SamplerOptions& options,
                                      const std::vector<float>& logits) {
  Sampler sampler = Make(options);
  std::map<int32_t, double> counts;
  for (int i = 0; i < 20000; ++i) counts[*sampler.Sample(logits, {})] += 1.0 / 20000;
  return counts;
}

TEST(SamplerTest, GreedyTakesTheFirstOfTheBest) {
  Sampler sampler = Make({});
  EXPECT_EQ(*sampler.Sample(std::vector<float>{1, 3, 2, 3}, {}), 1);
}

TEST(SamplerTest, TemperatureOneDrawsFromTheSoftmax) {
  const std::vector<float> logits = {0.0f, std::log(2.0f), std::log(5.0f)};
  auto counts = Frequencies({.temperature = 1.0f, .seed = 1}, logits);
  EXPECT_NEAR(counts[0], 0.125, 0.01);
  EXPECT_NEAR(counts[1], 0.25, 0.01);
  EXPECT_NEAR(counts[2], 0.625, 0.01);
}

TEST(SamplerTest, TopKTopPAndMinPDropTheUnlikely) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f),
                                     std::log(0.05f)};
  EXPECT_EQ(Frequencies({.temperature = 1.0f, .top_k = 2}, logits).size(), 2u);
  // 0.5 + 0.3 does not reach 0.9, with 0.15 it does.
  EXPECT_EQ(Frequencies({.temperature = 1.0f, .top_p = 0.9f}, logits).size(), 3u);
  // 0.15 is below 0.4 * 0.5.
  EXPECT_EQ(Frequencies({.temperature = 1.0f, .min_p = 0.4f}, logits).size(), 2u);
  auto counts = Frequencies({.temperature = 1.0f, .top_k = 2, .seed = 3}, logits);
  EXPECT_NEAR(counts[0], 0.625, 0.01);
}

TEST(SamplerTest, RepeatPenaltyWeakensRecentTokens) {
  Sampler sampler = Make({.repeat_penalty = 2.0f, .repeat_window = 2});
  const std::vector<float> logits = {4.0f, 3.0f, 1.0f, -1.0f};
  EXPECT_EQ(*sampler.Sample(logits, std::vector<int32_t>{0}), 1);
  // Token 0 lies outside the window.
  EXPECT_EQ(*sampler.Sample(logits, std::vector<int32_t>{0, 2, 3}), 0);
}

TEST(SamplerTest, SameSeedSameTokens) {
  const std::vector<float> logits(50, 0.0f);
  std::vector<int32_t> a, b, c;
  Sampler first = Make({.temperature = 1.0f, .seed = 7}),
          again = Make({.temperature = 1.0f, .seed = 7}),
          other = Make({.temperature = 1.0f, .seed = 8});
  for (int i = 0; i < 20; ++i) {
    a.push_back(*first.Sample(logits, {}));
    b.push_back(*again.Sample(logits, {}));
    c.push_back(*other.Sample(logits, {}));
  }
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
}

TEST(SamplerTest, NanIsNeverChosenAndAllNanIsAnError) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Sampler sampler = Make({});
  EXPECT_EQ(*sampler.Sample(std::vector<float>{nan, -5.0f, nan}, {}), 1);
  Sampler random = Make({.temperature = 1.0f, .seed = 3});
  for (int i = 0; i < 200; ++i) {
    const int32_t id = *random.Sample(std::vector<float>{nan, 0.5f, 0.25f, nan}, {});
    EXPECT_TRUE(id == 1 || id == 2) << id;
  }
  EXPECT_EQ(sampler.Sample(std::vector<float>{nan, nan}, {}).status().code(),
            absl::StatusCode::kInternal);
}

// The same candidates in any filter's order give the same choice: a filter that keeps all that has
// a probability changes nothing.
TEST(SamplerTest, TheOrderThatFiltersLeaveDoesNotMatter) {
  std::vector<float> logits(300, -std::numeric_limits<float>::infinity());
  for (size_t i = 0; i < 40; ++i) logits[7 * i] = static_cast<float>(i * i % 11) * 0.3f;
  Sampler plain = Make({.temperature = 1.0f, .seed = 5});
  Sampler filtered = Make({.temperature = 1.0f, .top_k = 40, .seed = 5});
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(*plain.Sample(logits, {}), *filtered.Sample(logits, {}));
  }
}

// Differences of infinite logits are not numbers; they must not turn the choice upside down.
TEST(SamplerTest, AnInfiniteLogitIsChosen) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float temperature : {0.0f, 1.0f}) {
    Sampler sampler = Make({.temperature = temperature});
    EXPECT_EQ(*sampler.Sample(std::vector<float>{1.0f, infinity, -infinity, 0.0f}, {}), 1);
  }
  Sampler penalized = Make({.temperature = 1.0f, .repeat_penalty = 1e-30f});
  const std::vector<int32_t> history = {2};
  EXPECT_EQ(*penalized.Sample(std::vector<float>{1.0f, 2.0f, 1e30f}, history), 2);
}

TEST(SamplerTest, OptionsOutOfRangeAreNamed) {
  const std::pair<SamplerOptions, const char*> wrong[] = {
      {{.temperature = -1.0f}, "temperature"},
      {{.temperature = std::numeric_limits<float>::infinity()}, "temperature"},
      {{.top_k = -1}, "top-k"},
      {{.top_p = 0.0f}, "top-p"},
      {{.min_p = 1.5f}, "min-p"},
      {{.repeat_penalty = 0.0f}, "repeat penalty"},
      {{.repeat_window = -1}, "repeat window"}};
  for (const auto& [options, name] : wrong) {
    const auto status = Sampler::Create(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

}  // namespace
}  // namespace tandem
