// Every supported family against what Hugging Face transformers answers.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>

#include "backends/open_device.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "runtime/safetensors.h"
#include "tests/model_trace.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

struct Golden {
  std::unique_ptr<SafetensorsFile> file;
  std::span<const int32_t> tokens, greedy;     // greedy continues tokens[0..15]
  std::span<const float> logits;               // [T, V]
  std::vector<std::span<const float>> hidden;  // after each layer but the last; may be empty

  template <typename T>
  std::span<const T> Get(std::string_view name) const {
    const FileTensor* tensor = file->tensors().Find(name);
    if (tensor == nullptr) return {};
    return {reinterpret_cast<const T*>(tensor->data.data()), tensor->data.size() / sizeof(T)};
  }
};

// The folder of a golden: in the project, or in the shared data where that is present.
fs::path FolderOf(const std::string& name) {
  const fs::path root(TANDEM_SOURCE_DIR);
  const fs::path shared = root / "../shared/golden" / name;
  return fs::exists(shared) ? shared : root / "tests/data/golden" / name;
}

Golden LoadGolden(const fs::path& folder) {
  auto file = SafetensorsFile::Open((folder / "golden.safetensors").string());
  EXPECT_TRUE(file.ok()) << file.status();
  Golden golden;
  golden.file = std::make_unique<SafetensorsFile>(*std::move(file));
  golden.tokens = golden.Get<int32_t>("tokens");
  golden.greedy = golden.Get<int32_t>("greedy_after_16");
  golden.logits = golden.Get<float>("logits");
  // hidden_0 is the embedding, the last one is after the final norm.
  for (int i = 1;; ++i) {
    if (golden.Get<float>("hidden_" + std::to_string(i + 1)).empty()) break;
    golden.hidden.push_back(golden.Get<float>("hidden_" + std::to_string(i)));
  }
  return golden;
}

double RelativeRms(std::span<const float> got, std::span<const float> want) {
  double error = 0.0, norm = 0.0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += std::pow(static_cast<double>(got[i]) - want[i], 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(error / norm);
}

std::vector<double> TokenErrors(std::span<const float> got, std::span<const float> want,
                                size_t tokens) {
  const size_t width = want.size() / tokens;
  std::vector<double> errors;
  for (size_t t = 0; t < tokens; ++t) {
    errors.push_back(RelativeRms(got.subspan(t * width, width), want.subspan(t * width, width)));
  }
  return errors;
}

struct Case {
  std::string name;
  LatentForm form = LatentForm::kAuto;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const char* name : {"llama", "qwen2", "qwen3", "qwen3_moe", "mixtral"}) {
    cases.push_back({name, LatentForm::kAuto});
  }
  for (const char* name :
       {"deepseek_v2_lite", "deepseek_v2_yarn", "deepseek_v2_full", "deepseek_v3"}) {
    cases.push_back({name, LatentForm::kExpanded});
    cases.push_back({name, LatentForm::kAbsorbed});
  }
  return cases;
}

std::string NameOf(const Case& c) {
  const char* const form = c.form == LatentForm::kExpanded   ? "_expanded"
                           : c.form == LatentForm::kAbsorbed ? "_absorbed"
                                                             : "";
  return c.name + form;
}

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << NameOf(c); }

std::string CaseName(const testing::TestParamInfo<Case>& info) { return NameOf(info.param); }

class GoldenTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    folder_ = FolderOf(GetParam().name);
    if (!fs::exists(folder_)) GTEST_SKIP() << "no golden " << GetParam().name;
    golden_ = LoadGolden(folder_);
    auto model = Model::Open(folder_.string());
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  std::shared_ptr<Engine> OpenEngine(const std::string& device, int64_t micro_batch = 512,
                                     DType kv_type = DType::kF32) {
    EngineOptions options;
    options.devices = {device};
    options.context = 128;
    options.micro_batch = micro_batch;
    options.kv_type = kv_type;
    options.latent_form = GetParam().form;
    options.all_logits = true;
    auto engine = Engine::Open(model_, options);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return engine.ok() ? *std::move(engine) : nullptr;
  }

  std::vector<float> Logits(Engine& engine) {
    auto session = engine.NewSession();
    EXPECT_TRUE(session.ok());
    auto logits = (*session)->Evaluate(golden_.tokens);
    EXPECT_TRUE(logits.ok()) << logits.status();
    return *std::move(logits);
  }

  std::vector<int32_t> Greedy(Engine& engine) {
    auto session = engine.NewSession();
    EXPECT_TRUE(session.ok());
    const GenerateOptions options = {.max_tokens = static_cast<int64_t>(golden_.greedy.size()),
                                     .ignore_end = true};
    auto result = (*session)->Generate(golden_.tokens.first(16), options, nullptr);
    EXPECT_TRUE(result.ok()) << result.status();
    return result->tokens;
  }

  // The median token's error below `median`, at most 5 % of the tokens above `outlier`; those are
  // listed with their router margins, since a near tie may flip an expert.
  void ExpectClose(Engine& engine, double median, double outlier) {
    const std::vector<double> errors =
        TokenErrors(Logits(engine), golden_.logits, golden_.tokens.size());
    std::vector<double> sorted = errors;
    std::ranges::sort(sorted);
    std::cout << "median token error: " << sorted[sorted.size() / 2]
              << ", worst: " << sorted.back() << "\n";
    EXPECT_LT(sorted[sorted.size() / 2], median);
    const auto trace = TraceModel(*model_, "reference", golden_.tokens, false);
    ASSERT_TRUE(trace.ok()) << trace.status();
    const std::vector<double> margins = RouterMargins(model_->config(), *model_, *trace);
    size_t outliers = 0;
    for (size_t t = 0; t < errors.size(); ++t) {
      if (errors[t] <= outlier) continue;
      ++outliers;
      std::cout << "token " << t << ": error " << errors[t] << ", router margin " << margins[t]
                << "\n";
    }
    EXPECT_LE(outliers, errors.size() / 20);
  }

  fs::path folder_;
  Golden golden_;
  std::shared_ptr<const Model> model_;
};

// Reference backend: relative RMS of all logits below 1e-4 (about 1e-6 is reached), same tokens.
TEST_P(GoldenTest, ReferenceGivesTheLogitsAndTheGreedyTokens) {
  const auto engine = OpenEngine("reference");
  ASSERT_NE(engine, nullptr);
  const double error = RelativeRms(Logits(*engine), golden_.logits);
  std::cout << "relative RMS of all logits: " << error << "\n";
  EXPECT_LT(error, 1e-4);
  EXPECT_THAT(Greedy(*engine), testing::ElementsAreArray(golden_.greedy));
}

TEST_P(GoldenTest, PromptsInPiecesGiveTheSameLogits) {
  const auto engine = OpenEngine("reference", /*micro_batch=*/7);
  ASSERT_NE(engine, nullptr);
  EXPECT_LT(RelativeRms(Logits(*engine), golden_.logits), 1e-4);
}

TEST_P(GoldenTest, EveryLayerMatches) {
  if (golden_.hidden.empty()) GTEST_SKIP() << "this golden has no hidden states";
  const auto trace =
      TraceModel(*model_, "reference", golden_.tokens, GetParam().form == LatentForm::kExpanded);
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_GE(trace->hidden.size(), golden_.hidden.size());
  for (size_t i = 0; i < golden_.hidden.size(); ++i) {
    EXPECT_LT(RelativeRms(trace->hidden[i], golden_.hidden[i]), 1e-5) << "after layer " << i;
  }
}

// CPU backend with bf16 weights: the median token below 1e-2, at most 5 % of the tokens above 5e-2.
TEST_P(GoldenTest, CpuIsCloseTokenByToken) {
  const auto engine = OpenEngine("cpu");
  ASSERT_NE(engine, nullptr);
  ExpectClose(*engine, 1e-2, 5e-2);
}

// GPU, where there is one: operands of tensor cores are rounded to f16, and so is the cache.
TEST_P(GoldenTest, GpuIsCloseTokenByToken) {
  for (const std::string device : {"cuda", "cuda:portable"}) {
    const auto opened = OpenDevice(device, {});
    if (!opened.ok()) GTEST_SKIP() << opened.status();
    SCOPED_TRACE(device);
    const auto engine = OpenEngine(device, 512, DType::kF16);
    ASSERT_NE(engine, nullptr);
    ExpectClose(*engine, 5e-3, 5e-2);
    EXPECT_EQ(Greedy(*engine), Greedy(*engine));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenTest, testing::ValuesIn(Cases()), CaseName);

}  // namespace
}  // namespace tandem
