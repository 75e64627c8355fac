#include <cmath>
#include <limits>
#include <optional>

#include "tests/backends/reference/testing.h"

namespace tandem {
namespace {

// Two sequences whose keys lie in scattered pages, with the formula written out.
struct Problem {
  int heads = 4, kv_heads = 2, dk = 6, dv = 5;
  std::vector<int32_t> rows = {3, 2}, lengths = {70, 2};
  std::vector<int32_t> pages = {4, 1, 2, 0};  // two for each sequence
  bool causal = true;
  int window = 0;
  double scale = 0.3, soft_cap = 0;
  std::optional<Floats> sinks;
};

constexpr int kPages = 5;

struct Result {
  std::vector<double> out, lse;
};

// Key rows by (sequence, key, head) from a cache [P, 64, Hkv, D].
double At(const Problem& p, const Floats& cache, int s, int j, int head, int d) {
  const int heads = static_cast<int>(cache.shape[2]), width = static_cast<int>(cache.shape[3]);
  const int page = p.pages[2 * s + j / 64];
  return cache.data[((page * 64 + j % 64) * heads + head) * width + d];
}

Result Expect(const Problem& p, const Floats& q, const Floats& k, const Floats& v) {
  Result result;
  for (int s = 0, t = 0; s < 2; ++s) {
    for (int i = 0; i < p.rows[s]; ++i, ++t) {
      const int position = p.lengths[s] - p.rows[s] + i;
      for (int h = 0; h < p.heads; ++h) {
        std::vector<double> values(p.dv);
        double sum = p.sinks ? std::exp(p.sinks->data[h]) : 0;
        for (int j = 0; j < p.lengths[s]; ++j) {
          if (p.causal && j > position) continue;
          if (p.window > 0 && j <= position - p.window) continue;
          double score = 0;
          for (int d = 0; d < p.dk; ++d) {
            score +=
                q.data[(t * p.heads + h) * p.dk + d] * At(p, k, s, j, h * p.kv_heads / p.heads, d);
          }
          score *= p.scale;
          if (p.soft_cap > 0) score = p.soft_cap * std::tanh(score / p.soft_cap);
          sum += std::exp(score);
          for (int d = 0; d < p.dv; ++d) {
            values[d] += std::exp(score) * At(p, v, s, j, h * p.kv_heads / p.heads, d);
          }
        }
        for (const double value : values) result.out.push_back(value / sum);
        result.lse.push_back(std::log(sum));
      }
    }
  }
  return result;
}

class ReferenceAttentionTest : public ::testing::Test {
 protected:
  AttentionArgs Args() {
    return {.q = q_.view(),
            .k = k_.view(),
            .v = v_.view(),
            .batch = {.seq_start = starts_.view(),
                      .kv_len = lengths_.view(),
                      .page_table = pages_.view()},
            .causal = problem_.causal,
            .window = problem_.window,
            .sinks = problem_.sinks ? problem_.sinks->view() : TensorView{},
            .scale = static_cast<float>(problem_.scale),
            .soft_cap = static_cast<float>(problem_.soft_cap),
            .out = out_.view(),
            .lse = lse_.view()};
  }
  void Check(const AttentionArgs& args) {
    RunOnReference(args);
    const Result expected = Expect(problem_, q_, k_, v_);
    ExpectNear(out_.data, expected.out, 1e-5);
    ExpectNear(lse_.data, expected.lse, 1e-5);
  }

  Problem problem_;
  Floats q_ = RandomFloats({5, 4, 6}, 1);
  Floats k_ = RandomFloats({kPages, 64, 2, 6}, 2);
  Floats v_ = RandomFloats({kPages, 64, 2, 5}, 3);
  Ints starts_ = Ints({3}, {0, 3, 5});
  Ints lengths_ = Ints({2}, problem_.lengths);
  Ints pages_ = Ints({2, 2}, problem_.pages);
  Floats out_ = Floats({5, 4, 5});
  Floats lse_ = Floats({5, 4});
};

TEST_F(ReferenceAttentionTest, RaggedCausalGroupedQuery) { Check(Args()); }

TEST_F(ReferenceAttentionTest, SeesAllKeysWithoutCausal) {
  problem_.causal = false;
  Check(Args());
}

TEST_F(ReferenceAttentionTest, WindowSinksAndSoftCap) {
  problem_.window = 7;
  problem_.sinks = RandomFloats({4}, 9);
  problem_.soft_cap = 1.5;
  Check(Args());
}

TEST_F(ReferenceAttentionTest, ValuesInsideKeys) {
  AttentionArgs args = Args();
  args.v = {};
  args.v_from_k_offset = 1;
  for (size_t row = 0; row < v_.data.size() / 5; ++row) {
    for (size_t d = 0; d < 5; ++d) v_.data[row * 5 + d] = k_.data[row * 6 + 1 + d];
  }
  Check(args);
}

TEST_F(ReferenceAttentionTest, ExpandsLatents) {
  constexpr int kLatent = 8, kRotated = 2;
  problem_.kv_heads = 4;
  Floats latents = RandomFloats({kPages, 64, 1, kLatent + kRotated}, 4);
  Floats k_up = RandomFloats({4, 4, kLatent}, 5);
  Floats k_up_transposed({4, kLatent, 4});
  Floats v_up = RandomFloats({4, 5, kLatent}, 6);
  k_ = Floats({kPages, 64, 4, 6});
  v_ = Floats({kPages, 64, 4, 5});
  for (int row = 0; row < kPages * 64; ++row) {
    const float* c = &latents.data[row * (kLatent + kRotated)];
    for (int h = 0; h < 4; ++h) {
      for (int l = 0; l < kLatent; ++l) {
        for (int d = 0; d < 4; ++d) {
          k_up_transposed.data[(h * kLatent + l) * 4 + d] = k_up.data[(h * 4 + d) * kLatent + l];
          k_.data[(row * 4 + h) * 6 + d] += k_up.data[(h * 4 + d) * kLatent + l] * c[l];
        }
        for (int d = 0; d < 5; ++d) {
          v_.data[(row * 4 + h) * 5 + d] += v_up.data[(h * 5 + d) * kLatent + l] * c[l];
        }
      }
      for (int r = 0; r < kRotated; ++r) k_.data[(row * 4 + h) * 6 + 4 + r] = c[kLatent + r];
    }
  }
  AttentionArgs args = Args();
  args.k = latents.view();
  args.v = {};
  args.expansion = {.k_up = k_up.view(), .v_up = v_up.view()};
  Check(args);
  args.expansion = {.k_up = k_up_transposed.view(), .v_up = v_up.view(), .k_transposed = true};
  Check(args);
}

TEST_F(ReferenceAttentionTest, LeavesSequencesThatAreNotLive) {
  const int32_t live = 1;
  AttentionArgs args = Args();
  args.batch.live_seqs = &live;
  out_.data.assign(out_.data.size(), -1);
  RunOnReference(args);
  EXPECT_NE(out_.data[3 * 4 * 5 - 1], -1);
  EXPECT_EQ(out_.data[3 * 4 * 5], -1);
}

TEST_F(ReferenceAttentionTest, NoKeysGiveZeros) {
  problem_.sinks = RandomFloats({4}, 9);
  lengths_.data = {0, 2};
  RunOnReference(Args());
  for (int i = 0; i < 3 * 4 * 5; ++i) EXPECT_EQ(out_.data[i], 0);
  for (int i = 0; i < 3 * 4; ++i) EXPECT_EQ(lse_.data[i], -std::numeric_limits<float>::infinity());
}

class ReferenceStoreKvTest : public ::testing::TestWithParam<DType> {};

TEST_P(ReferenceStoreKvTest, EncodesRowsIntoTheirSlots) {
  Floats x = RandomFloats({4, 2, 32}, 1);
  Ints slots({4}, {65, -1, 128, 3});
  Encoded cache(GetParam(), Floats({2, 64, 2, 32}));
  RunOnReference(StoreKvArgs{.x = x.view(), .slots = slots.view(), .cache = cache.view()});
  std::vector<float> decoded(2 * 64 * 2 * 32);
  DequantizeRow(GetParam(), cache.bytes.data(), decoded.data(), decoded.size());
  const double steps = GetParam() == DType::kQ4_0 ? 7 : 120;  // of the largest element
  for (size_t i = 0; i < decoded.size(); ++i) {
    const size_t slot = i / 64;
    const int token = slot == 65 ? 0 : slot == 3 ? 3 : -1;
    const float expected = token < 0 ? 0.0f : x.data[token * 64 + i % 64];
    ASSERT_NEAR(decoded[i], expected, token < 0 ? 0 : 3.5 / steps) << "at " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ReferenceStoreKvTest,
                         ::testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0,
                                           DType::kQ4_0),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

}  // namespace
}  // namespace tandem
