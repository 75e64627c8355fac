#include "backends/cuda/attention_prompt.h"

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

Target Hopper() {
  Target target;
  target.arch = 90;
  target.sms = 132;
  target.shared_per_block = 227 * 1024;
  target.l2_bytes = 60 << 20;
  return target;
}

TEST(PromptBlockTest, TakesTheLargestTileOfKeysThatFits) {
  struct Case {
    int dk, dv, key_tile;
  };
  for (const auto& [dk, dv, key_tile] :
       {Case{64, 64, 128}, Case{96, 96, 128}, Case{128, 128, 128}, Case{192, 128, 128},
        Case{256, 128, 64}, Case{256, 256, 64}, Case{80, 112, 128}}) {
    const auto block = ChoosePromptBlock(dk, dv, Hopper());
    ASSERT_TRUE(block.ok()) << block.status();
    EXPECT_EQ(block->key_tile, key_tile) << ToString(*block);
    EXPECT_EQ(PromptRows(*block), 128);
    EXPECT_LE(PromptSharedBytes(*block), Hopper().shared_per_block);
    EXPECT_EQ(kPromptChunk % block->key_tile, 0);
  }
}

TEST(PromptBlockTest, RefusesWhatTheKernelCannotDo) {
  Target ampere = Hopper();
  ampere.arch = 80;
  EXPECT_FALSE(ChoosePromptBlock(128, 128, ampere).ok());
  EXPECT_FALSE(ChoosePromptBlock(576, 512, Hopper()).ok());
  EXPECT_FALSE(ChoosePromptBlock(100, 128, Hopper()).ok());
  EXPECT_FALSE(ChoosePromptBlock(128, 240, Hopper()).ok());
}

// A call over pages of f16, with addresses that nobody reads.
AttentionArgs Pages(int64_t tokens, int64_t sequences, int64_t heads, int64_t kv_heads) {
  const auto at = [](int64_t i) { return reinterpret_cast<void*>(uintptr_t{1} << (20 + i)); };
  AttentionArgs args;
  args.q = MakeView(at(1), DType::kF32, {tokens, heads, 192});
  args.k = MakeView(at(2), DType::kF16, {100, 64, kv_heads, 192});
  args.v = MakeView(at(3), DType::kF16, {100, 64, kv_heads, 128});
  args.batch.seq_start = MakeView(at(4), DType::kI32, {sequences + 1});
  args.batch.kv_len = MakeView(at(5), DType::kI32, {sequences});
  args.batch.page_table = MakeView(at(6), DType::kI32, {sequences, 25});
  args.out = MakeView(at(7), DType::kF32, {tokens, heads, 128});
  return args;
}

AttentionPromptParams ParamsOf(const Launch& launch) {
  AttentionPromptParams p;
  EXPECT_EQ(launch.params.size(), sizeof(p));
  std::memcpy(&p, launch.params.data(), sizeof(p));
  return p;
}

TEST(PromptLaunchTest, CoversTheSequencesOfAnyStep) {
  const AttentionArgs args = Pages(300, 4, 16, 8);
  ASSERT_TRUE(SupportsPromptAttention(args, Hopper()).ok());
  i32 counters[2] = {};
  const auto launch = LowerPromptAttention(args, {.counters = counters}, Hopper(), nullptr);
  ASSERT_TRUE(launch.ok()) << launch.status();
  EXPECT_EQ(launch->kernel.name,
            "tandem::cuda::AttentionPrompt<tandem::cuda::f16, 192, 128, 2, 128, 2, false>");
  EXPECT_EQ(launch->block.x, 384u);
  EXPECT_EQ(launch->grid.x, (300 / 128 + 4) * 16u);
  const AttentionPromptParams p = ParamsOf(*launch);
  EXPECT_EQ(p.heads_per_kv, 2);
  EXPECT_EQ(p.page_stride, 25);
  EXPECT_EQ(p.q_token, 16 * 192);
  EXPECT_EQ(p.key_begin, 0);
}

TEST(PromptLaunchTest, HasABlockForEachMultiprocessorOrForEachPieceOfWork) {
  const AttentionArgs args = Pages(4096, 1, 16, 16);
  i32 counters[2] = {};
  EXPECT_EQ(LowerPromptAttention(args, {.counters = counters}, Hopper(), nullptr)->grid.x, 132u);
  EXPECT_EQ(LowerPromptAttention(args, {}, Hopper(), nullptr)->grid.x, 33u * 16);
}

TEST(PromptLaunchTest, TakesKeysChunkByChunk) {
  const AttentionArgs args = Pages(512, 2, 16, 16);
  ASSERT_TRUE(SupportsPromptChunks(args, Hopper()).ok());
  const PromptKeys keys = {
      .type = DType::kBF16, .rows_per_sequence = 1024, .begin = 1024, .end = 2048};
  const auto launch = LowerPromptChunk(args, keys, {}, Hopper(), nullptr);
  ASSERT_TRUE(launch.ok()) << launch.status();
  EXPECT_THAT(launch->kernel.name, testing::HasSubstr("bf16"));
  const AttentionPromptParams p = ParamsOf(*launch);
  EXPECT_EQ(p.page_table, nullptr);
  EXPECT_EQ(p.key_begin, 1024);
  EXPECT_EQ(p.key_end, 2048);
  EXPECT_EQ(PromptStateBytes(args), 512 * 16 * 32);
}

TEST(PromptLaunchTest, RefusesOtherCaches) {
  AttentionArgs args = Pages(512, 2, 16, 16);
  args.k.strides[0] += 64;
  EXPECT_FALSE(SupportsPromptAttention(args, Hopper()).ok());
  args = Pages(512, 2, 16, 16);
  args.k = MakeView(nullptr, DType::kF32, {100, 64, 16, 192});
  EXPECT_FALSE(SupportsPromptAttention(args, Hopper()).ok());
  args = Pages(512, 2, 16, 16);
  args.v = {};
  args.v_from_k_offset = 0;
  EXPECT_FALSE(SupportsPromptAttention(args, Hopper()).ok());
}

}  // namespace
}  // namespace tandem::cuda
