// The trained checkpoint of which the model that comes along is made, against transformers.
#include <cmath>
#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "runtime/safetensors.h"

namespace tandem {
namespace {

constexpr char kFolder[] = TANDEM_SOURCE_DIR "/../shared/stories";

template <typename T>
std::span<const T> Get(const SafetensorsFile& file, const std::string& name) {
  const FileTensor* tensor = file.tensors().Find(name);
  if (tensor == nullptr) return {};
  return {reinterpret_cast<const T*>(tensor->data.data()), tensor->data.size() / sizeof(T)};
}

TEST(StoriesTest, LogitsAndGreedyTokensAreThoseOfTransformers) {
  if (!std::filesystem::exists(kFolder)) GTEST_SKIP() << "the checkpoint is not here";
  const auto golden = SafetensorsFile::Open(std::string(kFolder) + "/golden.safetensors");
  ASSERT_TRUE(golden.ok()) << golden.status();
  for (const LatentForm form : {LatentForm::kAbsorbed, LatentForm::kExpanded, LatentForm::kAuto}) {
    EngineOptions options;
    options.kv_type = DType::kF32;
    options.latent_form = form;
    options.all_logits = true;
    auto engine = Engine::Open(kFolder, options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    auto session = *(*engine)->NewSession();
    for (int i = 0; i < 4; ++i) {
      const std::string prompt = std::to_string(i);
      const auto tokens = Get<int32_t>(*golden, prompt + ".tokens");
      const auto want = Get<float>(*golden, prompt + ".logits");
      const auto greedy = Get<int32_t>(*golden, prompt + ".greedy");
      ASSERT_FALSE(tokens.empty() || want.empty() || greedy.size() <= tokens.size());
      session->Reset();
      const auto logits = session->Evaluate(tokens);
      ASSERT_TRUE(logits.ok()) << logits.status();
      double error = 0.0, norm = 0.0;
      for (size_t k = 0; k < want.size(); ++k) {
        error += std::pow(static_cast<double>((*logits)[k]) - want[k], 2);
        norm += std::pow(static_cast<double>(want[k]), 2);
      }
      EXPECT_LT(std::sqrt(error / norm), 1e-5) << "prompt " << i;

      session->Reset();
      const auto count = static_cast<int64_t>(greedy.size() - tokens.size());
      const auto run =
          session->Generate(tokens, {.max_tokens = count, .ignore_end = true}, nullptr);
      ASSERT_TRUE(run.ok()) << run.status();
      EXPECT_THAT(run->tokens, testing::ElementsAreArray(greedy.subspan(tokens.size())))
          << "prompt " << i;
    }
  }
}

}  // namespace
}  // namespace tandem
