// Checkpoints converted to GGUF give what they give from their folders.
#include "runtime/convert.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/config_to_gguf.h"
#include "runtime/engine.h"
#include "runtime/gguf.h"
#include "runtime/safetensors.h"
#include "runtime/tokenizer_json.h"
#include "runtime/tokenizer_to_gguf.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// The folder of a golden: in the shared data where that is present, or in the project.
fs::path FolderOf(const std::string& name) {
  const fs::path root(TANDEM_SOURCE_DIR);
  const fs::path shared = root / "../shared/golden" / name;
  return fs::exists(shared) ? shared : root / "tests/data/golden" / name;
}

std::vector<float> Logits(const std::string& model, std::span<const int32_t> tokens) {
  EngineOptions options;
  options.devices = {"reference"};
  options.context = 128;
  options.kv_type = DType::kF32;
  options.all_logits = true;
  const auto engine = Engine::Open(model, options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  if (!engine.ok()) return {};
  const auto session = (*engine)->NewSession();
  EXPECT_TRUE(session.ok()) << session.status();
  auto logits = (*session)->Evaluate(tokens);
  EXPECT_TRUE(logits.ok()) << logits.status();
  return logits.ok() ? *std::move(logits) : std::vector<float>();
}

double RelativeRms(std::span<const float> got, std::span<const float> want) {
  double error = 0.0, norm = 0.0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += std::pow(static_cast<double>(got[i]) - want[i], 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(error / norm);
}

class ConvertGoldenTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    folder_ = FolderOf(GetParam());
    if (!fs::exists(folder_)) GTEST_SKIP() << "no golden " << GetParam();
  }

  fs::path folder_;
  TempDir temp_;
};

TEST_P(ConvertGoldenTest, GgufGivesTheSameLogitsAsTheFolder) {
  const std::string out = temp_.Path("model.gguf");
  const auto reports = ConvertToGguf(folder_.string(), out, {});
  ASSERT_TRUE(reports.ok()) << reports.status();

  const auto golden = SafetensorsFile::Open((folder_ / "golden.safetensors").string());
  ASSERT_TRUE(golden.ok()) << golden.status();
  const FileTensor* tokens = golden->tensors().Find("tokens");
  const FileTensor* logits = golden->tensors().Find("logits");
  ASSERT_TRUE(tokens != nullptr && logits != nullptr);
  const std::span ids(reinterpret_cast<const int32_t*>(tokens->data.data()),
                      tokens->data.size() / sizeof(int32_t));
  const std::span want(reinterpret_cast<const float*>(logits->data.data()),
                       logits->data.size() / sizeof(float));

  const std::vector<float> from_gguf = Logits(out, ids);
  ASSERT_EQ(from_gguf.size(), want.size());
  EXPECT_LT(RelativeRms(from_gguf, want), 2e-6);
  EXPECT_LT(RelativeRms(from_gguf, Logits(folder_.string(), ids)), 1e-6);
}

TEST_P(ConvertGoldenTest, MatricesTakeTheTypeAskedForAndVectorsAndRoutersAreF32) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    const std::string out = temp_.Path("model.gguf");
    const auto reports = ConvertToGguf(folder_.string(), out, {.type = type, .name = "tiny"});
    ASSERT_TRUE(reports.ok()) << reports.status();
    const auto file = GgufFile::Open(out);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_EQ(file->tensors().size(), reports->size());
    for (size_t i = 0; i < reports->size(); ++i) {
      const FileTensor& tensor = file->tensors()[i];
      const TensorReport& report = (*reports)[i];
      const bool small = tensor.shape.size() == 1 || tensor.name.ends_with("ffn_gate_inp.weight");
      EXPECT_EQ(tensor.dtype, small ? DType::kF32 : type) << tensor.name;
      EXPECT_EQ(report.name, tensor.name);
      EXPECT_EQ(report.bytes, static_cast<int64_t>(tensor.data.size()));
      // The goldens are bf16: wider types hold them exactly, f16 but for the smallest numbers.
      EXPECT_LT(report.squared_error, type == DType::kF16 ? 1e-9 : 1e-30) << tensor.name;
    }
    EXPECT_EQ(*file->metadata().GetString("general.name"), "tiny");
    EXPECT_EQ(*file->metadata().GetU32("general.file_type"), type == DType::kF32   ? 0u
                                                             : type == DType::kF16 ? 1u
                                                                                   : 32u);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ConvertGoldenTest,
                         testing::Values("llama", "qwen2", "qwen3", "qwen3_moe", "mixtral",
                                         "deepseek_v2_lite", "deepseek_v2_yarn", "deepseek_v2_full",
                                         "deepseek_v3"),
                         [](const auto& info) { return std::string(info.param); });

TEST(ConvertTest, WritesWhatReadersOfDeepSeekExpect) {
  TempDir temp;
  const std::string out = temp.Path("model.gguf");
  const auto reports = ConvertToGguf(FolderOf("deepseek_v3").string(), out, {});
  ASSERT_TRUE(reports.ok()) << reports.status();
  const auto file = GgufFile::Open(out);
  ASSERT_TRUE(file.ok()) << file.status();
  const GgufMetadata& m = file->metadata();
  EXPECT_EQ(*m.GetString("general.architecture"), "deepseek2");
  EXPECT_EQ(*m.GetString("general.name"), "deepseek_v3");
  EXPECT_EQ(*m.GetU32("deepseek2.block_count"), 3u);  // without the layer that looks further ahead
  EXPECT_EQ(*m.GetU32("deepseek2.attention.head_count_kv"), 4u);
  EXPECT_EQ(*m.GetU32("deepseek2.attention.key_length"), 96u);
  EXPECT_EQ(*m.GetU32("deepseek2.attention.value_length"), 64u);
  EXPECT_EQ(*m.GetU32("deepseek2.rope.dimension_count"), 32u);
  EXPECT_EQ(*m.GetU32("deepseek2.expert_gating_func"), 2u);
  EXPECT_TRUE(*m.GetBool("deepseek2.expert_weights_norm"));
  EXPECT_FLOAT_EQ(*m.GetF32("deepseek2.expert_weights_scale"), 2.5f);
  EXPECT_EQ(*m.GetU32("deepseek2.expert_group_used_count"), 2u);
  EXPECT_FLOAT_EQ(*m.GetF32("deepseek2.rope.scaling.yarn_log_multiplier"), 0.1f);
  EXPECT_EQ(m.Find("deepseek2.rope.scaling.yarn_beta_fast"), nullptr);  // 32 is understood
  ASSERT_NE(file->tensors().Find("blk.1.exp_probs_b.bias"), nullptr);
  const FileTensor* experts = file->tensors().Find("blk.2.ffn_down_exps.weight");
  ASSERT_NE(experts, nullptr);
  EXPECT_EQ(ShapeText(experts->shape), "[16, 128, 32]");
}

ModelConfig ConfigWith(const std::string& rope) {
  auto config = ConfigFromHuggingFace(
      R"({"model_type": "qwen2", "num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 2,
          "intermediate_size": 64, "max_position_embeddings": 4096, "rope_scaling": )" +
      rope + "}");
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

TEST(ConvertTest, ScalingsThatKeysCanSayReadBackAndOthersAreRefused) {
  for (const char* rope :
       {"null", R"({"type": "linear", "factor": 4.0})", R"({"type": "yarn", "factor": 4.0})",
        R"({"type": "yarn", "factor": 4.0, "beta_fast": 16, "beta_slow": 2})",
        R"({"type": "yarn", "factor": 4.0, "attention_factor": 1.5})"}) {
    const ModelConfig config = ConfigWith(rope);
    GgufHeader header;
    EXPECT_TRUE(SetConfigKeys(config, header).ok()) << rope;
    const auto bytes = header.Serialize();
    ASSERT_TRUE(bytes.ok());
    const auto file = GgufFile::Parse(*bytes);
    ASSERT_TRUE(file.ok());
    const auto back = ConfigFromGguf(file->metadata());
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_NEAR(RopeMagnitude(back->rope), RopeMagnitude(config.rope), 1e-6) << rope;
    EXPECT_EQ(RopeFrequencies(back->rope), RopeFrequencies(config.rope)) << rope;
  }
  GgufHeader header;
  const absl::Status status =
      SetConfigKeys(ConfigWith(R"({"type": "yarn", "factor": 4.0, "truncate": false})"), header);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
}

TEST(ConvertTest, FindsTheNameOfThePreTokenizer) {
  const std::string json =
      ReadFileBytes(TANDEM_SOURCE_DIR "/tests/data/tokenizers/stories_tokenizer.json");
  auto spec = ParseTokenizerJson(json, R"({"bos_token": "<|begin_of_text|>"})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  for (const char* name : {"gpt-2", "qwen2", "deepseek-v3"}) {
    // Rules spelled otherwise than those that the name stands for, with the same meaning.
    GgufTokenizerFields fields;
    fields.model = "gpt2";
    fields.pre = name;
    auto named = TokenizerSpecFromFields(fields);
    ASSERT_TRUE(named.ok());
    spec->rules = named->rules;
    spec->rules.back().regex = "(?:" + spec->rules.back().regex + ")";
    const auto tokenizer = Tokenizer::Create(*spec);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    const auto found = GgufFieldsOf(**tokenizer, 4100, "");
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->pre, name);
    ASSERT_EQ(found->tokens.size(), 4100u);
    EXPECT_EQ(found->tokens.back(), "[PAD4099]");
    EXPECT_EQ(found->token_types.back(), static_cast<int32_t>(TokenType::kUnused));
  }
  spec->rules = {{"."}};  // every character alone
  const auto odd = Tokenizer::Create(*spec);
  ASSERT_TRUE(odd.ok()) << odd.status();
  EXPECT_EQ(GgufFieldsOf(**odd, 0, "").status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(GgufFieldsOf(**odd, 0, "gpt-2")->pre, "gpt-2");
}

TEST(ConvertTest, SentencePieceFromMergesKeepsItsTokens) {
  const std::string json =
      ReadFileBytes(TANDEM_SOURCE_DIR "/tests/data/tokenizers/small_metaspace.json");
  auto spec = ParseTokenizerJson(json, "");
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto tokenizer = Tokenizer::Create(*spec);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto fields = GgufFieldsOf(**tokenizer, 0, "");
  // Either the same tokens for all texts, or a refusal: never another tokenizer.
  if (fields.ok()) {
    EXPECT_EQ(fields->model, "llama");
    EXPECT_EQ(fields->scores.size(), fields->tokens.size());
  } else {
    EXPECT_EQ(fields.status().code(), absl::StatusCode::kUnimplemented) << fields.status();
  }
}

TEST(ConvertTest, RefusesWhatIsNoCheckpointAndTypesOfBlocks) {
  TempDir temp;
  const std::string out = temp.Path("out.gguf");
  const std::string file = temp.Write("a.gguf", "GGUF");
  EXPECT_EQ(ConvertToGguf(file, out, {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(ConvertToGguf(temp.Path("nothing"), out, {}).ok());
  const auto blocks = ConvertToGguf(FolderOf("llama").string(), out, {.type = DType::kQ8_0});
  EXPECT_EQ(blocks.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(blocks.status().message()), HasSubstr("q8_0"));
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace tandem
