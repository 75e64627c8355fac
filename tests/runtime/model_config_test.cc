// Hyper-parameters as GGUF metadata states them: meanings and defaults of the keys, and numbers
// that a reader must refuse.
#include "runtime/model_config.h"

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/gguf.h"
#include "runtime/gguf_writer.h"

namespace tandem {
namespace {

using testing::HasSubstr;

// What a test changes of the metadata of a model.
using Edit = std::function<void(GgufHeader&)>;

absl::StatusOr<ModelConfig> Read(const GgufHeader& header) {
  const auto bytes = header.Serialize();
  if (!bytes.ok()) return bytes.status();
  const auto file = GgufFile::Parse(*bytes);
  if (!file.ok()) return file.status();
  return ConfigFromGguf(file->metadata());
}

struct Sizes {
  uint32_t blocks, context, width, ff, heads;
};

GgufHeader Begin(const std::string& arch, const Sizes& sizes) {
  GgufHeader header;
  header.SetString("general.architecture", arch);
  header.SetU32(arch + ".block_count", sizes.blocks);
  header.SetU32(arch + ".context_length", sizes.context);
  header.SetU32(arch + ".embedding_length", sizes.width);
  header.SetU32(arch + ".feed_forward_length", sizes.ff);
  header.SetU32(arch + ".attention.head_count", sizes.heads);
  return header;
}

absl::StatusOr<ModelConfig> ReadLlama(const Edit& edit = nullptr) {
  GgufHeader header = Begin("llama", {32, 8192, 4096, 14336, 32});
  if (edit) edit(header);
  return Read(header);
}

// DeepSeek-V2-Lite in the old layout.
GgufHeader Lite(uint32_t blocks = 27) {
  GgufHeader h = Begin("deepseek2", {blocks, 163840, 2048, 10944, 16});
  h.SetU32("deepseek2.leading_dense_block_count", 1);
  h.SetU32("deepseek2.attention.kv_lora_rank", 512);
  h.SetU32("deepseek2.rope.dimension_count", 64);
  h.SetU32("deepseek2.expert_count", 64);
  h.SetU32("deepseek2.expert_used_count", 6);
  h.SetU32("deepseek2.expert_shared_count", 2);
  h.SetU32("deepseek2.expert_feed_forward_length", 1408);
  h.SetString("deepseek2.rope.scaling.type", "yarn");
  h.SetF32("deepseek2.rope.scaling.factor", 40.0f);
  h.SetU32("deepseek2.rope.scaling.original_context_length", 4096);
  return h;
}

void SetOldLayout(GgufHeader& h) {
  h.SetU32("deepseek2.attention.head_count_kv", 16);
  h.SetU32("deepseek2.attention.key_length", 192);
  h.SetU32("deepseek2.attention.value_length", 128);
  h.SetF32("deepseek2.rope.scaling.yarn_log_multiplier", 0.0707f);
}

absl::StatusOr<ModelConfig> ReadLite(const Edit& edit, uint32_t blocks = 27) {
  GgufHeader header = Lite(blocks);
  SetOldLayout(header);
  if (edit) edit(header);
  return Read(header);
}

void ExpectLite(const ModelConfig& c) {
  EXPECT_EQ(c.family, Family::kDeepSeek2);
  EXPECT_EQ(c.layers, 27);
  EXPECT_EQ(c.width, 2048);
  EXPECT_EQ(c.context, 163840);
  EXPECT_EQ(c.ff, 10944);
  EXPECT_EQ(c.heads, 16);
  EXPECT_EQ(c.kv_heads, 16);
  EXPECT_EQ(c.head_dim, 192);
  EXPECT_EQ(c.v_head_dim, 128);
  EXPECT_EQ(c.mla.q_lora, 0);
  EXPECT_EQ(c.mla.kv_lora, 512);
  EXPECT_EQ(c.mla.nope_dim, 128);
  EXPECT_EQ(c.mla.rope_dim, 64);
  EXPECT_EQ(c.mla.v_dim, 128);
  EXPECT_EQ(c.moe.experts, 64);
  EXPECT_EQ(c.moe.ff, 1408);
  EXPECT_EQ(c.moe.shared, 2);
  EXPECT_EQ(c.moe.dense_layers, 1);
  EXPECT_EQ(c.moe.route.top_k, 6);
  EXPECT_EQ(c.moe.route.gating, Gating::kSoftmax);
  EXPECT_EQ(c.moe.route.groups, 1);
  EXPECT_FALSE(c.moe.route.normalize);
  EXPECT_FLOAT_EQ(c.moe.route.scale, 1.0f);
  EXPECT_EQ(c.rope.pairing, RopePairing::kInterleaved);
  EXPECT_EQ(c.rope.dim, 64);
  EXPECT_NEAR(c.attention_scale, 0.11472, 1e-5);
  EXPECT_NEAR(RopeMagnitude(c.rope), 1.0, 1e-12);
}

TEST(GgufConfigTest, BothLayoutsOfDeepSeekGiveTheSameModel) {
  const auto old = ReadLite(nullptr);
  ASSERT_TRUE(old.ok()) << old.status();
  ExpectLite(*old);

  GgufHeader header = Lite();
  header.SetU32("deepseek2.attention.head_count_kv", 1);
  header.SetU32("deepseek2.attention.key_length", 576);
  header.SetU32("deepseek2.attention.value_length", 512);
  header.SetU32("deepseek2.attention.key_length_mla", 192);
  header.SetU32("deepseek2.attention.value_length_mla", 128);
  header.SetF32("deepseek2.rope.scaling.yarn_log_multiplier", 0.0707f);
  const auto absorbed = Read(header);
  ASSERT_TRUE(absorbed.ok()) << absorbed.status();
  ExpectLite(*absorbed);
}

TEST(GgufConfigTest, RouterOfDeepSeekV3) {
  const auto c = ReadLite([](GgufHeader& h) {
    h.SetU32("deepseek2.expert_gating_func", 2);
    h.SetU32("deepseek2.expert_group_count", 8);
    h.SetU32("deepseek2.expert_group_used_count", 4);
    h.SetBool("deepseek2.expert_weights_norm", true);
    h.SetU32("deepseek2.nextn_predict_layers", 1);
  });
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->layers, 26);
  EXPECT_EQ(c->moe.route.gating, Gating::kSigmoid);
  EXPECT_EQ(c->moe.route.group_score, GroupScore::kTop2Sum);
  EXPECT_EQ(c->moe.route.groups, 8);
  EXPECT_EQ(c->moe.route.groups_used, 4);
  EXPECT_TRUE(c->moe.route.normalize);
}

// Key absent, or 0, by number of blocks: only GLM-4.7-Flash's files mean a sigmoid.
TEST(GgufConfigTest, DefaultOfTheGatingFunction) {
  for (const uint32_t blocks : {26u, 27u, 47u, 48u, 61u}) {
    for (const bool zero : {false, true}) {
      const auto c = ReadLite(
          [zero](GgufHeader& h) {
            if (zero) h.SetU32("deepseek2.expert_gating_func", 0);
          },
          blocks);
      ASSERT_TRUE(c.ok()) << c.status();
      const bool glm = blocks == 47 || blocks == 48;
      EXPECT_EQ(c->moe.route.gating, glm ? Gating::kSigmoid : Gating::kSoftmax) << blocks;
    }
  }
  for (const uint32_t number : {3u, 4u, 77u}) {
    const auto c =
        ReadLite([number](GgufHeader& h) { h.SetU32("deepseek2.expert_gating_func", number); });
    EXPECT_TRUE(absl::IsUnimplemented(c.status())) << number << ": " << c.status();
  }
}

TEST(GgufConfigTest, GroupsThatAreWrittenButNotUsed) {
  const auto c = ReadLite([](GgufHeader& h) {
    h.SetU32("deepseek2.expert_group_count", 0);
    h.SetU32("deepseek2.expert_group_used_count", 0);
    h.SetF32("deepseek2.expert_weights_scale", 0.0f);
  });
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->moe.route.groups, 1);
  EXPECT_EQ(c->moe.route.groups_used, 1);
  EXPECT_EQ(c->moe.route.scale, 1.0f);
}

// Kimi-K2: both bounds of YaRN's ramp are where a pair turns once; low 19 and high 20.
TEST(GgufConfigTest, YarnBoundsOfKimiK2AreRead) {
  const auto c = ReadLite([](GgufHeader& h) {
    h.SetF32("deepseek2.rope.freq_base", 50000.0f);
    h.SetF32("deepseek2.rope.scaling.yarn_beta_fast", 1.0f);
    h.SetF32("deepseek2.rope.scaling.yarn_beta_slow", 1.0f);
  });
  ASSERT_TRUE(c.ok()) << c.status();
  const std::vector<float> freqs = RopeFrequencies(c->rope);
  const auto plain = [](int i) { return std::pow(50000.0, -2.0 * i / 64.0); };
  EXPECT_NEAR(freqs[19] / plain(19), 1.0, 1e-6);
  EXPECT_NEAR(freqs[20] / plain(20), 1.0 / 40.0, 1e-6);
}

TEST(GgufConfigTest, DefaultsOfLlama) {
  const auto c = ReadLlama();
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->kv_heads, 32);
  EXPECT_EQ(c->head_dim, 128);
  EXPECT_EQ(c->v_head_dim, 128);
  EXPECT_EQ(c->rope.dim, 128);
  EXPECT_EQ(c->rope.base, 10000.0);
  EXPECT_EQ(c->rope.pairing, RopePairing::kInterleaved);
  EXPECT_EQ(c->moe.experts, 0);
  EXPECT_NEAR(c->attention_scale, 1.0 / std::sqrt(128.0), 1e-7);
  EXPECT_EQ(RopeMagnitude(c->rope), 1.0);
}

TEST(GgufConfigTest, ScalesOfLlama) {
  const auto linear = ReadLlama([](GgufHeader& h) { h.SetF32("llama.rope.scale_linear", 4.0f); });
  ASSERT_TRUE(linear.ok()) << linear.status();
  EXPECT_NEAR(RopeFrequencies(linear->rope)[0], 0.25, 1e-7);
  const auto none = ReadLlama([](GgufHeader& h) {
    h.SetString("llama.rope.scaling.type", "none");
    h.SetF32("llama.rope.scaling.factor", 4.0f);
  });
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(RopeFrequencies(none->rope)[0], 1.0f);
  const auto scaled = ReadLlama([](GgufHeader& h) { h.SetF32("llama.attention.scale", 0.25f); });
  ASSERT_TRUE(scaled.ok()) << scaled.status();
  EXPECT_EQ(scaled->attention_scale, 0.25f);
}

TEST(GgufConfigTest, ASlidingWindowLimitsTheContext) {
  const auto c = ReadLlama([](GgufHeader& h) { h.SetU32("llama.attention.sliding_window", 4096); });
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->context, 4096);
}

TEST(GgufConfigTest, ExpertsOfMixtralAndQwen) {
  const auto mixtral = ReadLlama([](GgufHeader& h) {
    h.SetU32("llama.expert_count", 8);
    h.SetU32("llama.expert_used_count", 2);
  });
  ASSERT_TRUE(mixtral.ok()) << mixtral.status();
  EXPECT_EQ(mixtral->moe.ff, 14336);
  EXPECT_TRUE(mixtral->moe.route.normalize);
  EXPECT_EQ(mixtral->moe.route.gating, Gating::kSoftmax);

  GgufHeader header = Begin("qwen3moe", {48, 40960, 2048, 6144, 32});
  header.SetU32("qwen3moe.attention.key_length", 128);
  header.SetU32("qwen3moe.attention.value_length", 128);
  header.SetU32("qwen3moe.attention.head_count_kv", 4);
  header.SetU32("qwen3moe.expert_count", 128);
  header.SetU32("qwen3moe.expert_used_count", 8);
  const auto qwen = Read(header);
  ASSERT_TRUE(qwen.ok()) << qwen.status();
  EXPECT_EQ(qwen->moe.ff, 768);
  EXPECT_TRUE(qwen->moe.route.normalize);
  EXPECT_EQ(qwen->rope.pairing, RopePairing::kHalves);
  EXPECT_EQ(qwen->rope.dim, 128);
}

TEST(GgufConfigTest, ArraysThatAreTheSameForAllLayers) {
  GgufHeader header;
  header.SetString("general.architecture", "llama");
  header.SetU32("llama.block_count", 2);
  header.SetU32("llama.context_length", 64);
  header.SetU32("llama.embedding_length", 64);
  header.SetU32Array("llama.feed_forward_length", std::vector<uint32_t>{96, 96});
  header.SetU32Array("llama.attention.head_count", std::vector<uint32_t>{4, 4});
  const auto same = Read(header);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(same->ff, 96);
  EXPECT_EQ(same->heads, 4);
  header.SetU32Array("llama.attention.head_count_kv", std::vector<uint32_t>{4, 2});
  const auto differ = Read(header);
  EXPECT_TRUE(absl::IsUnimplemented(differ.status())) << differ.status();
}

// A damaged or hostile file: refused with a reason, whatever the number.
TEST(GgufConfigTest, NumbersOutOfRangeAreRefused) {
  const std::pair<const char*, Edit> llama[] = {
      {"head_count_kv", [](GgufHeader& h) { h.SetI32("llama.attention.head_count_kv", -1); }},
      {"32 heads cannot share 5",
       [](GgufHeader& h) { h.SetU32("llama.attention.head_count_kv", 5); }},
      {"KV heads is 0", [](GgufHeader& h) { h.SetU32("llama.attention.head_count_kv", 0); }},
      {"head size is 0", [](GgufHeader& h) { h.SetU32("llama.attention.key_length", 0); }},
      {"value head size", [](GgufHeader& h) { h.SetU32("llama.attention.value_length", 0); }},
      {"all heads", [](GgufHeader& h) { h.SetU32("llama.attention.key_length", 1 << 24); }},
      {"rotated dim", [](GgufHeader& h) { h.SetU32("llama.rope.dimension_count", 130); }},
      {"rotated dim", [](GgufHeader& h) { h.SetU32("llama.rope.dimension_count", 0); }},
      {"dimension is 3", [](GgufHeader& h) { h.SetU32("llama.rope.dimension_count", 3); }},
      {"base is nan", [](GgufHeader& h) { h.SetF32("llama.rope.freq_base", NAN); }},
      {"factor", [](GgufHeader& h) { h.SetF32("llama.rope.scaling.factor", -1.0f); }},
      {"epsilon", [](GgufHeader& h) { h.SetF32("llama.attention.layer_norm_rms_epsilon", NAN); }},
      {"scale is inf", [](GgufHeader& h) { h.SetF32("llama.attention.scale", INFINITY); }},
      {"longrope", [](GgufHeader& h) { h.SetString("llama.rope.scaling.type", "longrope"); }},
      {"magnitude",
       [](GgufHeader& h) {
         h.SetString("llama.rope.scaling.type", "yarn");
         h.SetF32("llama.rope.scaling.attn_factor", NAN);
       }},
      {"number of layers", [](GgufHeader& h) { h.SetU32("llama.nextn_predict_layers", 32); }},
      {"experts used",
       [](GgufHeader& h) {
         h.SetU32("llama.expert_count", 8);
         h.SetU32("llama.expert_used_count", 0);
       }},
      {"experts used",
       [](GgufHeader& h) {
         h.SetU32("llama.expert_count", 8);
         h.SetU32("llama.expert_used_count", 9);
       }},
      {"number of experts",
       [](GgufHeader& h) {
         h.SetU32("llama.expert_count", 1u << 31);
         h.SetU32("llama.expert_used_count", 9);
       }},
  };
  for (const auto& [reason, edit] : llama) {
    const auto c = ReadLlama(edit);
    EXPECT_THAT(c.status().ToString(), HasSubstr(reason));
  }
  const std::pair<const char*, Edit> lite[] = {
      {"groups", [](GgufHeader& h) { h.SetU32("deepseek2.expert_group_count", 7); }},
      {"groups used",
       [](GgufHeader& h) {
         h.SetU32("deepseek2.expert_group_count", 8);
         h.SetU32("deepseek2.expert_group_used_count", 9);
       }},
      {"scale", [](GgufHeader& h) { h.SetF32("deepseek2.attention.temperature_scale", 0.1f); }},
  };
  for (const auto& [reason, edit] : lite) {
    const auto c = ReadLite(edit);
    EXPECT_THAT(c.status().ToString(), HasSubstr(reason));
  }
}

TEST(GgufConfigTest, SizesThatDoNotFitAreRefused) {
  for (const auto& [reason, sizes] : std::initializer_list<std::pair<const char*, Sizes>>{
           {"number of layers is 0", {0, 64, 64, 64, 4}},
           {"number of layers is 513", {513, 64, 64, 64, 4}},
           {"number of layers", {UINT32_MAX, 64, 64, 64, 4}},
           {"context is 0", {1, 0, 64, 64, 4}},
           {"context", {1, UINT32_MAX, 64, 64, 4}},
           {"width is 0", {1, 64, 0, 64, 4}},
           {"width", {1, 64, UINT32_MAX, 64, 4}},
           {"feed-forward width is 0", {1, 64, 64, 0, 4}},
           {"number of heads is 0", {1, 64, 64, 64, 0}}}) {
    EXPECT_THAT(Read(Begin("llama", sizes)).status().ToString(), HasSubstr(reason));
  }
  GgufHeader wide;
  wide.SetString("general.architecture", "llama");
  wide.SetU64("llama.block_count", UINT64_MAX);
  EXPECT_THAT(Read(wide).status().ToString(), HasSubstr("18446744073709551615"));
}

}  // namespace
}  // namespace tandem
