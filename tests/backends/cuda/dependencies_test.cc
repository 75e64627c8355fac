#include "backends/cuda/dependencies.h"

#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kWidth = 32;

TensorView Place(int i) {
  return MakeView(reinterpret_cast<void*>(uintptr_t{0x1000} * (i + 1)), DType::kF32, {1, kWidth});
}

// A group of one addition.
std::vector<FusedCall> Sum(int a, int b, int out) {
  FusedCall fused;
  fused.call.args = AddArgs{.a = Place(a), .b = Place(b), .out = Place(out)};
  return {fused};
}

TEST(DependenciesTest, FollowWhatTheyRead) {
  EXPECT_THAT(DependenciesOf({Sum(0, 1, 2), Sum(2, 2, 3)}), ElementsAre(IsEmpty(), ElementsAre(0)));
}

TEST(DependenciesTest, IndependentOnesDoNot) {
  EXPECT_THAT(DependenciesOf({Sum(0, 1, 2), Sum(0, 1, 3)}), ElementsAre(IsEmpty(), IsEmpty()));
}

TEST(DependenciesTest, FollowThoseThatReadOrWriteWhatTheyOverwrite) {
  EXPECT_THAT(DependenciesOf({Sum(0, 1, 2), Sum(4, 5, 0)}), ElementsAre(IsEmpty(), ElementsAre(0)));
  EXPECT_THAT(DependenciesOf({Sum(0, 1, 2), Sum(4, 5, 2)}), ElementsAre(IsEmpty(), ElementsAre(0)));
}

TEST(DependenciesTest, LeaveOutWhatFollowsFromOthers) {
  EXPECT_THAT(DependenciesOf({Sum(0, 1, 2), Sum(2, 2, 3), Sum(2, 3, 4)}),
              ElementsAre(IsEmpty(), ElementsAre(0), ElementsAre(1)));
}

TEST(DependenciesTest, BranchesMeet) {
  EXPECT_THAT(DependenciesOf({Sum(0, 0, 1), Sum(1, 1, 2), Sum(1, 1, 3), Sum(2, 3, 4)}),
              ElementsAre(IsEmpty(), ElementsAre(0), ElementsAre(0), ElementsAre(2, 1)));
}

TEST(DependenciesTest, WorkspacesCount) {
  auto first = Sum(0, 1, 2), second = Sum(3, 4, 5);
  first[0].call.workspace = {Place(9).data, 16};
  second[0].call.workspace = {Place(9).data, 16};
  EXPECT_THAT(DependenciesOf({first, second}), ElementsAre(IsEmpty(), ElementsAre(0)));
}

}  // namespace
}  // namespace tandem::cuda
