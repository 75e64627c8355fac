// What the conformance cases leave out: numbers that are not finite, addresses that are not aligned
// and calls without rows.
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "backends/cpu/cpu_device.h"
#include "backends/device/layout.h"
#include "backends/device/quant.h"
#include "gtest/gtest.h"

namespace tandem::cpu {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A reproducible list of numbers in [-1, 1).
std::vector<float> Numbers(int64_t n, uint32_t seed) {
  std::vector<float> numbers(n);
  for (float& x : numbers) {
    seed = seed * 1664525 + 1013904223;
    x = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
  }
  return numbers;
}

TensorView F32(std::vector<float>& data, const Shape& shape) {
  return MakeView(data.data(), DType::kF32, shape);
}
TensorView I32(std::vector<int32_t>& data, const Shape& shape) {
  return MakeView(data.data(), DType::kI32, shape);
}

class CornerTest : public testing::Test {
 protected:
  void Run(const KernelArgs& args) {
    auto workspace = device_->Allocate(device_->WorkspaceBytes(args));
    ASSERT_TRUE(workspace.ok()) << workspace.status();
    Program program;
    program.calls.push_back(
        {.args = args, .workspace = {(*workspace)->data(), (*workspace)->bytes()}, .name = "it"});
    auto executable = device_->Prepare(std::move(program));
    ASSERT_TRUE(executable.ok()) << executable.status();
    auto stream = device_->CreateStream();
    ASSERT_TRUE(stream.ok()) << stream.status();
    EXPECT_TRUE((*executable)->Run(**stream).ok());
  }

 private:
  std::unique_ptr<Device> device_ = *CreateCpuDevice({.threads = 2});
};

TEST_F(CornerTest, RouteGivesDistinctExpertsWhateverTheLogits) {
  constexpr int64_t kExperts = 16, kChosen = 4;
  std::vector<float> logits;
  for (const float x : {kNaN, kInfinity, -kInfinity}) logits.insert(logits.end(), kExperts, x);
  for (int64_t i = 0; i < 2 * kExperts; ++i) {
    logits.push_back(i % 5 == 0 ? kNaN : i % 3 == 0 ? kInfinity : -kInfinity);
  }
  const auto tokens = static_cast<int64_t>(logits.size()) / kExperts;
  std::vector<int32_t> ids(tokens * kChosen);
  std::vector<float> weights(tokens * kChosen);
  for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid, Gating::kTopKSoftmax}) {
    for (const GroupScore score : {GroupScore::kMax, GroupScore::kTop2Sum}) {
      for (const int64_t groups : {1, 4}) {
        std::ranges::fill(ids, -1);
        RouteArgs args = {.logits = F32(logits, {tokens, kExperts}),
                          .ids = I32(ids, {tokens, kChosen}),
                          .weights = F32(weights, {tokens, kChosen}),
                          .gating = gating,
                          .groups = groups,
                          .groups_used = 1,
                          .group_score = score,
                          .normalize = true};
        Run(args);
        for (int64_t t = 0; t < tokens; ++t) {
          const std::set<int32_t> chosen(&ids[t * kChosen], &ids[t * kChosen] + kChosen);
          EXPECT_EQ(chosen.size(), kChosen) << "token " << t;
          EXPECT_GE(*chosen.begin(), 0) << "token " << t;
          EXPECT_LT(*chosen.rbegin(), kExperts) << "token " << t;
        }
      }
    }
  }
}

TEST_F(CornerTest, RouteLeavesOutAGroupWhoseScoreIsNotANumber) {
  std::vector<float> logits = {1, 2, kInfinity, -kInfinity}, weights(2);
  std::vector<int32_t> ids(2);
  Run(RouteArgs{.logits = F32(logits, {1, 4}),
                .ids = I32(ids, {1, 2}),
                .weights = F32(weights, {1, 2}),
                .gating = Gating::kTopKSoftmax,
                .groups = 2,
                .groups_used = 1,
                .group_score = GroupScore::kTop2Sum});
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 0}));
}

// A linear layer with weights of a type, at an address `shift` bytes after an aligned one.
class LinearCorner : public CornerTest, public testing::WithParamInterface<DType> {
 protected:
  static constexpr int64_t kIn = 256, kOut = 12;

  std::vector<float> Product(std::vector<float> x, int64_t shift) {
    const auto tokens = static_cast<int64_t>(x.size()) / kIn;
    const int64_t row = RowBytes(GetParam(), kIn);
    std::vector<std::byte> aligned(kOut * row), weights(kOut * row + 64 + shift);
    const std::vector<float> numbers = Numbers(kOut * kIn, 1);
    for (int64_t r = 0; r < kOut; ++r) {
      EXPECT_TRUE(QuantizeRow(GetParam(), &numbers[r * kIn], &aligned[r * row], kIn, nullptr).ok());
    }
    void* place = weights.data();
    size_t room = weights.size();
    std::align(64, aligned.size() + shift, place, room);
    place = static_cast<std::byte*>(place) + shift;
    std::memcpy(place, aligned.data(), aligned.size());
    std::vector<float> out(tokens * kOut);
    Run(LinearArgs{.x = F32(x, {tokens, kIn}),
                   .w = MakeView(place, GetParam(), {kOut, kIn}),
                   .out = F32(out, {tokens, kOut})});
    return out;
  }
};

TEST_P(LinearCorner, WeightsNeedNoMoreAlignmentThanTheirFileGives) {
  const std::vector<float> x = Numbers(3 * kIn, 2);
  const bool bytes = GetParam() == DType::kMXFP4, words = GetParam() == DType::kF32;
  EXPECT_EQ(Product(x, bytes ? 1 : words ? 4 : 2), Product(x, 0));
}

TEST_P(LinearCorner, RowsThatAreNotFiniteStayAlone) {
  const std::vector<float> good = Numbers(kIn, 3);
  std::vector<float> x = Numbers(9 * kIn, 4);
  for (int64_t t = 0; t < 8; ++t) x[t * kIn + 31 * t] = t % 2 == 0 ? kNaN : -kInfinity;
  std::copy(good.begin(), good.end(), x.begin() + 8 * kIn);
  const std::vector<float> out = Product(x, 0), expected = Product(good, 0);
  for (int64_t i = 0; i < 8 * kOut; ++i) EXPECT_FALSE(std::isfinite(out[i])) << i;
  EXPECT_EQ(std::vector<float>(out.end() - kOut, out.end()), expected);
}

INSTANTIATE_TEST_SUITE_P(Types, LinearCorner,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0,
                                         DType::kQ8_0, DType::kIQ4_NL, DType::kMXFP4, DType::kQ2_K,
                                         DType::kQ3_K, DType::kQ4_K, DType::kQ6_K, DType::kIQ4_XS),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

// Attention of sequences of one token to 40 keys each, few or many heads of 32 elements to a key
// head.
TEST_F(CornerTest, QueryThatIsNotANumberShowsAndStaysAlone) {
  constexpr int64_t kKeys = 40, kKeyHeads = 2, kWidth = 32;
  std::vector<float> cache = Numbers(2 * kPageTokens * kKeyHeads * kWidth, 5);
  std::vector<int32_t> starts = {0, 1, 2}, lengths = {kKeys, kKeys}, pages = {0, 1};
  for (const int64_t heads : {2, 40}) {
    auto attend = [&](std::vector<float> q) {
      std::vector<float> out(q.size());
      AttentionArgs args = {.q = F32(q, {2, heads, kWidth}),
                            .k = F32(cache, {2, kPageTokens, kKeyHeads, kWidth}),
                            .v_from_k_offset = 0};
      args.batch = {.seq_start = I32(starts, {3}),
                    .kv_len = I32(lengths, {2}),
                    .page_table = I32(pages, {2, 1})};
      args.out = F32(out, {2, heads, kWidth});
      Run(args);
      return out;
    };
    std::vector<float> q = Numbers(2 * heads * kWidth, 6);
    std::vector<float> expected = attend(q);
    q[3] = kNaN;
    const std::vector<float> out = attend(q);
    for (int64_t i = 0; i < kWidth; ++i) EXPECT_TRUE(std::isnan(out[i])) << i;
    for (size_t i = kWidth; i < out.size(); ++i) EXPECT_EQ(out[i], expected[i]) << i;
  }
}

// Sequences of absorbed attention: queries of each, and keys.
struct CutSequences {
  std::vector<int32_t> starts, lengths;
};

// Blocks of many rows are cut into tiles or chunks, and tiles into parts, or not at all, as there
// is room.
TEST_F(CornerTest, AttentionHasTheSameBitsHoweverItIsCut) {
  constexpr int64_t kPages = 11, kHeads = 16, kKeyWidth = 96, kValueWidth = 80, kTokens = 5;
  std::vector<float> cache = Numbers(2 * kPages * kPageTokens * kKeyWidth, 8);
  std::vector<float> q = Numbers(kTokens * kHeads * kKeyWidth, 9);
  std::vector<int32_t> pages(2 * kPages);
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(pages.size() - 1 - i);
  auto attend = [&](CutSequences s, int64_t window, int64_t limit) {
    const auto count = static_cast<int64_t>(s.lengths.size()), tokens = int64_t{s.starts.back()};
    std::vector<float> out(tokens * kHeads * kValueWidth);
    AttentionArgs args = {.q = F32(q, {tokens, kHeads, kKeyWidth}),
                          .k = F32(cache, {2 * kPages, kPageTokens, 1, kKeyWidth}),
                          .v_from_k_offset = 16,
                          .window = window};
    args.batch = {.seq_start = I32(s.starts, {count + 1}),
                  .kv_len = I32(s.lengths, {count}),
                  .page_table = I32(pages, {count, kPages})};
    args.out = F32(out, {tokens, kHeads, kValueWidth});
    args.workspace_limit = limit;
    Run(args);
    return out;
  };
  const CutSequences all[] = {{{0, 2, kTokens}, {700, 90}},
                              {{0, 1}, {1}},
                              {{0, 1}, {7}},
                              {{0, 1}, {64}},
                              {{0, 1}, {65}},
                              {{0, 1}, {200}},
                              {{0, 1}, {700}},
                              {{0, 2}, {129}},
                              {{0, 2}, {1}}};
  for (const CutSequences& s : all) {
    for (const int64_t window : {0, 40, 300}) {
      const std::vector<float> expected = attend(s, window, int64_t{1} << 30);
      for (const int64_t kilobytes : {80, 128, 200, 400, 800, 2000}) {
        EXPECT_EQ(attend(s, window, kilobytes << 10), expected)
            << kilobytes << " KiB, window " << window << ", " << s.lengths[0] << " keys";
      }
    }
  }
}

// Attention in its expanded form, with 300 keys and up-projections of a type in either layout.
class ExpansionCorner : public CornerTest, public testing::WithParamInterface<DType> {
 protected:
  static constexpr int64_t kHeads = 3, kPlain = 256, kRotated = 16, kValue = 80, kLatent = 512;
  static constexpr int64_t kTokens = 2, kPages = 5;

  std::vector<std::byte> Matrix(int64_t rows, int64_t width, uint32_t seed) {
    const std::vector<float> numbers = Numbers(rows * width, seed);
    const int64_t bytes = RowBytes(GetParam(), width);
    std::vector<std::byte> matrix(rows * bytes);
    for (int64_t r = 0; r < rows; ++r) {
      EXPECT_TRUE(
          QuantizeRow(GetParam(), &numbers[r * width], &matrix[r * bytes], width, nullptr).ok());
    }
    return matrix;
  }

  TensorView View(std::vector<std::byte>& matrix, const Shape& shape, WeightLayout layout) {
    TensorView view = MakeView(matrix.data(), GetParam(), shape);
    if (layout == WeightLayout::kRows) return view;
    ArrangeInPlace(WeightLayout::kInterleaved, GetParam(), RowBytes(GetParam(), shape.back()), shape.rows(), matrix.data());
    view.layout = layout;
    return view;
  }

  std::vector<float> Attend(bool transposed, WeightLayout layout) {
    const Shape k_shape =
        transposed ? Shape{kHeads, kLatent, kPlain} : Shape{kHeads, kPlain, kLatent};
    auto k_up = Matrix(k_shape.rows(), k_shape.back(), 10);
    auto v_up = Matrix(kHeads * kValue, kLatent, 11);
    std::vector<float> cache = Numbers(kPages * kPageTokens * (kLatent + kRotated), 12);
    std::vector<float> q = Numbers(kTokens * kHeads * (kPlain + kRotated), 13);
    std::vector<float> out(kTokens * kHeads * kValue);
    std::vector<int32_t> starts = {0, kTokens}, lengths = {300}, pages = {4, 2, 0, 1, 3};
    AttentionArgs args = {.q = F32(q, {kTokens, kHeads, kPlain + kRotated}),
                          .k = F32(cache, {kPages, kPageTokens, 1, kLatent + kRotated}),
                          .expansion = {View(k_up, k_shape, layout),
                                        View(v_up, {kHeads, kValue, kLatent}, layout), transposed}};
    args.batch = {.seq_start = I32(starts, {2}),
                  .kv_len = I32(lengths, {1}),
                  .page_table = I32(pages, {1, kPages})};
    args.out = F32(out, {kTokens, kHeads, kValue});
    Run(args);
    return out;
  }
};

TEST_P(ExpansionCorner, HasTheSameBitsInEveryLayout) {
  for (const bool transposed : {false, true}) {
    EXPECT_EQ(Attend(transposed, WeightLayout::kInterleaved),
              Attend(transposed, WeightLayout::kRows));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ExpansionCorner,
                         testing::Values(DType::kIQ4_NL, DType::kQ8_0, DType::kMXFP4, DType::kQ4_K,
                                         DType::kQ6_K),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST_F(CornerTest, CallsWithoutRowsDoNothing) {
  std::vector<float> data = Numbers(64 * 64, 7);
  std::vector<int32_t> list = {0};
  const TensorView none = F32(data, {0, 32}), none_of_heads = F32(data, {0, 2, 32});
  const TensorView square = F32(data, {32, 32}), experts = F32(data, {1, 32, 32});
  const std::vector<float> before = data;
  Run(AddArgs{.a = none, .b = none, .out = none});
  Run(LinearArgs{.x = none, .w = square, .out = none});
  Run(LinearArgs{.x = none, .w = square, .out = none, .transposed = true});
  Run(RouteArgs{.logits = none, .ids = I32(list, {0, 1}), .weights = F32(data, {0, 1})});
  Run(ExpertsArgs{.x = none,
                  .ids = I32(list, {0, 1}),
                  .weights = F32(data, {0, 1}),
                  .gate = experts,
                  .up = experts,
                  .down = experts,
                  .out = none});
  Run(AttentionArgs{.q = none_of_heads,
                    .k = F32(data, {0, kPageTokens, 1, 32}),
                    .v_from_k_offset = 0,
                    .batch = {.seq_start = I32(list, {1}),
                              .kv_len = I32(list, {0}),
                              .page_table = I32(list, {0, 0})},
                    .out = none_of_heads});
  EXPECT_EQ(data, before);
}

}  // namespace
}  // namespace tandem::cpu
