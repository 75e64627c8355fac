// The inner loops of all instruction sets that this processor has: the same products to the last
// bit, and the products of an element at a time.
#include "backends/cpu/instruction_set.h"

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/activations.h"
#include "backends/cpu/cpu_device.h"
#include "backends/device/layout.h"
#include "backends/device/quant.h"
#include "backends/device/tensor.h"
#include "gtest/gtest.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kMostRows = 3 * kTileRows + 5, kMostColumns = 21;

constexpr DType kBlockTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,   DType::kQ5_1,
                                 DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,   DType::kQ4_K,
                                 DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS,
                                 DType::kMXFP4};

std::vector<float> RandomNumbers(int64_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(static_cast<size_t>(count));
  for (float& number : numbers) number = normal(engine);
  return numbers;
}

// Weights and activations of a product, the weights ending where their memory ends.
struct Problem {
  DType type;
  int64_t rows, columns, in, stride;
  std::vector<std::byte> weights;
  std::vector<ActivationSpan> activations;
  std::vector<float> x;

  Problem(DType weight_type, int64_t row_count, int64_t column_count, int64_t width)
      : type(weight_type), rows(row_count), columns(column_count), in(width) {
    stride = RowBytes(type, in);
    weights.resize(static_cast<size_t>(rows * stride));
    const auto numbers = RandomNumbers(rows * in, 1);
    for (int64_t r = 0; r < rows; ++r) {
      EXPECT_TRUE(QuantizeRow(type, &numbers[r * in], &weights[r * stride], in, nullptr).ok());
    }
    x = RandomNumbers(columns * in, 2);
    activations.resize(static_cast<size_t>(columns * SpansOfColumn()));
    for (int64_t c = 0; c < columns; ++c) QuantizeActivations(&x[c * in], in, Column(c));
  }
  int64_t SpansOfColumn() const {
    return ActivationBytes(in) / static_cast<int64_t>(sizeof(ActivationSpan));
  }
  std::byte* Column(int64_t c) {
    return reinterpret_cast<std::byte*>(&activations[c * SpansOfColumn()]);
  }

  // Columns [first, first + count), [count][rows].
  std::vector<float> Run(const InstructionSet& set, int64_t first, int64_t count,
                         WeightLayout layout = WeightLayout::kRows) {
    std::vector<float> results(static_cast<size_t>(count * rows), NAN);
    std::vector<const std::byte*> column_list;
    std::vector<float*> out;
    for (int64_t c = 0; c < count; ++c) {
      column_list.push_back(Column(first + c));
      out.push_back(&results[c * rows]);
    }
    set.FindProduct(type, layout)({.weights = weights.data(),
                                   .stride = stride,
                                   .rows = rows,
                                   .in = in,
                                   .columns = column_list.data(),
                                   .out = out.data(),
                                   .count = count});
    return results;
  }

  void InterleaveWeights() { ArrangeInPlace(WeightLayout::kInterleaved, type, stride, rows, weights.data()); }

  // The product of row and column with decoded weights and the activations as they were.
  double Exact(int64_t row, int64_t column) const {
    std::vector<float> decoded(static_cast<size_t>(in));
    DequantizeRow(type, &weights[row * stride], decoded.data(), in);
    double sum = 0;
    for (int64_t i = 0; i < in; ++i) sum += double{decoded[i]} * x[column * in + i];
    return sum;
  }
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class BlockProductTest : public testing::TestWithParam<DType> {
 protected:
  // Whole spans; a span that is cut short, where the format allows it.
  std::vector<int64_t> Widths() const {
    return GetDTypeInfo(GetParam()).block_size == 256 ? std::vector<int64_t>{512}
                                                      : std::vector<int64_t>{512, 32, 416};
  }
};

TEST_P(BlockProductTest, GivesTheSameBitsInEverySetAndCompany) {
  for (const int64_t in : Widths()) {
    for (const int64_t rows : {int64_t{1}, kTileRows, kMostRows}) {
      Problem problem(GetParam(), rows, kMostColumns, in);
      const auto expected = problem.Run(InstructionSets().front(), 0, kMostColumns);
      for (const InstructionSet& set : InstructionSets()) {
        if (!set.is_present()) continue;
        SCOPED_TRACE(std::string(set.name) + ", " + std::to_string(rows) + " rows of " +
                     std::to_string(in));
        EXPECT_TRUE(SameBits(problem.Run(set, 0, kMostColumns), expected));
        for (int64_t c = 0; c < kMostColumns; ++c) {
          const std::vector<float> column(expected.begin() + c * rows,
                                          expected.begin() + (c + 1) * rows);
          EXPECT_TRUE(SameBits(problem.Run(set, c, 1), column)) << "column " << c;
        }
      }
    }
  }
}

TEST_P(BlockProductTest, GivesTheSameBitsInEveryLayout) {
  for (const int64_t in : Widths()) {
    for (const int64_t rows : {kPanelRows, kTileRows, 5 * kPanelRows}) {
      Problem problem(GetParam(), rows, kMostColumns, in);
      const auto expected = problem.Run(InstructionSets().front(), 0, kMostColumns);
      problem.InterleaveWeights();
      for (const InstructionSet& set : InstructionSets()) {
        if (!set.is_present()) continue;
        SCOPED_TRACE(std::string(set.name) + ", " + std::to_string(rows) + " rows of " +
                     std::to_string(in));
        for (const int64_t count : {int64_t{1}, int64_t{2}, int64_t{9}, kMostColumns}) {
          const std::vector<float> columns(expected.begin(), expected.begin() + count * rows);
          EXPECT_TRUE(SameBits(problem.Run(set, 0, count, WeightLayout::kInterleaved), columns))
              << count << " columns";
        }
      }
    }
  }
}

TEST_P(BlockProductTest, IsAsExactAsActivationsIn8Bits) {
  for (const int64_t in : Widths()) {
    Problem problem(GetParam(), kTileRows + 3, 5, in);
    for (const InstructionSet& set : InstructionSets()) {
      if (!set.is_present()) continue;
      const auto results = problem.Run(set, 0, 5);
      double error = 0, size = 0;
      for (int64_t c = 0; c < 5; ++c) {
        for (int64_t r = 0; r < problem.rows; ++r) {
          const double exact = problem.Exact(r, c);
          error += std::pow(results[c * problem.rows + r] - exact, 2);
          size += exact * exact;
        }
      }
      EXPECT_LT(std::sqrt(error / size), 0.01) << set.name << ", rows of " << in;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, BlockProductTest, testing::ValuesIn(kBlockTypes),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST(InstructionSetTest, AnUnknownOneIsRefused) {
  const auto device = CreateCpuDevice({.threads = 1}, "mmx");
  EXPECT_EQ(device.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(device.status().message().find("avx2, avx512"), absl::string_view::npos);
}

TEST(InstructionSetTest, TheOldestCanBeForced) {
  const auto device = CreateCpuDevice({.threads = 1}, "avx2");
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->info().description, "AVX2, 1 threads");
}

}  // namespace
}  // namespace tandem::cpu
