#include "tools/bench/check.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tools/bench/runner.h"

namespace tandem {
namespace {

std::shared_ptr<const Model> OpenModel(const std::string& path) {
  auto model = Model::Open(TANDEM_SOURCE_DIR "/" + path);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

TEST(RelativeRmsTest, IsTheNormOfTheDifference) {
  const std::vector<float> want = {3, 4}, got = {3, 4.5f}, nan = {3, NAN}, zero = {0, 0};
  EXPECT_EQ(RelativeRms(want, want), 0);
  EXPECT_DOUBLE_EQ(RelativeRms(got, want), 0.1);
  EXPECT_TRUE(std::isnan(RelativeRms(nan, want)));
  EXPECT_TRUE(std::isinf(RelativeRms(std::vector<float>{3}, want)));
  EXPECT_TRUE(std::isinf(RelativeRms(got, zero)));
  EXPECT_EQ(RelativeRms(zero, zero), 0);
  EXPECT_FALSE((LogitsCheck{std::nan(""), 1, 1}.ok()));
  EXPECT_TRUE((LogitsCheck{0.5, 0.5, 1}.ok()));
  EXPECT_FALSE((LogitsCheck{0.51, 0.5, 1}.ok()));
}

TEST(LogitsToleranceTest, DependsOnWhatIsRounded) {
  const auto dense = OpenModel("tests/data/golden/llama");
  const auto experts = OpenModel("models/stories-iq4_nl.gguf");
  EXPECT_EQ(MainWeightType(*experts), DType::kIQ4_NL);
  EXPECT_EQ(LogitsTolerance(*dense, DType::kF32), 1e-3);
  EXPECT_EQ(LogitsTolerance(*dense, DType::kF16), 1e-2);
  EXPECT_EQ(LogitsTolerance(*dense, DType::kQ8_0), 3e-2);
  EXPECT_EQ(LogitsTolerance(*experts, DType::kF32), 1e-1);
}

TEST(CheckLogitsTest, FindsThatTheCpuIsRight) {
  for (const char* path :
       {"tests/data/golden/llama", "tests/data/golden/deepseek_v3", "models/stories-iq4_nl.gguf"}) {
    EngineOptions options;
    options.kv_type = DType::kF32;
    options.threads = 2;
    const auto model = OpenModel(path);
    const auto check = CheckLogits(model, options);
    ASSERT_TRUE(check.ok()) << check.status();
    EXPECT_TRUE(check->ok()) << path << ": " << check->error;
    EXPECT_GT(check->error, 0);  // it is another way to compute them
    EXPECT_EQ(check->layers, model->config().layers);
  }
}

TEST(CheckLogitsTest, FindsThatADeviceIsWrong) {
  EngineOptions options;
  options.devices = {TANDEM_PLUGIN_WRONG, "cpu"};
  const auto check = CheckLogits(OpenModel("tests/data/golden/llama"), options);
  ASSERT_TRUE(check.ok()) << check.status();
  EXPECT_FALSE(check->ok());
  EXPECT_GT(check->error, 0.3);
}

TEST(BenchRunnerTest, TimesTestsAndForgetsThem) {
  const BenchRun run = {
      {"cpu", 1, 32, "f32"},
      2,
      {{.generated = 4, .parallel = 2}, {.generated = 4, .depth = 70, .parallel = 2}}};
  auto runner = BenchRunner::Open(OpenModel("tests/data/golden/llama"), run, int64_t{1} << 20);
  ASSERT_TRUE(runner.ok()) << runner.status();
  EXPECT_EQ((*runner)->engine().options().context, 74);
  EXPECT_EQ((*runner)->engine().options().max_sessions, 2);
  double bytes = 0;
  for (const BenchTest& test : run.tests) {
    const auto measured = (*runner)->Measure(test, {.repetitions = 5});
    ASSERT_TRUE(measured.ok()) << measured.status();
    EXPECT_EQ(measured->seconds.size(), 5u);
    for (const double seconds : measured->seconds) EXPECT_GT(seconds, 0);
    EXPECT_GT(measured->work.bytes, bytes);
    bytes = measured->work.bytes;
  }
  EXPECT_GT((*runner)->memory().anonymous, 0);
}

TEST(BenchRunnerTest, EndsRepetitionsWhenTheTimeIsOver) {
  const BenchTest test = {.prompt = 40};
  auto runner = BenchRunner::Open(OpenModel("tests/data/golden/llama"),
                                  {{"cpu", 1, 32, "f32"}, 1, {test}}, int64_t{1} << 20);
  ASSERT_TRUE(runner.ok()) << runner.status();
  const auto measured = (*runner)->Measure(test, {.repetitions = 1'000'000, .most_seconds = 0.05});
  ASSERT_TRUE(measured.ok()) << measured.status();
  EXPECT_GE(measured->seconds.size(), 1u);
  EXPECT_LT(measured->seconds.size(), 1'000'000u);
  // Two steps: 32 tokens without logits, and 8 with those of the last.
  const Engine& engine = (*runner)->engine();
  const auto first = engine.WorkOfStep({.tokens = 32, .logits = false});
  const auto second = engine.WorkOfStep({.tokens = 8, .depth = 32});
  EXPECT_DOUBLE_EQ(measured->work.flops, first->flops + second->flops);
}

}  // namespace
}  // namespace tandem
