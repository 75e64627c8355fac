// Calls of a group run side by side and share quantised activations: with the same results as one
// after the other.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_device.h"
#include "backends/device/quant.h"
#include "gtest/gtest.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kTokens = 9, kIn = 288;

// Tensors in the memory of a device, and a program of calls on them.
class GroupTest : public testing::Test {
 protected:
  TensorView Allocate(DType dtype, const Shape& shape) {
    buffers_.push_back(*device_->Allocate(ContiguousBytes(dtype, shape)));
    return MakeView(buffers_.back()->data(), dtype, shape);
  }
  TensorView Random(DType dtype, const Shape& shape) {
    const TensorView view = Allocate(dtype, shape);
    std::normal_distribution<float> normal;
    std::vector<float> row(static_cast<size_t>(shape.back()));
    for (int64_t r = 0; r < shape.rows(); ++r) {
      for (float& x : row) x = normal(random_);
      std::byte* to = view.row() + r * RowBytes(dtype, shape.back());
      EXPECT_TRUE(QuantizeRow(dtype, row.data(), to, shape.back(), nullptr).ok());
    }
    return view;
  }

  void Add(const KernelArgs& args, int group) {
    Call call = {.args = args, .name = "call", .group = group};
    if (const int64_t bytes = device_->WorkspaceBytes(args); bytes > 0) {
      buffers_.push_back(*device_->Allocate(bytes));
      call.workspace = {buffers_.back()->data(), bytes};
    }
    program_.calls.push_back(std::move(call));
  }
  // A product of `x` with new weights; its result is compared.
  void AddLinear(const TensorView& x, DType type, int group, LiveCount live = nullptr) {
    const int64_t out = 40 + 8 * static_cast<int64_t>(results_.size());
    results_.push_back(Allocate(DType::kF32, {x.dim(0), out}));
    const TensorView w = Random(type, {out, x.dim(1)});
    Add(LinearArgs{.x = x, .w = w, .out = results_.back(), .live_rows = live}, group);
  }

  // Experts of `args` for its tokens, `at_once` in a call; the result is compared.
  void AddExperts(ExpertsArgs args, int64_t at_once) {
    const int64_t tokens = args.x.dim(0);
    results_.push_back(Allocate(DType::kF32, args.x.shape));
    args.out = results_.back();
    for (int64_t first = 0; first < tokens; first += at_once) {
      ExpertsArgs some = args;
      for (TensorView* rows : {&some.x, &some.ids, &some.weights, &some.out}) {
        rows->data = rows->row(first);
        rows->shape.dims[0] = std::min(at_once, tokens - first);
      }
      Add(some, -1);
    }
  }

  // The bytes of all results after a run, all of them written over before.
  std::vector<std::byte> Run(Program program) {
    for (const TensorView& out : results_) {
      std::memset(out.data, 0, static_cast<size_t>(ContiguousBytes(out.dtype, out.shape)));
    }
    auto executable = device_->Prepare(std::move(program));
    EXPECT_TRUE(executable.ok()) << executable.status();
    if (!executable.ok()) return {};
    EXPECT_TRUE((*executable)->Run(**device_->CreateStream()).ok());
    std::vector<std::byte> bytes;
    for (const TensorView& out : results_) {
      bytes.insert(bytes.end(), out.row(), out.row() + ContiguousBytes(out.dtype, out.shape));
    }
    return bytes;
  }
  std::vector<std::byte> RunAll() { return Run(program_); }
  // The program with groups gives the bytes that it gives without them.
  void ExpectSameApart() {
    Program apart = program_;
    for (Call& call : apart.calls) call.group = -1;
    const auto expected = Run(std::move(apart));
    EXPECT_FALSE(std::ranges::all_of(expected, [](std::byte b) { return b == std::byte{0}; }));
    EXPECT_EQ(Run(program_), expected);
  }

 private:
  std::unique_ptr<Device> device_ = *CreateCpuDevice({.threads = 2});
  std::mt19937 random_{3};
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<TensorView> results_;
  Program program_;
};

TEST_F(GroupTest, ProductsOfTheSameRowsGiveTheSameTogether) {
  const TensorView x = Random(DType::kF32, {kTokens, kIn});
  AddLinear(x, DType::kIQ4_NL, 0);
  AddLinear(x, DType::kF16, 0);  // reads the rows as they are
  AddLinear(x, DType::kQ8_0, 0);
  AddLinear(x, DType::kQ4_1, 0);
  ExpectSameApart();
}

TEST_F(GroupTest, OtherRowsAndOtherCountsAreNotTakenForTheSame) {
  const TensorView x = Random(DType::kF32, {kTokens, kIn}), y = Random(DType::kF32, {kTokens, kIn});
  const TensorView count = Allocate(DType::kI32, {1});
  *count.row<int32_t>() = 4;
  TensorView part = x;
  part.shape.dims[1] = 128;
  AddLinear(x, DType::kQ8_0, 0, count.row<int32_t>());  // quantises only 4 rows
  AddLinear(y, DType::kQ8_0, 0);
  AddLinear(part, DType::kQ8_0, 0);
  AddLinear(x, DType::kQ8_0, 0);
  ExpectSameApart();
}

TEST_F(GroupTest, ALaterGroupSeesRowsThatHaveChanged) {
  const TensorView x = Random(DType::kF32, {kTokens, kIn}), y = Random(DType::kF32, {kTokens, kIn});
  const TensorView sum = Allocate(DType::kF32, {kTokens, kIn});
  for (int group = 0; group < 3; ++group) {
    Add(AddArgs{.a = x, .b = group == 0 ? y : sum, .out = sum}, -1);
    AddLinear(sum, DType::kQ4_0, group);
    AddLinear(sum, DType::kIQ4_NL, group);
  }
  ExpectSameApart();
}

// Many tokens are taken in parts, a few ones in small pieces of the weights.
TEST_F(GroupTest, ExpertsGiveATokenTheSameHoweverManyThereAre) {
  constexpr int64_t kMany = 301, kExperts = 3, kWidth = 96, kHidden = 160;
  const TensorView ids = Allocate(DType::kI32, {kMany, 2});
  for (int64_t t = 0; t < kMany; ++t) {
    ids.row<int32_t>(t)[0] = static_cast<int32_t>(t * t % kExperts);
    ids.row<int32_t>(t)[1] = static_cast<int32_t>(t % 7 == 0 ? -1 : (t * t + 1) % kExperts);
  }
  const ExpertsArgs args = {.x = Random(DType::kF32, {kMany, kWidth}),
                            .ids = ids,
                            .weights = Random(DType::kF32, {kMany, 2}),
                            .gate = Random(DType::kIQ4_NL, {kExperts, kHidden, kWidth}),
                            .up = Random(DType::kQ8_0, {kExperts, kHidden, kWidth}),
                            .down = Random(DType::kIQ4_NL, {kExperts, kWidth, kHidden})};
  const std::vector<int64_t> at_once = {kMany, 64, 8, 1};
  for (const int64_t tokens : at_once) AddExperts(args, tokens);
  const std::vector<std::byte> bytes = RunAll();
  const auto size = static_cast<std::ptrdiff_t>(bytes.size() / at_once.size());
  for (size_t i = 1; i < at_once.size(); ++i) {
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(i) * size;
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.begin() + size, begin)) << at_once[i];
  }
}

}  // namespace
}  // namespace tandem::cpu
