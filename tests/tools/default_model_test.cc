// The model that comes along: what `tandem run` does when no other is given.
#include <cstdlib>
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/run_tool.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kModel[] = TANDEM_SOURCE_DIR "/models/stories-iq4_nl.gguf";

TEST(DefaultModelTest, IsSmall) { EXPECT_LE(std::filesystem::file_size(kModel), 25'000'000u); }

TEST(DefaultModelTest, TellsAStory) {
  const ToolResult run = RunTool({"run", "-n", "60", "--temp", "0"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, StartsWith("Once upon a time, there was a little"));
  EXPECT_THAT(run.err, HasSubstr("generated"));
  EXPECT_EQ(RunTool({"run", kModel, "-p", "Once upon a time", "-n", "60", "--temp", "0"}).out,
            run.out.substr(std::string("Once upon a time").size()));
}

// 17.33276 is the perplexity of the bf16 checkpoint, with f32 arithmetic and cache.
TEST(DefaultModelTest, LosesLittleByQuantization) {
  const ToolResult run = RunTool(
      {"perplexity", kModel, "--file", TANDEM_SOURCE_DIR "/tests/data/stories/heldout_16.txt"},
      {.timeout_seconds = 300});
  ASSERT_EQ(run.code, 0) << run.err;
  const double perplexity = std::strtod(run.out.substr(run.out.rfind(' ')).c_str(), nullptr);
  EXPECT_GT(perplexity, 17.0);
  EXPECT_LT(perplexity, 17.33276 * 1.06);
}

}  // namespace
}  // namespace tandem
