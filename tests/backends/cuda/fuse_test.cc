#include "backends/cuda/fuse.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

using ::testing::ElementsAre;

// Programs over numbered places of memory, each of which holds a tensor [1, kWidth].
class FuseTest : public testing::Test {
 protected:
  static constexpr int64_t kWidth = 32;
  static TensorView Place(int i) {
    return MakeView(reinterpret_cast<void*>(uintptr_t{0x1000} * (i + 1)), DType::kF32, {1, kWidth});
  }
  static TensorView Weight() {
    return MakeView(reinterpret_cast<void*>(uintptr_t{1} << 32), DType::kF32, {kWidth, kWidth});
  }

  void Norm(std::string name, int x, int out) {
    RmsNormArgs args = {.x = Place(x), .out = Place(out)};
    args.weight = MakeView(Weight().data, DType::kF32, {kWidth});
    Add(std::move(name), args);
  }
  void Linear(std::string name, int x, int out) {
    Add(std::move(name), LinearArgs{.x = Place(x), .w = Weight(), .out = Place(out)});
  }
  void Experts(std::string name, int x, int out) {
    ExpertsArgs args = {.x = Place(x), .out = Place(out)};
    args.ids = MakeView(Weight().data, DType::kI32, {1, 2});
    args.weights = MakeView(Weight().data, DType::kF32, {1, 2});
    args.gate = args.up = args.down = MakeView(Weight().data, DType::kF32, {4, kWidth, kWidth});
    Add(std::move(name), args);
  }
  void Activation(std::string name, int gate, int up, int out) {
    Add(std::move(name), SwiGluArgs{.gate = Place(gate), .up = Place(up), .out = Place(out)});
  }
  void Sum(std::string name, int a, int b, int out) {
    Add(std::move(name), AddArgs{.a = Place(a), .b = Place(b), .out = Place(out)});
  }

  // Of the calls that are left: name, what it took over, and where the result goes.
  std::vector<std::string> Fused(std::vector<int> results) {
    program_.results.emplace();
    for (int i : results) program_.results->push_back(Place(i));
    std::vector<std::string> texts;
    for (const FusedCall& fused : Fuse(program_, rules_)) {
      std::string text = fused.call.name;
      if (fused.norm.has_value()) text += " norm";
      if (fused.activation.has_value()) text += " activation";
      if (fused.add.present()) text += " +" + Number(fused.add);
      for (const LinearArgs& joined : fused.joined) text += " &" + Number(joined.out);
      texts.push_back(text + " >" + Number(Writes(fused.call.args)[0]));
    }
    return texts;
  }

  FusionRules rules_ = {.before = [](const LinearArgs&) { return true; },
                        .after = [](const KernelArgs&) { return true; },
                        .joins = [](const LinearArgs&) { return false; }};

 private:
  static std::string Number(const TensorView& view) {
    return std::to_string(reinterpret_cast<uintptr_t>(view.data) / 0x1000 - 1);
  }
  void Add(std::string name, KernelArgs args) {
    program_.calls.push_back({.args = std::move(args), .name = std::move(name)});
  }
  Program program_;
};

TEST_F(FuseTest, LayersTakeTheNormOfTheirInput) {
  Norm("norm", 0, 1);
  Linear("q", 1, 2);
  Linear("k", 1, 3);
  EXPECT_THAT(Fused({2, 3}), ElementsAre("q norm >2", "k norm >3"));
}

TEST_F(FuseTest, ANormThatIsAlsoReadElsewhereStays) {
  Norm("norm", 0, 1);
  Linear("q", 1, 2);
  Sum("add", 1, 2, 3);
  EXPECT_THAT(Fused({3}), ElementsAre("norm >1", "q +1 >3"));
}

TEST_F(FuseTest, ANormThatIsAResultStays) {
  Norm("norm", 0, 1);
  Linear("q", 1, 2);
  EXPECT_THAT(Fused({1, 2}), ElementsAre("norm >1", "q >2"));
}

TEST_F(FuseTest, ANormWhoseInputIsOverwrittenStays) {
  Norm("norm", 0, 1);
  Linear("q", 1, 0);
  Linear("k", 1, 3);
  EXPECT_THAT(Fused({0, 3}), ElementsAre("norm >1", "q >0", "k >3"));
}

TEST_F(FuseTest, KernelsThatTakeNothingStayAsTheyAre) {
  rules_.before = [](const LinearArgs&) { return false; };
  rules_.after = [](const KernelArgs&) { return false; };
  Norm("norm", 0, 1);
  Linear("q", 1, 2);
  Sum("add", 0, 2, 3);
  EXPECT_THAT(Fused({3}), ElementsAre("norm >1", "q >2", "add >3"));
}

TEST_F(FuseTest, ALayerTakesTheActivationAheadAndTheAdditionBehind) {
  Linear("gate", 0, 1);
  Linear("up", 0, 2);
  Activation("swiglu", 1, 2, 3);
  Linear("down", 3, 4);
  Sum("add", 0, 4, 5);
  EXPECT_THAT(Fused({5}), ElementsAre("gate >1", "up >2", "down activation +0 >5"));
}

TEST_F(FuseTest, AdditionsInPlace) {
  Linear("o", 1, 2);
  Sum("add", 0, 2, 0);
  EXPECT_THAT(Fused({0}), ElementsAre("o +0 >0"));
}

TEST_F(FuseTest, ASumThatWouldOverwriteAnInputStays) {
  Linear("o", 1, 2);
  Sum("add", 0, 2, 1);
  EXPECT_THAT(Fused({1}), ElementsAre("o >2", "add >1"));
}

TEST_F(FuseTest, ASumWhosePlaceIsStillReadStays) {
  Linear("o", 1, 2);
  Linear("other", 5, 6);
  Sum("add", 0, 2, 5);
  EXPECT_THAT(Fused({5, 6}), ElementsAre("o >2", "other >6", "add >5"));
}

TEST_F(FuseTest, ATermThatIsNotReadyStays) {
  Linear("o", 1, 2);
  Linear("late", 3, 4);
  Sum("add", 4, 2, 5);
  EXPECT_THAT(Fused({5}), ElementsAre("o >2", "late +2 >5"));
}

TEST_F(FuseTest, TwoProductsAndAResidual) {
  Linear("experts", 1, 2);
  Linear("shared", 1, 3);
  Sum("both", 2, 3, 4);
  Sum("residual", 0, 4, 5);
  EXPECT_THAT(Fused({5}), ElementsAre("experts +0 >2", "shared +2 >5"));
}

TEST_F(FuseTest, ExpertsRunLast) {
  Experts("experts", 1, 2);
  Linear("shared", 1, 3);
  Sum("both", 2, 3, 4);
  Sum("residual", 0, 4, 5);
  EXPECT_THAT(Fused({5}), ElementsAre("shared +0 >3", "experts +3 >5"));
}

TEST_F(FuseTest, ExpertsWhoseInputIsOverwrittenRunFirst) {
  Experts("experts", 1, 2);
  Linear("shared", 7, 3);
  Linear("other", 7, 1);
  Linear("late", 1, 6);
  Sum("both", 2, 6, 4);
  Sum("residual", 0, 4, 5);
  EXPECT_THAT(Fused({3, 5}),
              ElementsAre("experts +0 >2", "shared >3", "other >1", "late +2 >5"));
}

TEST_F(FuseTest, TheResidualMayBeWhereTheSumGoes) {
  Linear("experts", 1, 2);
  Linear("shared", 1, 3);
  Sum("both", 2, 3, 2);
  Sum("residual", 0, 2, 0);
  EXPECT_THAT(Fused({0}), ElementsAre("experts +0 >2", "shared +2 >0"));
}

TEST_F(FuseTest, LayersWithTheSameInputJoin) {
  rules_.joins = [](const LinearArgs&) { return true; };
  rules_.most_joined = 1;
  Norm("norm", 0, 1);
  Linear("q", 1, 2);
  Sum("between", 5, 6, 7);
  Linear("k", 1, 3);
  Linear("v", 1, 4);
  EXPECT_THAT(Fused({2, 3, 4, 7}),
              ElementsAre("q norm &3 >2", "between >7", "v norm >4"));
}

TEST_F(FuseTest, LayersWhosePlaceIsStillReadDoNotJoin) {
  rules_.joins = [](const LinearArgs&) { return true; };
  rules_.most_joined = 2;
  Linear("a", 0, 1);
  Sum("between", 5, 6, 7);
  Linear("b", 0, 5);
  EXPECT_THAT(Fused({1, 5, 7}), ElementsAre("a >1", "between >7", "b >5"));
}

TEST_F(FuseTest, LayersOfANewInputDoNotJoin) {
  rules_.joins = [](const LinearArgs&) { return true; };
  rules_.most_joined = 2;
  Linear("a", 0, 1);
  Sum("new input", 5, 6, 0);
  Linear("b", 0, 2);
  EXPECT_THAT(Fused({1, 2}), ElementsAre("a >1", "new input >0", "b >2"));
}

// A value that a later call overwrites is no result, though its place is.
TEST_F(FuseTest, PlacesAreUsedAgain) {
  Norm("norm", 0, 1);
  Linear("q", 1, 2);
  Linear("last", 2, 1);
  EXPECT_THAT(Fused({1}), ElementsAre("q norm >2", "last >1"));
}

}  // namespace
}  // namespace tandem::cuda
