#include "ops/op.h"

#include <string>
#include <vector>

#include "backends/device/program.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

using Types = std::vector<TensorType>;

TensorType F32(const Shape& shape) { return {DType::kF32, shape}; }
TensorType I32(const Shape& shape) { return {DType::kI32, shape}; }

Types Infer(const OpAttrs& attrs, const Types& inputs) {
  auto types = InferTypes(attrs, inputs);
  EXPECT_TRUE(types.ok()) << types.status();
  return types.ok() ? *types : Types();
}

std::string Fault(const OpAttrs& attrs, const Types& inputs) {
  const auto types = InferTypes(attrs, inputs);
  EXPECT_EQ(types.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(types.status().message());
}

const TensorType kCache = {DType::kQ8_0, {9, kPageTokens, 2, 64}};

Types AttentionInputs(const TensorType& v, const TensorType& k_up, const TensorType& v_up) {
  return {F32({5, 4, 64}), kCache, v, k_up, v_up, I32({3}), I32({2}), I32({2, 6})};
}

TEST(InferTypesTest, Rowwise) {
  EXPECT_EQ(Infer(EmbedAttrs{}, {I32({5}), {DType::kQ4_0, {100, 64}}}), Types{F32({5, 64})});
  EXPECT_EQ(Infer(RmsNormAttrs{}, {F32({5, 2, 8}), F32({8})}), Types{F32({5, 2, 8})});
  EXPECT_EQ(Infer(RopeAttrs{}, {F32({5, 2, 8}), I32({5}), F32({4})}), Types{F32({5, 2, 8})});
  EXPECT_EQ(Infer(AddAttrs{}, {F32({5, 8}), F32({5, 8})}), Types{F32({5, 8})});
  EXPECT_EQ(Infer(SwiGluAttrs{}, {F32({5, 8}), F32({5, 8})}), Types{F32({5, 8})});
  EXPECT_EQ(Infer(ConcatAttrs{}, {F32({5, 2, 8}), F32({5, 2, 3})}), Types{F32({5, 2, 11})});
  EXPECT_EQ(Infer(GatherRowsAttrs{}, {F32({5, 8}), I32({2})}), Types{F32({2, 8})});
}

TEST(InferTypesTest, Linear) {
  const TensorType w = {DType::kQ4_0, {7, 64}};
  EXPECT_EQ(Infer(LinearAttrs{}, {F32({5, 64}), w}), Types{F32({5, 7})});
  EXPECT_EQ(Infer(LinearAttrs{}, {F32({5, 64}), w, F32({7})}), Types{F32({5, 7})});
  EXPECT_EQ(Infer(LinearAttrs{true}, {F32({5, 7}), w}), Types{F32({5, 64})});
  EXPECT_EQ(Infer(LinearAttrs{}, {F32({5, 3, 8}), F32({3, 6, 8})}), Types{F32({5, 3, 6})});
  EXPECT_EQ(Infer(LinearAttrs{true}, {F32({5, 3, 6}), F32({3, 6, 8})}), Types{F32({5, 3, 8})});
}

TEST(InferTypesTest, AttentionTakesTheValueSizeFromItsSource) {
  const TensorType none;
  EXPECT_EQ(
      Infer(AttentionAttrs{}, AttentionInputs({DType::kF16, {9, kPageTokens, 2, 33}}, none, none)),
      Types{F32({5, 4, 33})});
  EXPECT_EQ(
      Infer(AttentionAttrs{.v_from_k_offset = 0, .v_dim = 48}, AttentionInputs(none, none, none)),
      Types{F32({5, 4, 48})});
  EXPECT_EQ(Infer(AttentionAttrs{.with_lse = true},
                  AttentionInputs(none, F32({4, 32, 32}), F32({4, 16, 32}))),
            (Types{F32({5, 4, 16}), F32({5, 4})}));
  EXPECT_THAT(Fault(AttentionAttrs{}, AttentionInputs(none, none, none)), HasSubstr("not 0"));
  EXPECT_THAT(Fault(AttentionAttrs{.v_from_k_offset = 0}, AttentionInputs(kCache, none, none)),
              HasSubstr("not 2"));
}

TEST(InferTypesTest, Experts) {
  RouteAttrs route;
  route.top_k = 3;
  EXPECT_EQ(Infer(route, {F32({5, 16})}), (Types{I32({5, 3}), F32({5, 3})}));
  route.top_k = 0;
  EXPECT_THAT(Fault(route, {F32({5, 16})}), HasSubstr("cannot choose 0 of 16 experts"));
  const TensorType up = F32({16, 12, 8}), down = F32({16, 8, 12});
  EXPECT_EQ(Infer(ExpertsAttrs{}, {F32({5, 8}), I32({5, 3}), F32({5, 3}), up, up, down}),
            Types{F32({5, 8})});
}

TEST(InferTypesTest, StoresHaveNoResult) {
  EXPECT_EQ(Infer(StoreKvAttrs{}, {F32({5, 2, 64}), I32({5}), kCache}), Types{});
}

TEST(InferTypesTest, NamesTheOperandThatIsWrong) {
  EXPECT_EQ(Fault(EmbedAttrs{}, {I32({5})}), "embed: table is missing");
  EXPECT_EQ(Fault(RopeAttrs{}, {F32({5, 8}), I32({5}), F32({4})}), "rope: x has rank 2, not 3");
  EXPECT_EQ(Fault(RmsNormAttrs{}, {F32({5}), F32({5})}), "rms_norm: x has rank 1, not 2 to 3");
  EXPECT_EQ(Fault(LinearAttrs{}, {F32({5, 64}), F32({7, 63})}),
            "linear: x is 64 wide, the weight takes 63");
  EXPECT_EQ(Fault(AddAttrs{}, {F32({5, 8}), F32({5, 9})}), "add: shapes [5, 8] and [5, 9] differ");
  EXPECT_EQ(Fault(ConcatAttrs{}, {F32({5, 8}), F32({4, 8})}),
            "concat: shapes [5, 8] and [4, 8] differ before the last dimension");
  EXPECT_EQ(Fault(ExpertsAttrs{}, {F32({5, 8}), I32({5, 3}), F32({5, 3}), F32({1, 2, 8}),
                                   F32({2, 8}), F32({1, 8, 2})}),
            "experts: expert weight has rank 2, not 3");
  for (const OpAttrs& attrs :
       {OpAttrs(EmbedAttrs{}), OpAttrs(AttentionAttrs{}), OpAttrs(RouteAttrs{})}) {
    EXPECT_THAT(
        Fault(attrs, Types(static_cast<size_t>(MaxInputs(GetKernelId(attrs))) + 1, F32({1, 1}))),
        HasSubstr("inputs, at most"));
  }
}

// Views told apart by their addresses, which are never followed.
TensorView Marked(std::vector<char>& memory, size_t i) {
  return MakeView(&memory[i], DType::kF32, {1});
}

TEST(LowerTest, OperandsGoWhereTheKernelReadsThem) {
  std::vector<char> memory(16);
  std::vector<TensorView> in, out;
  for (size_t i = 0; i < 9; ++i) in.push_back(Marked(memory, i));
  for (size_t i = 9; i < 11; ++i) out.push_back(Marked(memory, i));
  const int32_t live = 1;
  AttentionAttrs attrs;
  attrs.k_up_transposed = true;
  attrs.causal = false;
  attrs.scale = 0.5f;
  attrs.soft_cap = 30;
  attrs.workspace_limit = 77;
  const auto args = std::get<AttentionArgs>(Lower(attrs, in, out, &live));
  const std::vector<TensorView> read = Reads(args), written = Writes(args);
  ASSERT_EQ(read.size(), in.size());
  for (size_t i = 0; i < in.size(); ++i) EXPECT_EQ(read[i].data, in[i].data) << i;
  ASSERT_EQ(written.size(), out.size());
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(written[i].data, out[i].data) << i;
  EXPECT_EQ(args.batch.live_seqs, &live);
  EXPECT_TRUE(args.expansion.k_transposed);
  EXPECT_FALSE(args.causal);
  EXPECT_EQ(args.scale, 0.5f);
  EXPECT_EQ(args.soft_cap, 30);
  EXPECT_EQ(args.workspace_limit, 77);
}

TEST(LowerTest, EveryOpKeepsTheOrderOfItsKernel) {
  std::vector<char> memory(16);
  const std::vector<OpAttrs> all = {EmbedAttrs{},     RmsNormAttrs{},    RopeAttrs{},
                                    LinearAttrs{},    AddAttrs{},        SwiGluAttrs{},
                                    ConcatAttrs{},    GatherRowsAttrs{}, StoreKvAttrs{},
                                    AttentionAttrs{}, RouteAttrs{},      ExpertsAttrs{}};
  for (const OpAttrs& attrs : all) {
    std::vector<TensorView> in;
    const int count = MaxInputs(GetKernelId(attrs));
    for (int i = 0; i < count; ++i) in.push_back(Marked(memory, static_cast<size_t>(i)));
    const std::vector<TensorView> out = {Marked(memory, 14), Marked(memory, 15)};
    const KernelArgs args = Lower(attrs, in, out, nullptr);
    ASSERT_EQ(GetKernelId(args), GetKernelId(attrs));
    std::vector<TensorView> used = Reads(args);
    const std::vector<TensorView> written = Writes(args);
    if (GetKernelId(attrs) == KernelId::kStoreKv) used.push_back(written[0]);  // the cache
    ASSERT_EQ(used.size(), in.size()) << KernelName(GetKernelId(attrs));
    for (size_t i = 0; i < in.size(); ++i) EXPECT_EQ(used[i].data, in[i].data) << i;
    if (GetKernelId(attrs) != KernelId::kStoreKv) {
      EXPECT_EQ(written[0].data, out[0].data);
    }
    // Inputs that are left out are absent.
    EXPECT_TRUE(Reads(Lower(attrs, {}, {}, nullptr)).empty());
  }
}

}  // namespace
}  // namespace tandem
