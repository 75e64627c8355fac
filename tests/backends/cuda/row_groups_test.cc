#include "backends/cuda/row_groups.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

using ::testing::ElementsAre;

// Calls over numbered places of memory, each of which holds kRows rows of kWidth numbers.
class RowGroupsTest : public testing::Test {
 protected:
  static constexpr int64_t kRows = 4, kWidth = 32;
  static TensorView Place(int i) {
    return MakeView(reinterpret_cast<void*>(uintptr_t{0x1000} * (i + 1)), DType::kF32,
                    {kRows, kWidth});
  }
  // The same place with rows of half the length, twice as close.
  static TensorView Narrow(int i) {
    return MakeView(Place(i).data, DType::kF32, {kRows, kWidth / 2});
  }
  static void* Weight() { return reinterpret_cast<void*>(uintptr_t{1} << 32); }

  void Norm(std::string name, const TensorView& x, const TensorView& out) {
    RmsNormArgs args = {.x = x, .out = out};
    args.weight = MakeView(Weight(), DType::kF32, {x.dim(1)});
    Add(std::move(name), args);
  }
  void Sum(std::string name, int a, int b, int out) {
    Add(std::move(name), AddArgs{.a = Place(a), .b = Place(b), .out = Place(out)});
  }
  void Linear(std::string name, int x, int out) {
    Add(std::move(name), LinearArgs{.x = Place(x),
                                    .w = MakeView(Weight(), DType::kF32, {kWidth, kWidth}),
                                    .out = Place(out)});
  }
  void Store(std::string name, int x, DType type) {
    StoreKvArgs args = {.x = MakeView(Place(x).data, DType::kF32, {kRows, 1, kWidth}),
                        .slots = MakeView(Weight(), DType::kI32, {kRows})};
    args.cache = MakeView(reinterpret_cast<void*>(uintptr_t{1} << 36), type, {1, 64, 1, kWidth});
    Add(std::move(name), args);
  }

  std::vector<std::string> Groups(size_t most = 8) {
    std::vector<std::string> texts;
    for (const auto& group : GroupRows(calls_, most)) {
      std::string& text = texts.emplace_back();
      for (const FusedCall& fused : group) text += (text.empty() ? "" : " ") + fused.call.name;
    }
    return texts;
  }

 private:
  void Add(std::string name, KernelArgs args) {
    FusedCall fused;
    fused.call = {.args = std::move(args), .name = std::move(name)};
    calls_.push_back(std::move(fused));
  }
  std::vector<FusedCall> calls_;
};

TEST_F(RowGroupsTest, NeighboursJoin) {
  Norm("norm", Place(0), Place(1));
  Sum("add", 1, 2, 3);
  Store("store", 3, DType::kF16);
  EXPECT_THAT(Groups(), ElementsAre("norm add store"));
}

TEST_F(RowGroupsTest, AGroupHasAnEnd) {
  Sum("a", 0, 1, 2);
  Sum("b", 2, 1, 3);
  Sum("c", 3, 1, 4);
  EXPECT_THAT(Groups(2), ElementsAre("a", "b c"));
}

TEST_F(RowGroupsTest, ACallSinksPastWhatDoesNotTouchIt) {
  Norm("norm", Place(0), Place(1));
  Linear("linear", 2, 3);
  Sum("add", 1, 1, 4);
  EXPECT_THAT(Groups(), ElementsAre("linear", "norm add"));
}

TEST_F(RowGroupsTest, ButNotPastWhatReadsOrOverwritesIt) {
  Norm("norm", Place(0), Place(1));
  Linear("reads", 1, 2);
  Sum("add", 1, 2, 3);
  Linear("overwrites", 5, 3);
  Sum("other", 5, 5, 6);
  EXPECT_THAT(Groups(), ElementsAre("norm", "reads", "add", "overwrites", "other"));
}

// A block that is ahead would overwrite rows that others have not read.
TEST_F(RowGroupsTest, RowsOfOtherTokensStandAgainstIt) {
  Norm("reads", Place(0), Place(1));
  Norm("writes", Narrow(2), Narrow(0));
  EXPECT_THAT(Groups(), ElementsAre("reads", "writes"));
}

TEST_F(RowGroupsTest, InPlaceIsNoHindrance) {
  Norm("norm", Place(0), Place(0));
  Sum("add", 0, 1, 0);
  EXPECT_THAT(Groups(), ElementsAre("norm add"));
}

TEST_F(RowGroupsTest, CachesOfOneTypeToAGroup) {
  Store("k", 0, DType::kF16);
  Store("v", 1, DType::kQ8_0);
  EXPECT_THAT(Groups(), ElementsAre("k", "v"));
}

}  // namespace
}  // namespace tandem::cuda
