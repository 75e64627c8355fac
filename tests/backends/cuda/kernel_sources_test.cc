#include "backends/cuda/kernel_sources.h"

#include <algorithm>
#include <string>
#include <vector>

#include "backends/cuda/kernel_cache.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Names(std::span<const SourceFile> files) {
  std::vector<std::string> names;
  for (const SourceFile& file : files) names.emplace_back(file.name);
  return names;
}

TEST(KernelSourcesTest, FollowIncludes) {
  const std::vector<SourceFile> all = {{"a.cuh", "#include \"ptx/b.cuh\"\n#include \"c.h\"\n"},
                                       {"c.h", "int c;\n"},
                                       {"d.cuh", "int d;\n"},
                                       {"ptx/b.cuh", "#include \"c.h\"\n#include \"a.cuh\"\n"}};
  EXPECT_THAT(Names(SourcesOf(all, "a.cuh")), ElementsAre("a.cuh", "c.h", "ptx/b.cuh"));
  EXPECT_THAT(Names(SourcesOf(all, "d.cuh")), ElementsAre("d.cuh"));
}

// What is embedded stands alone: every file that is included is there, under the name by which it
// is included.
TEST(KernelSourcesTest, IncludeNothingButEachOther) {
  const auto all = KernelSources();
  ASSERT_FALSE(all.empty());
  for (const SourceFile& file : all) {
    const std::string text(file.text);
    for (size_t at = text.find("#include "); at != std::string::npos;
         at = text.find("#include ", at + 1)) {
      ASSERT_EQ(text[at + 9], '"') << file.name << ": " << text.substr(at, 40);
      const std::string name = text.substr(at + 10, text.find('"', at + 10) - at - 10);
      EXPECT_TRUE(std::ranges::any_of(all, [&](const SourceFile& f) { return f.name == name; }))
          << file.name << " includes " << name;
    }
  }
}

TEST(KernelSourcesTest, TheHashFollowsNamesAndTexts) {
  const std::vector<SourceFile> one = {{"a", "bc"}}, other = {{"ab", "c"}}, third = {{"a", "bd"}};
  EXPECT_EQ(HashSources(one), HashSources(one));
  EXPECT_NE(HashSources(one), HashSources(other));
  EXPECT_NE(HashSources(one), HashSources(third));
}

}  // namespace
}  // namespace tandem::cuda
