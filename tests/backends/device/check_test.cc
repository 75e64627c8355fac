#include "backends/device/check.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TensorView View(DType dtype, const Shape& shape) { return MakeView(nullptr, dtype, shape); }
TensorView F32(const Shape& shape) { return View(DType::kF32, shape); }
TensorView I32(const Shape& shape) { return View(DType::kI32, shape); }

std::string Fault(const KernelArgs& args) {
  const absl::Status status = CheckArgs(args);
  if (status.ok()) return "";
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

LinearArgs GoodLinear() {
  return {.x = F32({5, 64}), .w = View(DType::kQ4_0, {7, 64}), .out = F32({5, 7})};
}

AttentionArgs GoodAttention() {
  return {.q = F32({5, 4, 96}),
          .k = View(DType::kQ8_0, {9, 64, 2, 96}),
          .v = View(DType::kBF16, {9, 64, 2, 33}),
          .batch = {.seq_start = I32({3}), .kv_len = I32({2}), .page_table = I32({2, 6})},
          .out = F32({5, 4, 33})};
}

AttentionArgs GoodExpansion() {
  AttentionArgs args = GoodAttention();
  args.k = View(DType::kF16, {9, 64, 1, 128 + 32});
  args.v = {};
  args.expansion = {.k_up = View(DType::kQ4_0, {4, 64, 128}),
                    .v_up = View(DType::kF32, {4, 33, 128})};
  return args;
}

RouteArgs GoodRoute() {
  return {.logits = F32({5, 12}),
          .ids = I32({5, 3}),
          .weights = F32({5, 3}),
          .groups = 4,
          .groups_used = 2};
}

TEST(CheckArgsTest, AcceptsWhatTheContractAllows) {
  EXPECT_EQ(Fault(GoodLinear()), "");
  EXPECT_EQ(Fault(GoodAttention()), "");
  EXPECT_EQ(Fault(GoodExpansion()), "");
  EXPECT_EQ(Fault(GoodRoute()), "");
  EXPECT_EQ(Fault(AddArgs{.a = F32({0, 3}), .b = F32({0, 3}), .out = F32({0, 3})}), "");
  EXPECT_EQ(Fault(LinearArgs{.x = F32({2, 3, 64}),
                             .w = View(DType::kF16, {3, 64, 5}),
                             .out = F32({2, 3, 5}),
                             .transposed = true}),
            "");
}

TEST(CheckArgsTest, NamesTheTensorAndTheValue) {
  LinearArgs args = GoodLinear();
  args.out = F32({5, 8});
  EXPECT_THAT(Fault(args), AllOf(HasSubstr("linear: out is [5, 8]"), HasSubstr("should be 7")));
  args = GoodLinear();
  args.w = View(DType::kQ6_K, {7, 64});
  EXPECT_THAT(Fault(args), AllOf(HasSubstr("blocks of 256"), HasSubstr("q6_k")));
  args = GoodLinear();
  args.w = I32({7, 64});
  EXPECT_THAT(Fault(args), HasSubstr("w is i32"));
  args = GoodLinear();
  args.w.dtype = static_cast<DType>(77);
  EXPECT_THAT(Fault(args), HasSubstr("unknown type 77"));
  args = GoodLinear();
  args.x = F32({5});
  EXPECT_THAT(Fault(args), HasSubstr("x has rank 1"));
  args = GoodLinear();
  args.w.strides[0] = 37;
  EXPECT_THAT(Fault(args), HasSubstr("stride 37"));
  args = GoodLinear();
  args.out.strides[0] = 8;
  EXPECT_THAT(Fault(args), HasSubstr("stride 8"));
}

TEST(CheckArgsTest, SizesMustNotOverflow) {
  const int64_t huge = int64_t{1} << 40;
  const AddArgs args = {.a = F32({huge, huge}), .b = F32({huge, huge}), .out = F32({huge, huge})};
  EXPECT_THAT(Fault(args), HasSubstr("too large"));
  EXPECT_THAT(Fault(AddArgs{.a = F32({-1, 3}), .b = F32({-1, 3}), .out = F32({-1, 3})}),
              HasSubstr("T = -1"));
}

TEST(CheckArgsTest, GroupsTakeNoBias) {
  EXPECT_THAT(
      Fault(LinearArgs{
          .x = F32({2, 3, 64}), .w = F32({3, 5, 64}), .bias = F32({5}), .out = F32({2, 3, 5})}),
      HasSubstr("bias"));
}

TEST(CheckArgsTest, RopeStaysInsideTheHead) {
  RopeArgs args = {.x = F32({2, 3, 10}),
                   .positions = I32({2}),
                   .inv_freq = F32({4}),
                   .out = F32({2, 3, 10}),
                   .begin = 2};
  EXPECT_EQ(Fault(args), "");
  args.begin = 3;
  EXPECT_THAT(Fault(args), HasSubstr("begin = 3"));
  args.inv_freq = F32({6});
  EXPECT_THAT(Fault(args), HasSubstr("6 pairs"));
}

TEST(CheckArgsTest, PagesAreContiguous) {
  StoreKvArgs args = {
      .x = F32({2, 3, 32}), .slots = I32({2}), .cache = View(DType::kQ4_0, {4, 64, 3, 32})};
  EXPECT_EQ(Fault(args), "");
  args.cache.strides[0] *= 5;
  EXPECT_EQ(Fault(args), "");
  args.cache.strides[1] *= 2;
  EXPECT_THAT(Fault(args), HasSubstr("inside a page"));
  args.cache = View(DType::kQ4_0, {4, 32, 3, 32});
  EXPECT_THAT(Fault(args), HasSubstr("should be 64"));
  args.cache = View(DType::kQ4_K, {4, 64, 3, 256});
  EXPECT_THAT(Fault(args), HasSubstr("cache is q4_k"));
}

TEST(CheckArgsTest, AttentionRefusesContradictions) {
  AttentionArgs args = GoodAttention();
  args.v_from_k_offset = 0;
  EXPECT_THAT(Fault(args), HasSubstr("v is given with v_from_k_offset"));
  args.v = {};
  args.v_from_k_offset = 64;
  EXPECT_THAT(Fault(args), HasSubstr("v_from_k_offset = 64 is not in [0, 63]"));
  args = GoodAttention();
  args.q = F32({5, 3, 96});
  args.out = F32({5, 3, 33});
  EXPECT_THAT(Fault(args), HasSubstr("H = 3 is not a multiple of Hkv = 2"));
  args = GoodAttention();
  args.window = 8;
  args.causal = false;
  EXPECT_THAT(Fault(args), HasSubstr("window = 8"));
  args = GoodAttention();
  args.workspace_limit = 0;
  EXPECT_THAT(Fault(args), HasSubstr("workspace_limit = 0"));
  args = GoodAttention();
  args.batch.seq_start = I32({2});
  EXPECT_THAT(Fault(args), HasSubstr("seq_start is [2]"));
  args = GoodAttention();
  args.soft_cap = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Fault(args), HasSubstr("soft_cap"));
}

TEST(CheckArgsTest, ExpansionFitsTheLatentRows) {
  AttentionArgs args = GoodExpansion();
  args.k = View(DType::kF16, {9, 64, 1, 128});
  EXPECT_THAT(Fault(args), HasSubstr("k has rows of 128"));
  args = GoodExpansion();
  args.k = View(DType::kF16, {9, 64, 2, 160});
  EXPECT_THAT(Fault(args), HasSubstr("Hkv = 2 should be 1"));
  args = GoodExpansion();
  args.expansion.k_transposed = true;
  EXPECT_THAT(Fault(args), HasSubstr("v_up"));
  args.expansion.k_up = View(DType::kQ4_0, {4, 128, 64});
  EXPECT_EQ(Fault(args), "");
}

TEST(CheckArgsTest, RouteLeavesEnoughToChooseFrom) {
  RouteArgs args = GoodRoute();
  args.groups = 5;
  EXPECT_THAT(Fault(args), HasSubstr("N = 12 is not a multiple of groups = 5"));
  args = GoodRoute();
  args.groups_used = 5;
  EXPECT_THAT(Fault(args), HasSubstr("groups_used = 5"));
  args = GoodRoute();
  args.groups = 12;
  args.groups_used = 2;
  EXPECT_THAT(Fault(args), HasSubstr("K = 3 is not in [1, 2]"));
  args.group_score = GroupScore::kTop2Sum;
  args.groups_used = 6;
  EXPECT_THAT(Fault(args), HasSubstr("no two best"));
}

}  // namespace
}  // namespace tandem
