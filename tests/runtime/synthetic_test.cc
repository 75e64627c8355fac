#include "runtime/synthetic.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "runtime/expert_load.h"
#include "runtime/synthetic_plan.h"
#include "tests/model_trace.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Lt;
using ::testing::SizeIs;

constexpr char kQwen3Moe[] = R"({
 "model_type": "qwen3_moe", "vocab_size": 600, "hidden_size": 256, "num_hidden_layers": 3,
 "intermediate_size": 512, "moe_intermediate_size": 96, "num_experts": 32,
 "num_experts_per_tok": 4, "norm_topk_prob": true, "num_attention_heads": 4,
 "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 2048,
 "rms_norm_eps": 1e-06, "rope_theta": 10000.0})";
constexpr char kDeepSeek3[] = R"({
 "model_type": "deepseek_v3", "vocab_size": 600, "hidden_size": 256, "num_hidden_layers": 4,
 "intermediate_size": 320, "moe_intermediate_size": 64, "n_routed_experts": 32,
 "n_shared_experts": 1, "num_experts_per_tok": 4, "first_k_dense_replace": 1, "n_group": 4,
 "topk_group": 2, "norm_topk_prob": true, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
 "num_attention_heads": 4, "q_lora_rank": 96, "kv_lora_rank": 64, "qk_nope_head_dim": 32,
 "qk_rope_head_dim": 32, "v_head_dim": 32, "max_position_embeddings": 2048,
 "rope_theta": 10000.0, "rope_scaling": {"type": "yarn", "factor": 4, "mscale": 1.0,
 "mscale_all_dim": 1.0, "original_max_position_embeddings": 512, "beta_fast": 32, "beta_slow": 1}})";
constexpr char kMixtral[] = R"({
 "model_type": "mixtral", "vocab_size": 600, "hidden_size": 128, "num_hidden_layers": 2,
 "intermediate_size": 160, "num_local_experts": 8, "num_experts_per_tok": 2,
 "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
 "rms_norm_eps": 1e-05, "rope_theta": 10000.0})";
constexpr char kLlama3[] = R"({
 "model_type": "llama", "vocab_size": 300, "hidden_size": 128, "num_hidden_layers": 2,
 "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2,
 "max_position_embeddings": 2048, "tie_word_embeddings": true, "rope_theta": 500000.0,
 "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
 "high_freq_factor": 4.0, "original_max_position_embeddings": 256}})";
constexpr char kQwen2[] = R"({
 "model_type": "qwen2", "vocab_size": 300, "hidden_size": 128, "num_hidden_layers": 2,
 "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2,
 "max_position_embeddings": 512, "rope_theta": 10000.0})";

class SyntheticTest : public ::testing::Test {
 protected:
  std::string Config(std::string_view text) const { return folder_.Write("tiny.json", text); }
  std::shared_ptr<const Model> Make(std::string_view text, const SyntheticOptions& options) const {
    auto model = MakeSyntheticModel(Config(text), options);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.value_or(nullptr);
  }
  std::shared_ptr<const Model> WriteAndOpen(std::string_view text,
                                            const SyntheticOptions& options) const {
    const std::string path = folder_.Path("tiny.gguf");
    const auto written = WriteSyntheticGguf(Config(text), path, options, {});
    EXPECT_TRUE(written.ok()) << written.status();
    auto model = Model::Open(path);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.value_or(nullptr);
  }

  const TempDir folder_;
};

std::vector<float> Logits(const Model& model) {
  const std::vector<int32_t> tokens = {3, 250, 17, 99, 4};
  auto trace = TraceModel(model, "cpu", tokens, /*expand_latent=*/false);
  EXPECT_TRUE(trace.ok()) << trace.status();
  return trace.ok() ? std::move(trace->logits) : std::vector<float>();
}

void ExpectSameWeights(const Model& a, const Model& b) {
  for (const auto& [name, weight] : a.weights().all()) {
    const Weight* other = b.weights().Find(name);
    ASSERT_NE(other, nullptr) << name;
    ASSERT_EQ(weight.dtype, other->dtype) << name;
    ASSERT_EQ(weight.bytes(), other->bytes()) << name;
    EXPECT_EQ(std::memcmp(weight.parts[0].data(), other->parts[0].data(),
                          static_cast<size_t>(weight.bytes())),
              0)
        << name;
  }
}

TEST(SyntheticSpecTest, IsAConfigAndAType) {
  const auto spec = ParseSyntheticSpec("models/a:b.json:IQ4_NL");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->config, "models/a:b.json");
  EXPECT_EQ(spec->type, DType::kIQ4_NL);
  for (const char* wrong : {"", "a.json", ":q4_k", "a.json:", "a.json:q9", "a.json:i32"}) {
    const auto refused = ParseSyntheticSpec(wrong);
    EXPECT_TRUE(absl::IsInvalidArgument(refused.status())) << wrong;
    EXPECT_THAT(refused.status().ToString(), HasSubstr(wrong));
  }
}

// Weights, activations and logits of every family and type of numbers are finite and of the size of
// 1.
TEST_F(SyntheticTest, MakesModelsThatRun) {
  for (const char* config : {kQwen3Moe, kDeepSeek3, kMixtral, kLlama3, kQwen2}) {
    for (const DType type : {DType::kIQ4_NL, DType::kQ4_K, DType::kBF16, DType::kQ8_0}) {
      const auto model = Make(config, {.type = type});
      ASSERT_NE(model, nullptr);
      EXPECT_EQ(model->tokenizer(), nullptr);
      const std::vector<float> logits = Logits(*model);
      double squares = 0;
      for (const float x : logits) squares += static_cast<double>(x) * static_cast<double>(x);
      const double size = std::sqrt(squares / static_cast<double>(logits.size()));
      EXPECT_GT(size, 0.5) << config;
      EXPECT_LT(size, config == kLlama3 ? 20.0 : 2.0) << config;  // the tied head is larger
    }
  }
}

TEST_F(SyntheticTest, DependsOnTheSeedAlone) {
  const auto one = Make(kQwen3Moe, {.threads = 1}), many = Make(kQwen3Moe, {.threads = 5});
  ExpectSameWeights(*one, *many);
  const auto other = Make(kQwen3Moe, {.seed = 2});
  const char* name = "blk.1.ffn_up_exps.weight";
  const Weight &a = *one->weights().Find(name), &b = *other->weights().Find(name);
  EXPECT_NE(std::memcmp(a.parts[0].data(), b.parts[0].data(), static_cast<size_t>(a.bytes())), 0);
}

TEST_F(SyntheticTest, FileHoldsTheSameModel) {
  for (const char* config : {kQwen3Moe, kDeepSeek3, kMixtral, kLlama3, kQwen2}) {
    for (const LatentLayout layout : {LatentLayout::kSplit, LatentLayout::kJoined}) {
      const SyntheticOptions options = {.layout = layout};
      const auto made = Make(config, options), read = WriteAndOpen(config, options);
      ASSERT_NE(made, nullptr);
      ASSERT_NE(read, nullptr);
      ExpectSameWeights(*made, *read);
      EXPECT_EQ(Logits(*made), Logits(*read)) << config;
      EXPECT_EQ(read->tokenizer(), nullptr);
      const bool split = read->weights().Contains("blk.0.attn_k_b.weight");
      EXPECT_EQ(split, config == kDeepSeek3 && layout == LatentLayout::kSplit);
    }
  }
}

TEST_F(SyntheticTest, ChoosesTypesAsQuantizeDoes) {
  const auto model = Make(kQwen3Moe, {.type = DType::kQ4_K});
  const auto type = [&](const char* name) { return model->weights().Find(name)->dtype; };
  EXPECT_EQ(type("token_embd.weight"), DType::kQ4_K);
  EXPECT_EQ(type("output.weight"), DType::kQ6_K);
  EXPECT_EQ(type("blk.0.attn_q.weight"), DType::kQ4_K);
  EXPECT_EQ(type("blk.0.ffn_gate_inp.weight"), DType::kF32);
  EXPECT_EQ(type("blk.0.attn_norm.weight"), DType::kF32);
  EXPECT_EQ(type("blk.0.ffn_down_exps.weight"), DType::kQ5_0);  // rows of 96
  EXPECT_THAT(model->warnings(),
              ElementsAre("3 tensors are q5_0: their rows do not fill blocks of q4_k"));
  EXPECT_THAT(Make(kQwen3Moe, {.type = DType::kIQ4_NL})->warnings(), IsEmpty());
}

TEST_F(SyntheticTest, CutsLayers) {
  EXPECT_EQ(Make(kDeepSeek3, {.layers = 2})->config().layers, 2);
  const auto dense = Make(kDeepSeek3, {.layers = 1});
  EXPECT_EQ(dense->config().moe.dense_layers, 1);
  const auto more = MakeSyntheticModel(Config(kDeepSeek3), {.layers = 5});
  EXPECT_TRUE(absl::IsInvalidArgument(more.status()));
  EXPECT_THAT(more.status().ToString(), AllOf(HasSubstr("5 layers"), HasSubstr("has 4")));
}

TEST_F(SyntheticTest, RefusesWhatIsNoModel) {
  const auto status = [&](std::string_view text) {
    return MakeSyntheticModel(Config(text), {}).status();
  };
  EXPECT_THAT(MakeSyntheticModel("/nowhere.json", {}).status().ToString(), HasSubstr("nowhere"));
  EXPECT_TRUE(absl::IsInvalidArgument(status("nonsense")));
  EXPECT_TRUE(absl::IsUnimplemented(status(R"({"model_type": "walrus"})")));
  std::string config = kQwen2;
  config.replace(config.find("300"), 3, "\"a\"");
  EXPECT_THAT(status(config).ToString(), AllOf(HasSubstr("vocab_size"), HasSubstr("tiny.json")));
  EXPECT_THAT(MakeSyntheticModel(Config(kQwen2), {.type = DType::kI32}).status().ToString(),
              HasSubstr("i32"));
}

TEST_F(SyntheticTest, RefusesWhatDoesNotFitIntoMemory) {
  std::string config = kQwen3Moe;
  for (const auto& [from, to] :
       {std::pair("\"hidden_size\": 256", "\"hidden_size\": 65536"),
        std::pair("\"moe_intermediate_size\": 96", "\"moe_intermediate_size\": 1048576")}) {
    config.replace(config.find(from), std::strlen(from), to);
  }
  const auto model = MakeSyntheticModel(Config(config), {});
  EXPECT_TRUE(absl::IsResourceExhausted(model.status())) << model.status();
  EXPECT_THAT(model.status().ToString(), AllOf(HasSubstr("tiny.json"), HasSubstr("MiB")));
}

std::vector<float> EngineLogits(std::shared_ptr<const Model> model, const std::string& device) {
  const auto engine =
      Engine::Open(std::move(model), {.devices = {device}, .context = 64, .all_logits = true});
  EXPECT_TRUE(engine.ok()) << engine.status();
  const auto session = (*engine)->NewSession();
  EXPECT_TRUE(session.ok()) << session.status();
  const std::vector<int32_t> tokens = {3, 250, 17, 99, 4};
  const auto logits = (*session)->Evaluate(tokens);
  EXPECT_TRUE(logits.ok()) << logits.status();
  return logits.ok() ? *logits : std::vector<float>();
}

// A device takes what was laid out for it where it is; others get copies that they can read.
TEST_F(SyntheticTest, LiesAsADeviceWantsIt) {
  for (const char* config : {kQwen3Moe, kDeepSeek3, kLlama3}) {
    const auto rows = Make(config, {}), laid_out = Make(config, {.device = "cpu"});
    ASSERT_TRUE(rows != nullptr && laid_out != nullptr);
    const Weight& weight = *laid_out->weights().Find("output_norm.weight");
    EXPECT_EQ(weight.layout, WeightLayout::kRows);
    EXPECT_EQ(laid_out->weights().Find("blk.0.attn_output.weight")->layout,
              WeightLayout::kInterleaved);
    EXPECT_EQ(EngineLogits(laid_out, "cpu"), EngineLogits(rows, "cpu")) << config;
    EXPECT_EQ(EngineLogits(laid_out, "reference"), EngineLogits(rows, "reference")) << config;
    const auto engine = Engine::Open(laid_out, {.context = 64});
    ASSERT_TRUE(engine.ok()) << engine.status();
    EXPECT_EQ((*engine)->memory()[0].weights_copied, 0) << config;
  }
}

TEST_F(SyntheticTest, GeneratesTokens) {
  const auto engine = Engine::Open(Make(kQwen3Moe, {}), {});
  ASSERT_TRUE(engine.ok()) << engine.status();
  const auto session = (*engine)->NewSession();
  ASSERT_TRUE(session.ok());
  const std::vector<int32_t> prompt = {1, 2, 3};
  const auto result = (*session)->Generate(prompt, {.max_tokens = 5}, {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->tokens, SizeIs(5));
}

TEST_F(SyntheticTest, SpreadsTokensOverAllExperts) {
  for (const char* config : {kQwen3Moe, kDeepSeek3, kMixtral}) {
    const auto model = Make(config, {});
    const auto loads = MeasureExpertLoad(model, {});
    ASSERT_TRUE(loads.ok()) << loads.status();
    const MoeConfig& moe = model->config().moe;
    EXPECT_THAT(*loads, SizeIs(static_cast<size_t>(model->config().layers - moe.dense_layers)));
    EXPECT_THAT(*loads, Each(Field(&ExpertLoad::touched, moe.experts)));
    EXPECT_THAT(*loads, Each(Field(&ExpertLoad::max_over_mean, AllOf(Ge(1.0), Lt(3.0)))));
  }
}

// All experts but `top_k` of them have a bias that leaves them without tokens.
TEST_F(SyntheticTest, ExpertLoadSeesWhoGetsTheTokens) {
  const auto made = Make(kDeepSeek3, {});
  ModelParts parts = {"biased", made->config(), {}, made, {}};
  for (const auto& [name, weight] : made->weights().all()) {
    if (name == "rope.inv_freq") continue;
    FileTensor tensor;
    tensor.name = name;
    tensor.dtype = weight.dtype;
    tensor.shape.assign(weight.shape.dims.begin(), weight.shape.dims.begin() + weight.shape.rank);
    tensor.data = weight.parts[0];
    ASSERT_TRUE(parts.weights.Add(name, tensor).ok());
  }
  std::vector<float> bias(32, 0.0f);
  for (size_t expert : {0u, 1u, 2u, 3u}) bias[expert] = 100.0f;
  parts.weights.AddOwned("blk.2.exp_probs_b.bias", {32}, bias);
  const auto model = Model::Assemble(std::move(parts));
  ASSERT_TRUE(model.ok()) << model.status();
  const auto loads = MeasureExpertLoad(*model, {}, 100);
  ASSERT_TRUE(loads.ok()) << loads.status();
  EXPECT_EQ((*loads)[1].layer, 2);
  EXPECT_EQ((*loads)[1].touched, 4);
  EXPECT_EQ((*loads)[1].max_over_mean, 8.0);
  EXPECT_GT((*loads)[0].touched, 16);
  EXPECT_THAT(ExpertLoadText(*loads), HasSubstr("    2        4 of 32                    8.00\n"));
}

TEST_F(SyntheticTest, ExpertLoadOfADenseModelIsEmpty) {
  const auto loads = MeasureExpertLoad(Make(kQwen2, {}), {});
  ASSERT_TRUE(loads.ok()) << loads.status();
  EXPECT_THAT(*loads, IsEmpty());
}

struct Published {
  const char* config;
  double weights;  // billions, as its authors give them
};

// The configs that come along, by the number of weights.
TEST(SyntheticPlanTest, PublishedShapesHaveTheirSizes) {
  for (const auto& [config, weights] : {Published{"deepseek-v2-lite", 15.7},
                                        {"deepseek-v3", 671.0},
                                        {"qwen3-30b-a3b", 30.5},
                                        {"mixtral-8x7b", 46.7},
                                        {"qwen3-8b", 8.2}}) {
    const std::string path = absl::StrCat(TANDEM_SOURCE_DIR "/models/configs/", config, ".json");
    for (const LatentLayout layout : {LatentLayout::kSplit, LatentLayout::kJoined}) {
      const auto plan = PlanSyntheticModel(path, {.layout = layout});
      ASSERT_TRUE(plan.ok()) << plan.status();
      EXPECT_EQ(plan->name, config);
      double total = 0;
      for (const SyntheticTensor& tensor : plan->tensors) {
        total += static_cast<double>(tensor.shape.elements());
      }
      EXPECT_NEAR(total / 1e9, weights, 0.005 * weights) << config;
    }
  }
}

TEST(SyntheticPlanTest, RefusesAbsurdSizes) {
  const TempDir folder;
  std::string config = kQwen3Moe;
  for (const auto& [from, to] :
       {std::pair("\"hidden_size\": 256", "\"hidden_size\": 16777216"),
        std::pair("\"num_experts\": 32", "\"num_experts\": 4096"),
        std::pair("\"moe_intermediate_size\": 96", "\"moe_intermediate_size\": 16777216")}) {
    config.replace(config.find(from), std::strlen(from), to);
  }
  const auto plan = PlanSyntheticModel(folder.Write("huge.json", config), {});
  EXPECT_TRUE(absl::IsInvalidArgument(plan.status())) << plan.status();
  EXPECT_THAT(plan.status().ToString(), HasSubstr("too large"));
}

}  // namespace
}  // namespace tandem
