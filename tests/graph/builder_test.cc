#include "graph/builder.h"

#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

std::string BuildError(const std::function<void(GraphBuilder&)>& build) {
  GraphBuilder b;
  build(b);
  return std::string(std::move(b).Build().status().message());
}

// Byte offsets of all blocks (elements, for plain types) of a value, in row-major order.
std::vector<int64_t> Blocks(const Value& value) {
  const DTypeInfo& info = GetDTypeInfo(value.type.dtype);
  std::vector<int64_t> offsets = {value.byte_offset};
  for (int i = 0; i < value.type.shape.rank; ++i) {
    const bool last = i == value.type.shape.rank - 1;
    const int64_t count = last ? value.type.shape[i] / info.block_size : value.type.shape[i];
    const int64_t step = last ? info.block_bytes : value.strides[i];
    std::vector<int64_t> next;
    for (int64_t base : offsets) {
      for (int64_t k = 0; k < count; ++k) next.push_back(base + k * step);
    }
    offsets = std::move(next);
  }
  return offsets;
}

// The blocks that a slice keeps, picked from those of the value one by one.
std::vector<int64_t> SlicedBlocks(const Value& value, int dim, int64_t begin, int64_t length) {
  const int64_t block = GetDTypeInfo(value.type.dtype).block_size;
  const int last = value.type.shape.rank - 1;
  if (dim == last) begin /= block, length /= block;
  const auto size = [&](int i) { return value.type.shape[i] / (i == last ? block : 1); };
  int64_t inner = 1;
  for (int i = dim + 1; i <= last; ++i) inner *= size(i);
  const auto all = Blocks(value);
  std::vector<int64_t> kept;
  for (size_t i = 0; i < all.size(); ++i) {
    const int64_t index = static_cast<int64_t>(i) / inner % size(dim);
    if (index >= begin && index < begin + length) kept.push_back(all[i]);
  }
  return kept;
}

// True if some strides, with a contiguous last dimension, reach these blocks in this order.
bool Reachable(const std::vector<int64_t>& blocks, DType dtype, const Shape& shape) {
  Value value = {"", {dtype, shape}};
  value.byte_offset = blocks[0];
  int64_t inner = shape.back() / GetDTypeInfo(dtype).block_size;
  for (int i = shape.rank - 2; i >= 0; --i) {
    if (shape[i] > 1) value.strides[i] = blocks[static_cast<size_t>(inner)] - blocks[0];
    inner *= shape[i];
  }
  return Blocks(value) == blocks;
}

Shape RandomShape(std::mt19937& random, int64_t block) {
  std::vector<int64_t> dims(1 + random() % kMaxRank);
  for (int64_t& d : dims) d = static_cast<int64_t>(1 + random() % 4);
  dims.back() *= block;
  return Shape(std::span<const int64_t>(dims));
}

// A shape of as many elements, whose rows are whole blocks: factors dealt to random dimensions.
Shape Redistribute(std::mt19937& random, const Shape& shape, int64_t block) {
  std::vector<int64_t> dims(1 + random() % kMaxRank, 1);
  for (int64_t left = shape.elements() / block, factor = 2; left > 1;) {
    if (left % factor != 0) {
      ++factor;
      continue;
    }
    dims[random() % dims.size()] *= factor;
    left /= factor;
  }
  dims.back() *= block;
  return Shape(std::span<const int64_t>(dims));
}

class ViewTest : public ::testing::TestWithParam<DType> {};

TEST_P(ViewTest, SlicesAndReshapesReachTheRightBytes) {
  const int64_t block = GetDTypeInfo(GetParam()).block_size;
  std::mt19937 random(7);
  int reshaped = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    GraphBuilder b;
    ValueId x = b.Weight("w", GetParam(), RandomShape(random, block));
    for (int step = 0; step < 4 && b.ok(); ++step) {
      const Value from = b.value(x);
      const Shape& shape = from.type.shape;
      if (random() % 2 == 0) {
        const int dim = static_cast<int>(random() % static_cast<unsigned>(shape.rank));
        const int64_t unit = dim == shape.rank - 1 ? block : 1;
        const int64_t size = shape[dim] / unit;
        const int64_t begin = static_cast<int64_t>(random()) % size;
        const int64_t length = 1 + static_cast<int64_t>(random()) % (size - begin);
        x = b.Slice(x, dim, begin * unit, length * unit);
        ASSERT_TRUE(b.ok());
        EXPECT_EQ(Blocks(b.value(x)), SlicedBlocks(from, dim, begin * unit, length * unit));
        continue;
      }
      const Shape to = Redistribute(random, shape, block);
      x = b.Reshape(x, to);
      ASSERT_EQ(b.ok(), Reachable(Blocks(from), GetParam(), to))
          << shape.ToString() << " to " << to.ToString();
      ++(b.ok() ? reshaped : refused);
      if (!b.ok()) break;
      EXPECT_EQ(b.value(x).type.shape, to);
      EXPECT_EQ(Blocks(b.value(x)), Blocks(from)) << shape.ToString() << " to " << to.ToString();
    }
  }
  EXPECT_GT(reshaped, 500);
  EXPECT_GT(refused, 100);
}

INSTANTIATE_TEST_SUITE_P(Types, ViewTest, ::testing::Values(DType::kF32, DType::kF16, DType::kQ4_0),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST(BuilderTest, ViewsOfViewsHaveOneRoot) {
  GraphBuilder b;
  const ValueId w = b.Weight("w", DType::kF32, {4, 6});
  const ValueId view = b.Slice(b.Reshape(b.Slice(w, 0, 1, 2), {12}), 0, 3, 5);
  EXPECT_EQ(b.value(view).root, w);
  EXPECT_EQ(b.value(view).byte_offset, 4 * (6 + 3));
}

TEST(BuilderTest, RefusesViewsThatDoNotFit) {
  const auto w = [](GraphBuilder& b) { return b.Weight("w", DType::kQ4_0, {4, 64}); };
  EXPECT_THAT(BuildError([&](GraphBuilder& b) { b.Slice(w(b), 1, 16, 32); }),
              HasSubstr("slice [16, 48) of dimension 1 of w [4, 64]"));
  EXPECT_THAT(BuildError([&](GraphBuilder& b) { b.Slice(w(b), 0, 3, 2); }), HasSubstr("[3, 5)"));
  EXPECT_THAT(BuildError([&](GraphBuilder& b) { b.Slice(w(b), 2, 0, 1); }),
              HasSubstr("dimension 2"));
  EXPECT_THAT(BuildError([&](GraphBuilder& b) { b.Slice(w(b), 0, 0, 0); }), HasSubstr("[0, 0)"));
  EXPECT_THAT(BuildError([&](GraphBuilder& b) {
                b.Reshape(w(b), {16, 16});
              }),
              HasSubstr("cannot view w [4, 64] as [16, 16]"));
  EXPECT_THAT(BuildError([&](GraphBuilder& b) {
                b.Reshape(w(b), {4, 65});
              }),
              HasSubstr("as [4, 65]"));
  EXPECT_THAT(BuildError([&](GraphBuilder& b) {
                b.Reshape(w(b), {-1, -256});
              }),
              HasSubstr("as [-1, -256]"));
}

TEST(BuilderTest, KeepsTheFirstError) {
  const std::string error = BuildError([](GraphBuilder& b) {
    b.SetScope("blk.3");
    const ValueId x = b.Input("x", DType::kF32, {2, 8});
    const ValueId bad = b.Linear(x, b.Weight("blk.3.up.weight", DType::kF32, {4, 7}));
    EXPECT_EQ(bad, kNone);
    EXPECT_EQ(b.Add(bad, x), kNone);
    EXPECT_EQ(b.Slice(bad, 0, 0, 1), kNone);
    b.MarkOutput(bad, "out");
    EXPECT_FALSE(b.ok());
  });
  EXPECT_EQ(error, "blk.3: blk.3.up: linear: x is 8 wide, the weight takes 7");
}

TEST(BuilderTest, RefusesNamesThatAreTaken) {
  EXPECT_THAT(BuildError([](GraphBuilder& b) {
                b.Weight("w", DType::kF32, {4});
                b.Input("w", DType::kF32, {4});
                b.Weight("w", DType::kF32, {5});
              }),
              HasSubstr("two values named w"));
  EXPECT_THAT(BuildError([](GraphBuilder& b) {
                b.Weight("w", DType::kQ6_K, {4, 128});
              }),
              HasSubstr("w: rows of 128 elements are not whole blocks of q6_k"));
}

TEST(BuilderTest, OutputsAreWholeValuesWithOneName) {
  const auto sum = [](GraphBuilder& b) {
    const ValueId x = b.Input("x", DType::kF32, {2, 8});
    return b.Add(x, x);
  };
  EXPECT_THAT(BuildError([&](GraphBuilder& b) { b.MarkOutput(b.Slice(sum(b), 0, 0, 1), "out"); }),
              HasSubstr("output out is not a whole value"));
  EXPECT_THAT(BuildError([&](GraphBuilder& b) {
                const ValueId y = sum(b);
                b.MarkOutput(y, "first");
                b.MarkOutput(y, "second");
              }),
              HasSubstr("output second is the output first already"));
}

TEST(BuilderTest, NamesNodesAfterTheirWeightsAndPassesLiveCounts) {
  GraphBuilder b;
  const ValueId live = b.Input("live", DType::kI32, {1});
  const ValueId rows_live = b.Input("rows_live", DType::kI32, {1});
  b.SetScope("blk.0");
  b.SetLive(live);
  const ValueId x = b.Input("x", DType::kF32, {4, 8});
  const ValueId y = b.Linear(x, b.Weight("blk.0.up.weight", DType::kF16, {8, 8}));
  const ValueId picked = b.GatherRows(y, b.Input("rows", DType::kI32, {2}), rows_live);
  b.MarkOutput(b.Add(picked, picked), "out");
  const auto graph = std::move(b).Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(DumpGraph(*graph),
            "blk.0.up: blk.0.up f32[4, 8] = linear(x f32[4, 8], blk.0.up.weight f16[8, 8])\n"
            "blk.0.gather_rows: blk.0.gather_rows f32[2, 8] = gather_rows(blk.0.up f32[4, 8], "
            "rows i32[2])\n"
            "blk.0.add: out f32[2, 8] = add(blk.0.gather_rows f32[2, 8], "
            "blk.0.gather_rows f32[2, 8])\n");
  EXPECT_EQ(graph->node(0).live, live);
  EXPECT_EQ(graph->node(1).live, rows_live);
  EXPECT_EQ(graph->node(2).live, live);
}

}  // namespace
}  // namespace tandem
