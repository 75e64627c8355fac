// Values that several nodes write, each a part of it.
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "graph/fuse.h"
#include "graph/verify.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

// Two norms side by side, written into one value as ElideConcat does.
struct Joined {
  Graph graph;
  ValueId a, b, both, last;
};

Joined MakeJoined(const Shape& part) {
  GraphBuilder builder;
  Joined j;
  const ValueId x = builder.Input("x", DType::kF32, part);
  const ValueId w = builder.Weight("w", DType::kF32, {part.back()});
  j.a = builder.RmsNorm(x, w, 1e-6f);
  j.b = builder.RmsNorm(x, w, 1e-5f);
  j.both = builder.Concat(j.a, j.b);
  j.last = builder.RmsNorm(j.both, builder.Weight("w2", DType::kF32, {2 * part.back()}), 1e-6f);
  builder.MarkOutput(j.last, "out");
  auto graph = std::move(builder).Build();
  EXPECT_TRUE(graph.ok()) << graph.status();
  j.graph = *std::move(graph);
  Fuse(j.graph);
  return j;
}

TEST(VerifyPartsTest, AcceptsPartsSideBySide) {
  const Joined rows = MakeJoined({3, 8});
  ASSERT_TRUE(rows.graph.value(rows.a).is_view());
  EXPECT_EQ(Verify(rows.graph), absl::OkStatus());
  const Joined heads = MakeJoined({3, 2, 8});
  ASSERT_TRUE(heads.graph.value(heads.a).is_view());
  EXPECT_EQ(Verify(heads.graph), absl::OkStatus());
}

TEST(VerifyPartsTest, OverlappingParts) {
  for (const Shape& part : {Shape{3, 8}, Shape{3, 2, 8}}) {
    Joined j = MakeJoined(part);
    j.graph.values[static_cast<size_t>(j.b)].byte_offset -= 4;
    EXPECT_THAT(std::string(Verify(j.graph).message()),
                HasSubstr("writes a part of concat that was written before"));
  }
}

TEST(VerifyPartsTest, ReadOfARootWithAMissingPart) {
  Joined j = MakeJoined({3, 8});
  j.graph.nodes.erase(j.graph.nodes.begin() + 1);
  j.graph.values[static_cast<size_t>(j.b)].producer = kNone;
  j.graph.values[static_cast<size_t>(j.last)].producer = 1;
  EXPECT_THAT(std::string(Verify(j.graph).message()),
              HasSubstr("reads concat before it is written"));
}

TEST(VerifyPartsTest, PartOfItsOwnInput) {
  Joined j = MakeJoined({3, 8});
  j.graph.nodes[1].inputs[0] = j.a;
  EXPECT_EQ(Verify(j.graph), absl::OkStatus());
  j.graph.values[static_cast<size_t>(j.b)].byte_offset -= 4;
  EXPECT_THAT(std::string(Verify(j.graph).message()), HasSubstr("reads and writes rms_norm"));
}

}  // namespace
}  // namespace tandem
