// The public API on the carried goldens: sessions side by side, limits, threads, split devices.
#include "runtime/engine.h"

#include <oneapi/tbb/global_control.h>

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/safetensors.h"

namespace tandem {
namespace {

using testing::HasSubstr;

std::string GoldenPath(const std::string& name) {
  return std::string(TANDEM_SOURCE_DIR) + "/tests/data/golden/" + name;
}

EngineOptions Options(int64_t sessions = 1) {
  EngineOptions options;
  options.context = 256;
  options.max_sessions = sessions;
  options.micro_batch = 64;
  options.kv_type = DType::kF32;
  options.latent_form = LatentForm::kAbsorbed;
  return options;
}

std::shared_ptr<Engine> Open(const std::string& name, const EngineOptions& options) {
  auto engine = Engine::Open(GoldenPath(name), options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return engine.ok() ? *std::move(engine) : nullptr;
}

// Prompt i: some tokens that no other prompt begins with.
std::vector<int32_t> Prompt(int i, int length) {
  std::vector<int32_t> ids;
  for (int t = 0; t < length; ++t) ids.push_back((i * 37 + t * 11 + t * t) % 512);
  return ids;
}

std::vector<int32_t> Continue(Session& session, const std::vector<int32_t>& prompt, int64_t count) {
  auto result = session.Generate(prompt, {.max_tokens = count, .ignore_end = true}, nullptr);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? result->tokens : std::vector<int32_t>();
}

std::vector<int32_t> RunAlone(Engine& engine, const std::vector<int32_t>& prompt, int64_t count) {
  auto session = engine.NewSession();
  EXPECT_TRUE(session.ok()) << session.status();
  return Continue(**session, prompt, count);
}

TEST(EngineTest, EightSessionsSideBySideGetTheTokensTheyGetAlone) {
  for (const char* name : {"deepseek_v3", "qwen3_moe"}) {
    const auto engine = Open(name, Options(8));
    ASSERT_NE(engine, nullptr);
    std::vector<std::vector<int32_t>> alone(8), together(8);
    for (int i = 0; i < 8; ++i) {
      alone[i] = RunAlone(*engine, Prompt(i, 5 + 13 * i), 24);
    }
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] { together[i] = RunAlone(*engine, Prompt(i, 5 + 13 * i), 24); });
    }
    threads.clear();
    for (int i = 0; i < 8; ++i) EXPECT_EQ(together[i], alone[i]) << name << " session " << i;
  }
}

TEST(EngineTest, TheNumberOfThreadsDoesNotChangeTheTokens) {
  // By default oneTBB has no more threads than the machine has cores.
  const tbb::global_control more(tbb::global_control::max_allowed_parallelism, 16);
  std::vector<std::vector<int32_t>> tokens;
  for (const int threads : {1, 2, 3, 4, 16}) {
    EngineOptions options = Options();
    options.threads = threads;
    const auto engine = Open("deepseek_v3", options);
    ASSERT_NE(engine, nullptr);
    tokens.push_back(RunAlone(*engine, Prompt(1, 100), 32));
  }
  for (const auto& list : tokens) EXPECT_EQ(list, tokens.front());
}

TEST(EngineTest, TheKqLimitDoesNotChangeTheLogits) {
  for (const LatentForm form : {LatentForm::kAbsorbed, LatentForm::kExpanded}) {
    std::vector<float> first;
    for (const int64_t mib : {1, 3, 256}) {
      EngineOptions options = Options();
      options.kq_limit = mib << 20;
      options.latent_form = form;
      options.all_logits = true;
      const auto engine = Open("deepseek_v3", options);
      ASSERT_NE(engine, nullptr);
      auto logits = (*engine->NewSession())->Evaluate(Prompt(2, 200));
      ASSERT_TRUE(logits.ok()) << logits.status();
      if (first.empty()) first = *logits;
      double error = 0.0, norm = 0.0;
      for (size_t i = 0; i < first.size(); ++i) {
        error += std::pow(static_cast<double>((*logits)[i]) - first[i], 2);
        norm += std::pow(static_cast<double>(first[i]), 2);
      }
      EXPECT_LE(std::sqrt(error / norm), 1e-5) << mib << " MiB";
    }
  }
}

// The bounds are twice what is seen; random weights are far more sensitive than trained ones.
TEST(EngineTest, QuantizedCachesStayCloseToAnF32Cache) {
  std::vector<float> exact;
  for (const auto& [type, bound] :
       {std::pair(DType::kF32, 1e-9), std::pair(DType::kF16, 2e-3), std::pair(DType::kBF16, 4e-2),
        std::pair(DType::kQ8_0, 4e-2), std::pair(DType::kQ4_0, 0.6)}) {
    EngineOptions options = Options();
    options.kv_type = type;
    options.all_logits = true;
    const auto engine = Open("deepseek_v3", options);
    ASSERT_NE(engine, nullptr);
    auto logits = (*engine->NewSession())->Evaluate(Prompt(3, 60));
    ASSERT_TRUE(logits.ok()) << logits.status();
    if (exact.empty()) exact = *logits;
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < exact.size(); ++i) {
      error += std::pow(static_cast<double>((*logits)[i]) - exact[i], 2);
      norm += std::pow(static_cast<double>(exact[i]), 2);
    }
    std::cout << DTypeName(type) << ": " << std::sqrt(error / norm) << "\n";
    EXPECT_LE(std::sqrt(error / norm), bound) << DTypeName(type);
  }
}

TEST(EngineTest, AConversationGoesOnAndCanBeCutBack) {
  const auto engine = Open("deepseek_v3", Options());
  ASSERT_NE(engine, nullptr);
  auto session = *engine->NewSession();
  const std::vector<int32_t> whole = Continue(*session, Prompt(4, 20), 12);
  EXPECT_EQ(session->history().size(), 32u);

  session->Reset();
  EXPECT_TRUE(session->history().empty());
  std::vector<int32_t> parts = Continue(*session, Prompt(4, 20), 5);
  const std::vector<int32_t> rest = Continue(*session, {}, 7);
  parts.insert(parts.end(), rest.begin(), rest.end());
  EXPECT_EQ(parts, whole);

  session->Truncate(20);
  EXPECT_EQ(session->history(), Prompt(4, 20));
  EXPECT_EQ(Continue(*session, {}, 12), whole);
}

TEST(EngineTest, CancelAndCallbackStop) {
  const auto engine = Open("deepseek_v3", Options());
  ASSERT_NE(engine, nullptr);
  auto session = *engine->NewSession();
  int64_t seen = 0;
  auto stopped = session->Generate(Prompt(5, 4), {.max_tokens = 50, .ignore_end = true},
                                   [&](const Token&) { return ++seen < 3; });
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->reason, StopReason::kCallback);
  EXPECT_EQ(stopped->tokens.size(), 3u);

  session->Reset();
  auto cancelled =
      session->Generate(Prompt(5, 4), {.max_tokens = 200, .ignore_end = true}, [&](const Token&) {
        session->Cancel();
        return true;
      });
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_EQ(cancelled->reason, StopReason::kCancelled);
  EXPECT_EQ(cancelled->tokens.size(), 1u);
  // The session goes on after it.
  EXPECT_EQ(Continue(*session, {}, 3).size(), 3u);
}

TEST(EngineTest, AFullContextEndsTheGeneration) {
  EngineOptions options = Options();
  options.context = 24;
  const auto engine = Open("deepseek_v3", options);
  ASSERT_NE(engine, nullptr);
  auto session = *engine->NewSession();
  auto result = session->Generate(Prompt(6, 20), {.max_tokens = 50, .ignore_end = true}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->reason, StopReason::kContextFull);
  EXPECT_EQ(result->tokens.size(), 5u);
  session->Reset();
  const auto too_long = session->Generate(Prompt(6, 25), {}, nullptr);
  EXPECT_EQ(too_long.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(too_long.status().message()), HasSubstr("24"));
}

// What was given out is part of the conversation, however the generation ended.
TEST(EngineTest, TheConversationHoldsTheTokensOfTheResult) {
  EngineOptions options = Options();
  options.context = 24;
  const auto engine = Open("deepseek_v3", options);
  ASSERT_NE(engine, nullptr);
  auto session = *engine->NewSession();
  std::vector<int32_t> expected = Prompt(6, 20);
  const auto generate = [&](int64_t count, const TokenCallback& callback) {
    const std::span<const int32_t> prompt = session->history().empty()
                                                ? std::span<const int32_t>(expected)
                                                : std::span<const int32_t>();
    auto result = session->Generate(prompt, {.max_tokens = count, .ignore_end = true}, callback);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : GenerateResult();
  };
  const GenerateResult one = generate(50, [](const Token&) { return false; });
  ASSERT_EQ(one.tokens.size(), 1u);
  expected.push_back(one.tokens[0]);
  EXPECT_EQ(session->history(), expected);

  const GenerateResult rest = generate(4, nullptr);
  EXPECT_EQ(rest.reason, StopReason::kMaxTokens);
  ASSERT_EQ(rest.tokens.size(), 4u);
  expected.insert(expected.end(), rest.tokens.begin(), rest.tokens.end() - 1);
  EXPECT_EQ(session->history(), expected);  // 24 tokens: there is no room for the last one
  EXPECT_EQ(generate(1, nullptr).tokens, std::vector<int32_t>{rest.tokens.back()});

  const auto negative = session->Generate(Prompt(6, 1), {.max_tokens = -1}, nullptr);
  EXPECT_EQ(negative.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(EngineTest, MoreSessionsThanPlannedAreRefused) {
  const auto engine = Open("llama", Options(2));
  ASSERT_NE(engine, nullptr);
  auto a = engine->NewSession(), b = engine->NewSession();
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(engine->NewSession().status().code(), absl::StatusCode::kResourceExhausted);
  a->reset();
  EXPECT_TRUE(engine->NewSession().ok());
}

TEST(EngineTest, WrongOptionsAndTokensAreNamed) {
  const auto fails = [](EngineOptions options, const char* text) {
    const auto status = Engine::Open(GoldenPath("llama"), options).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  };
  EngineOptions options = Options();
  options.context = 1 << 20;
  fails(options, "context");
  options = Options();
  options.kq_limit = 1000;
  fails(options, "1 MiB");
  options = Options();
  options.kv_type = DType::kQ4_K;
  fails(options, "q4_k");
  options = Options();
  options.devices = {"abacus"};
  fails(options, "abacus");
  options = Options();
  options.max_sessions = 0;
  fails(options, "sessions");

  const auto engine = Open("llama", Options());
  ASSERT_NE(engine, nullptr);
  auto session = *engine->NewSession();
  EXPECT_THAT(
      std::string(session->Generate(std::vector<int32_t>{512}, {}, nullptr).status().message()),
      HasSubstr("512"));
  EXPECT_EQ(session->Generate("text", {}, nullptr).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(session->Evaluate(Prompt(0, 3)).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(session->Generate(std::vector<int32_t>{}, {}, nullptr).ok());
}

TEST(EngineTest, MissingModelsAreNamed) {
  const auto status = Engine::Open("/no/such/model.gguf", {}).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/model.gguf"));
}

// The plugin of the build, or the one that install_test built against the installed package.
std::string PluginPath() {
  const char* installed = std::getenv("TANDEM_INSTALLED_PLUGIN");
  return installed != nullptr ? installed : TANDEM_PLUGIN_HALF;
}

// A backend that knows half of the ops gets those; the rest runs on the CPU.
TEST(EngineTest, AGoldenSplitBetweenAPluginAndTheCpu) {
  const auto whole = Open("deepseek_v3", Options());
  EngineOptions options = Options();
  options.devices = {PluginPath(), "cpu"};
  const auto split = Open("deepseek_v3", options);
  ASSERT_TRUE(whole != nullptr && split != nullptr);
  const std::string plan = split->DescribePlan(1);
  EXPECT_THAT(plan, HasSubstr("on half"));
  EXPECT_THAT(plan, HasSubstr("on cpu"));
  EXPECT_THAT(plan, HasSubstr("copy "));
  EXPECT_EQ(RunAlone(*split, Prompt(7, 40), 32), RunAlone(*whole, Prompt(7, 40), 32));

  const auto golden = SafetensorsFile::Open(GoldenPath("deepseek_v3") + "/golden.safetensors");
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto ids = [&](const char* name) {
    const auto data = (*golden->tensors().Get(name))->data;
    const auto* first = reinterpret_cast<const int32_t*>(data.data());
    return std::vector<int32_t>(first, first + data.size() / sizeof(int32_t));
  };
  std::vector<int32_t> prompt = ids("tokens");
  prompt.resize(16);
  const std::vector<int32_t> greedy = ids("greedy_after_16");
  ASSERT_EQ(greedy.size(), 32u);
  EXPECT_EQ(RunAlone(*split, prompt, 32), greedy);
}

}  // namespace
}  // namespace tandem
