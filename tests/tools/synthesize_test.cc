// `tandem synthesize` from outside.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/model.h"
#include "tests/runtime/temp_dir.h"
#include "tests/tools/run_tool.h"

namespace tandem {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr char kConfig[] = R"({
 "model_type": "deepseek_v2", "vocab_size": 600, "hidden_size": 128, "num_hidden_layers": 3,
 "intermediate_size": 160, "moe_intermediate_size": 64, "n_routed_experts": 8,
 "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
 "num_attention_heads": 2, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 32,
 "v_head_dim": 32, "max_position_embeddings": 1024, "rope_theta": 10000.0})";

class SynthesizeTest : public ::testing::Test {
 protected:
  const TempDir folder_;
  const std::string config_ = folder_.Write("shape.json", kConfig);
  const std::string out_ = folder_.Path("random.gguf");
};

TEST_F(SynthesizeTest, WritesAModelAndTellsItsExpertsLoad) {
  const ToolResult result = RunTool({"synthesize", config_, "--type", "iq4_nl", "-o", out_});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, ContainsRegex("iq4_nl +[0-9]+ tensors"));
  EXPECT_THAT(result.out, HasSubstr("\n    1        8 of 8 "));
  EXPECT_THAT(result.out, HasSubstr("\n    2        8 of 8 "));
  const auto model = Model::Open(out_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->config().name, "shape");
  EXPECT_EQ((*model)->config().vocab, 600);
  EXPECT_TRUE((*model)->weights().Contains("blk.2.attn_k_b.weight"));
}

TEST_F(SynthesizeTest, TakesLayersAndLayout) {
  const ToolResult result = RunTool(
      {"synthesize", config_, "--type", "Q4_K", "--layers", "2", "--layout", "old", "-o", out_});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("do not fill blocks of q4_k"));
  const auto model = Model::Open(out_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->config().layers, 2);
  EXPECT_TRUE((*model)->weights().Contains("blk.1.attn_kv_b.weight"));
}

TEST_F(SynthesizeTest, ReportsErrors) {
  const ToolResult missing =
      RunTool({"synthesize", folder_.Path("none.json"), "--type", "f16", "-o", out_});
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(missing.err, HasSubstr("none.json"));
  EXPECT_EQ(RunTool({"synthesize", config_, "-o", out_}).code, 2);
  EXPECT_EQ(RunTool({"synthesize", config_, "--type", "q9", "-o", out_}).code, 2);
  const ToolResult layers =
      RunTool({"synthesize", config_, "--type", "f16", "--layers", "9", "-o", out_});
  EXPECT_EQ(layers.code, 1);
  EXPECT_THAT(layers.err, HasSubstr("9 layers"));
  EXPECT_THAT(ReadFileBytes(out_), "");
}

}  // namespace
}  // namespace tandem
