// Hyper-parameters as config.json states them, in both styles of its rotary fields; the numbers
// expected of published files are those of the published models.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <tuple>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/model_config.h"

namespace tandem {
namespace {

using testing::HasSubstr;

absl::StatusOr<ModelConfig> ReadJson(const std::string& type, const std::string& more) {
  return ConfigFromHuggingFace(
      R"({"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
          "intermediate_size": 96, "max_position_embeddings": 512, "model_type": ")" +
      type + "\"" + (more.empty() ? "" : ", " + more) + "}");
}

TEST(HuggingFaceConfigTest, NullFieldsAreMissingFields) {
  const auto c = ReadJson("llama", R"("head_dim": null, "rope_scaling": null,
      "rope_parameters": null, "num_key_value_heads": null, "sliding_window": null)");
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->head_dim, 16);
  EXPECT_EQ(c->kv_heads, 4);
  EXPECT_EQ(c->rope.scaling, RopeScaling::kNone);
  EXPECT_EQ(c->rope.base, 10000.0);
}

TEST(HuggingFaceConfigTest, StylesOfRotaryFields) {
  const std::string yarn = R"({"type": "yarn", "factor": 4.0,
      "original_max_position_embeddings": 128})";
  const std::string plain = R"({"rope_type": "default", "rope_theta": 5000.0})";
  for (const auto& [fields, base, scaling] :
       std::initializer_list<std::tuple<std::string, double, RopeScaling>>{
           {"\"rope_theta\": 7000.0", 7000.0, RopeScaling::kNone},
           {"\"rope_theta\": 7000.0, \"rope_scaling\": " + yarn, 7000.0, RopeScaling::kYarn},
           {"\"rope_parameters\": " + plain, 5000.0, RopeScaling::kNone},
           {"\"rope_theta\": 7000.0, \"rope_parameters\": " + plain, 5000.0, RopeScaling::kNone},
           {"\"rope_parameters\": " + plain + ", \"rope_scaling\": " + yarn, 5000.0,
            RopeScaling::kYarn},
           {"\"rope_parameters\": " + plain + ", \"rope_scaling\": {}", 5000.0,
            RopeScaling::kNone}}) {
    const auto c = ReadJson("llama", fields);
    ASSERT_TRUE(c.ok()) << fields << c.status();
    EXPECT_EQ(c->rope.base, base) << fields;
    EXPECT_EQ(c->rope.scaling, scaling) << fields;
  }
}

TEST(HuggingFaceConfigTest, PartOfAHeadIsRotated) {
  const auto c = ReadJson("llama", R"("partial_rotary_factor": 0.5)");
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->rope.dim, 8);
}

TEST(HuggingFaceConfigTest, ASlidingWindowLimitsTheContextWhereItIsUsed) {
  const std::string window = R"("sliding_window": 128)";
  const std::string experts = R"(, "num_local_experts": 4, "num_experts_per_tok": 2)";
  const auto context = [](const absl::StatusOr<ModelConfig>& c) {
    EXPECT_TRUE(c.ok()) << c.status();
    return c.ok() ? c->context : 0;
  };
  EXPECT_EQ(context(ReadJson("qwen2", window)), 512);
  EXPECT_EQ(context(ReadJson("qwen2", window + R"(, "use_sliding_window": true)")), 128);
  EXPECT_EQ(context(ReadJson("mixtral", window + experts)), 128);
}

TEST(HuggingFaceConfigTest, WhatIsNotSupportedIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"hidden_act gelu", R"("hidden_act": "gelu")"},
      {"partial_rotary_factor is 1.5", R"("partial_rotary_factor": 1.5)"},
      {"rope type dynamic", R"("rope_scaling": {"type": "dynamic", "factor": 2.0})"},
      {"rope_scaling is not an object", R"("rope_scaling": 3)"},
      {"num_key_value_heads", R"("num_key_value_heads": -2)"},
      {"num_key_value_heads", R"("num_key_value_heads": 18446744073709551615)"},
      {"num_key_value_heads", R"("num_key_value_heads": "four")"},
      {"head size is 0", R"("head_dim": 0)"},
      {"scoring_func sqrtsoftplus",
       R"("num_experts": 4, "num_experts_per_tok": 2, "scoring_func": "sqrtsoftplus")"},
  };
  for (const auto& [reason, field] : cases) {
    EXPECT_THAT(ReadJson("llama", field).status().ToString(), HasSubstr(reason)) << field;
  }
  EXPECT_THAT(ReadJson("bert", "").status().ToString(), HasSubstr("bert"));
  for (const char* text : {"", "[]", "{", "{}", "null", "\xff"}) {
    EXPECT_FALSE(ConfigFromHuggingFace(text).ok()) << text;
  }
}

TEST(HuggingFaceConfigTest, OtherRouterThanTheModelTypesIsRefused) {
  const std::string fields = R"("kv_lora_rank": 32, "qk_nope_head_dim": 16,
      "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
      "moe_intermediate_size": 32)";
  const auto v3 = ReadJson("deepseek_v3", fields);
  ASSERT_TRUE(v3.ok()) << v3.status();
  EXPECT_EQ(v3->moe.route.gating, Gating::kSigmoid);
  EXPECT_TRUE(v3->moe.route.normalize);
  EXPECT_EQ(v3->rope.pairing, RopePairing::kInterleaved);
  const auto halves = ReadJson("deepseek_v3", fields + R"(, "rope_interleave": false)");
  ASSERT_TRUE(halves.ok()) << halves.status();
  EXPECT_EQ(halves->rope.pairing, RopePairing::kHalves);
  const auto other = ReadJson("deepseek_v3", fields + R"(, "scoring_func": "softmax")");
  EXPECT_TRUE(absl::IsUnimplemented(other.status())) << other.status();
}

// The files that their makers published, where a copy lies beside the sources.
class PublishedConfigTest : public testing::Test {
 protected:
  absl::StatusOr<ModelConfig> ReadPublished(const std::string& name) {
    std::ifstream file(std::string(TANDEM_SOURCE_DIR) + "/../shared/configs/" + name +
                       "_config.json");
    const std::string text((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    if (text.empty()) return absl::NotFoundError(name);
    return ConfigFromHuggingFace(text);
  }
};

struct Published {
  const char* file;
  int64_t layers, width, ff, heads, kv_heads, head_dim;
  int64_t experts, top_k, shared, expert_ff, dense, groups, groups_used;
  double scale;  // of the experts' weights
  bool normalize;
  Gating gating;
  double attention_scale;
};

TEST_F(PublishedConfigTest, NumbersOfPublishedModels) {
  if (!std::filesystem::exists(std::string(TANDEM_SOURCE_DIR) + "/../shared/configs")) {
    GTEST_SKIP() << "no published configs here";
  }
  const auto soft = Gating::kSoftmax, sigmoid = Gating::kSigmoid;
  const double head128 = 1.0 / std::sqrt(128.0);
  const double kimi = std::pow(1.0 + 0.1 * std::log(32.0), 2) / std::sqrt(192.0);
  const Published all[] = {
      {"DeepSeek-V2-Lite", 27, 2048, 10944, 16, 16, 192, 64, 6, 2, 1408, 1, 1, 1, 1.0, false, soft,
       0.11472},
      {"deepseek-ai--DeepSeek-V3", 61, 7168, 18432, 128, 128, 192, 256, 8, 1, 2048, 3, 8, 4, 2.5,
       true, sigmoid, 0.13523},
      {"deepseek-ai--DeepSeek-R1", 61, 7168, 18432, 128, 128, 192, 256, 8, 1, 2048, 3, 8, 4, 2.5,
       true, sigmoid, 0.13523},
      {"moonshotai--Kimi-K2-Instruct", 61, 7168, 18432, 64, 64, 192, 384, 8, 1, 2048, 1, 1, 1,
       2.827, true, sigmoid, kimi},
      {"Qwen--Qwen3-0.6B", 28, 1024, 3072, 16, 8, 128, 0, 1, 0, 0, 0, 1, 1, 1.0, false, soft,
       head128},
      {"Qwen--Qwen3-8B", 36, 4096, 12288, 32, 8, 128, 0, 1, 0, 0, 0, 1, 1, 1.0, false, soft,
       head128},
      {"Qwen--Qwen3-30B-A3B", 48, 2048, 6144, 32, 4, 128, 128, 8, 0, 768, 0, 1, 1, 1.0, true, soft,
       head128},
      {"Qwen--Qwen3-235B-A22B", 94, 4096, 12288, 64, 4, 128, 128, 8, 0, 1536, 0, 1, 1, 1.0, true,
       soft, head128},
      {"mistralai--Mixtral-8x7B-v0.1", 32, 4096, 14336, 32, 8, 128, 8, 2, 0, 14336, 0, 1, 1, 1.0,
       true, soft, head128},
  };
  for (const Published& want : all) {
    SCOPED_TRACE(want.file);
    const auto c = ReadPublished(want.file);
    ASSERT_TRUE(c.ok()) << c.status();
    EXPECT_EQ(c->layers, want.layers);
    EXPECT_EQ(c->width, want.width);
    EXPECT_EQ(c->ff, want.ff);
    EXPECT_EQ(c->heads, want.heads);
    EXPECT_EQ(c->kv_heads, want.kv_heads);
    EXPECT_EQ(c->head_dim, want.head_dim);
    EXPECT_EQ(c->moe.experts, want.experts);
    EXPECT_EQ(c->moe.route.top_k, want.top_k);
    EXPECT_EQ(c->moe.shared, want.shared);
    EXPECT_EQ(c->moe.ff, want.expert_ff);
    EXPECT_EQ(c->moe.dense_layers, want.dense);
    EXPECT_EQ(c->moe.route.groups, want.groups);
    EXPECT_EQ(c->moe.route.groups_used, want.groups_used);
    EXPECT_NEAR(c->moe.route.scale, want.scale, 1e-6);
    EXPECT_EQ(c->moe.route.normalize, want.normalize);
    EXPECT_EQ(c->moe.route.gating, want.gating);
    EXPECT_NEAR(c->attention_scale, want.attention_scale, 1e-5);
    EXPECT_NEAR(RopeMagnitude(c->rope), 1.0, 1e-12);
  }
}

TEST_F(PublishedConfigTest, OtherAttentionsAndRoutersAreRefused) {
  if (!ReadPublished("DeepSeek-V2-Lite").ok()) GTEST_SKIP() << "no published configs here";
  for (const char* name : {"deepseek-ai--DeepSeek-V3.2", "deepseek-ai--DeepSeek-V4-Flash",
                           "moonshotai--Kimi-K3", "zai-org--GLM-5"}) {
    EXPECT_TRUE(absl::IsUnimplemented(ReadPublished(name).status())) << name;
  }
}

}  // namespace
}  // namespace tandem
