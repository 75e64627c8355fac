// What the host chooses for attention calls; no GPU is needed.
#include "backends/cuda/attention_decode.h"
#include "backends/cuda/attention_portable.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

using testing::AllOf;
using testing::Ge;
using testing::HasSubstr;
using testing::Le;

Target Named(const char* name) { return *TargetFromName(name); }

AttentionShape Shape(int heads, int kv_heads, int dk, int dv, int v_offset = -1) {
  AttentionShape shape;
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.dk = dk;
  shape.dv = dv;
  shape.v_offset = v_offset;
  shape.workspace_limit = int64_t{1} << 40;
  return shape;
}

AttentionShape Steps(AttentionShape shape, int tokens, int seqs) {
  shape.tokens = tokens;
  shape.seqs = seqs;
  return shape;
}

// Heads as models have them, and odd ones.
const AttentionShape kShapes[] = {Shape(16, 1, 576, 512, 0), Shape(128, 1, 576, 512, 0),
                                  Shape(32, 8, 128, 128),    Shape(16, 16, 192, 128),
                                  Shape(8, 8, 64, 64),       Shape(4, 2, 256, 256),
                                  Shape(3, 3, 40, 24),       Shape(2, 1, 32, 96)};
constexpr const char* kTargets[] = {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_120"};

TEST(AttentionChoiceTest, PromptsFitEveryGpu) {
  for (const char* name : kTargets) {
    for (const AttentionShape& heads : kShapes) {
      const AttentionShape shape = Steps(heads, 512, 1);
      const auto choice = ChooseAttentionTile(shape, Named(name), 8, 1);
      ASSERT_TRUE(choice.ok()) << name << ": " << choice.status();
      EXPECT_LE(choice->shared_bytes, Named(name).shared_per_block) << choice->ToString();
      EXPECT_LE(choice->threads(), 256);
      EXPECT_EQ(choice->keys / choice->column_warps % 8, 0);
      EXPECT_LE(shape.dv, 256 * choice->column_warps);
    }
  }
}

TEST(AttentionChoiceTest, FewRowsTakeFewWarps) {
  const auto choice =
      ChooseAttentionTile(Steps(Shape(8, 8, 128, 128), 10, 1), Named("sm_90a"), 8, 1);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->rows(), 16);
}

TEST(AttentionChoiceTest, LeavesWhatHasNoSixteenBitOperands) {
  AttentionShape shape = Steps(Shape(8, 8, 128, 128), 64, 1);
  shape.k = Kv::kF32;
  EXPECT_FALSE(FitsTensorCores(shape));
  EXPECT_FALSE(ChooseAttentionTile(shape, Named("sm_90a"), 8, 1).ok());
  EXPECT_FALSE(ChooseDecode(shape, Named("sm_90a")).ok());
  shape = Shape(8, 8, 132, 128);  // not a multiple of 8
  EXPECT_FALSE(FitsTensorCores(shape));
  shape = Shape(8, 8, 128, 64, 16);  // V begins inside a block
  shape.k = shape.v = Kv::kQ8_0;
  EXPECT_FALSE(FitsTensorCores(shape));
  shape.v_offset = 32;
  EXPECT_TRUE(FitsTensorCores(shape));
}

TEST(DecodeChoiceTest, FitsEveryGpuWithATileOnItsWay) {
  for (const char* name : kTargets) {
    for (const AttentionShape& heads : kShapes) {
      for (const int seqs : {1, 4, 32, 200}) {
        const auto choice = ChooseDecode(Steps(heads, seqs, seqs), Named(name));
        ASSERT_TRUE(choice.ok()) << name << ": " << choice.status();
        EXPECT_LE(choice->shared_bytes, Named(name).shared_per_block) << choice->ToString();
        EXPECT_GE(choice->slots * choice->slot_keys, 2 * choice->keys) << choice->ToString();
        EXPECT_THAT(choice->splits, AllOf(Ge(1), Le(256)));
      }
    }
  }
}

TEST(DecodeChoiceTest, OneSequenceHasASplitForEachBlock) {
  const auto choice = ChooseDecode(Steps(Shape(16, 1, 576, 512, 0), 1, 1), Named("sm_90a"));
  ASSERT_TRUE(choice.ok());
  EXPECT_TRUE(choice->wide && choice->bulk);
  EXPECT_EQ(choice->splits, choice->blocks);
}

TEST(DecodeChoiceTest, ManySequencesHaveFewSplits) {
  const AttentionShape heads = Shape(16, 1, 576, 512, 0);
  const int sms = Named("sm_90a").sms;
  const auto some = ChooseDecode(Steps(heads, 32, 32), Named("sm_90a"));
  EXPECT_EQ(some->splits, 2 * sms / 32);
  const auto many = ChooseDecode(Steps(heads, 4 * sms, 4 * sms), Named("sm_90a"));
  EXPECT_EQ(many->splits, 1);
}

TEST(DecodeChoiceTest, KeepsToTheWorkspaceLimit) {
  AttentionShape shape = Steps(Shape(16, 1, 576, 512, 0), 1, 1);
  shape.workspace_limit = 1;
  EXPECT_EQ(ChooseDecode(shape, Named("sm_90a"))->splits, 1);
  shape.workspace_limit = 1 << 20;
  const auto choice = ChooseDecode(shape, Named("sm_90a"));
  EXPECT_THAT(choice->splits, AllOf(Ge(2), Le((1 << 20) / (16 * 514 * 4))));
}

TEST(DecodeChoiceTest, CopyEngineIsForHopperAndPlainScales) {
  AttentionShape shape = Steps(Shape(16, 1, 576, 512, 0), 1, 1);
  EXPECT_FALSE(ChooseDecode(shape, Named("sm_80"))->bulk);
  shape.k = shape.v = Kv::kQ8_0;
  EXPECT_TRUE(ChooseDecode(shape, Named("sm_90a"))->bulk);
  AttentionShape grouped = Steps(Shape(8, 2, 256, 256), 1, 1);
  grouped.k = grouped.v = Kv::kQ8_0;  // scales of one head are not neighbours
  EXPECT_FALSE(ChooseDecode(grouped, Named("sm_90a"))->bulk);
}

TEST(DecodeChoiceTest, NamesItsKernel) {
  const AttentionShape shape = Steps(Shape(16, 1, 576, 512, 0), 1, 1);
  const KernelSpec kernel = ChooseDecode(shape, Named("sm_90a"))->Kernel(shape);
  EXPECT_EQ(kernel.file, "attention_decode_bulk.cuh");
  EXPECT_THAT(kernel.name,
              HasSubstr("AttentionDecodeBulk<tandem::cuda::DecodeTraits<"
                        "tandem::cuda::Kv(1), tandem::cuda::Kv(1), 576, 512, 0, 4, 4"));
}

TEST(DecodeChoiceTest, IsForFewTokens) {
  EXPECT_TRUE(PrefersDecode(Steps(kShapes[0], 1, 1)));
  EXPECT_TRUE(PrefersDecode(Steps(kShapes[0], 12, 4)));
  EXPECT_FALSE(PrefersDecode(Steps(kShapes[0], 512, 4)));
}

}  // namespace
}  // namespace tandem::cuda
