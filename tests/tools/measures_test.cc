// `tandem logits` and `tandem perplexity` against goldens and against each other.
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/safetensors.h"
#include "tests/runtime/temp_dir.h"
#include "tests/tools/run_tool.h"
#include "tests/tools/tiny_gguf.h"

namespace tandem {
namespace {

template <typename T>
std::vector<T> ReadTensor(const std::string& path, const char* name) {
  const auto file = SafetensorsFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  if (!file.ok() || file->tensors().Find(name) == nullptr) return {};
  const auto data = file->tensors().Find(name)->data;
  std::vector<T> values(data.size() / sizeof(T));
  std::memcpy(values.data(), data.data(), data.size());
  return values;
}

double LastNumber(const std::string& text) {
  return std::strtod(text.substr(text.rfind(' ')).c_str(), nullptr);
}

TEST(LogitsTest, AreThoseOfTransformers) {
  const TempDir folder;
  for (const char* device : {"reference", "cpu"}) {
    const std::string golden = TANDEM_SOURCE_DIR "/tests/data/golden/llama";
    const auto tokens = ReadTensor<int32_t>(golden + "/golden.safetensors", "tokens");
    const std::string out = folder.Path("logits.safetensors");
    const ToolResult run = RunTool({"logits", golden, "--tokens-file", "-", "--out", out,
                                    "--kv-type", "f32", "--device", device},
                                   {.input = absl::StrJoin(tokens, "\n")});
    ASSERT_EQ(run.code, 0) << run.err;
    const auto got = ReadTensor<float>(out, "logits");
    const auto want = ReadTensor<float>(golden + "/golden.safetensors", "logits");
    ASSERT_EQ(got.size(), want.size());
    double error = 0, norm = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      error += std::pow(got[i] - want[i], 2);
      norm += std::pow(want[i], 2);
    }
    EXPECT_LT(std::sqrt(error / norm), 0.02) << device;
  }
}

TEST(LogitsTest, RefusesBadTokensAndPlaces) {
  const TempDir folder;
  const std::string golden = TANDEM_SOURCE_DIR "/tests/data/golden/llama";
  const std::string out = folder.Path("x.safetensors");
  const std::vector<std::string> command = {"logits", golden, "--tokens-file", "-", "--out", out};
  for (const char* tokens : {"1 2 512", "1,2", "-1", ""}) {
    EXPECT_EQ(RunTool(command, {.input = tokens}).code, 1) << tokens;
  }
  EXPECT_EQ(RunTool({"logits", golden, "--tokens-file", "-", "--out", folder.Path("no/x")},
                    {.input = "1 2"})
                .code,
            1);
  EXPECT_EQ(RunTool({"logits", golden, "--tokens-file", "-"}).code, 2);
}

class PerplexityTest : public ::testing::Test {
 protected:
  void SetUp() override { WriteTinyGguf(model_); }

  ToolResult Measure(const std::string& text, std::vector<std::string> more = {}) {
    more.insert(more.begin(),
                {"perplexity", model_, "--file", "-", "--kv-type", "f32", "--device", "reference"});
    return RunTool(more, {.input = text});
  }

  const TempDir folder_;
  const std::string model_ = folder_.Path("tiny.gguf");
};

TEST_F(PerplexityTest, FollowsFromTheLogits) {
  const std::string ids = RunTool({"tokenize", model_, "-p", "the hat", "--ids-only"}).out;
  const std::string out = folder_.Path("logits.safetensors");
  const ToolResult run = RunTool({"logits", model_, "--tokens-file", "-", "--out", out, "--kv-type",
                                  "f32", "--device", "reference"},
                                 {.input = ids});
  ASSERT_EQ(run.code, 0) << run.err;
  const auto logits = ReadTensor<float>(out, "logits");
  std::istringstream words(ids);
  std::vector<size_t> tokens{std::istream_iterator<size_t>(words), {}};
  const size_t vocab = logits.size() / tokens.size();
  double sum = 0;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    double total = 0;
    for (size_t v = 0; v < vocab; ++v) total += std::exp(double{logits[i * vocab + v]});
    sum += std::log(total) - logits[i * vocab + tokens[i + 1]];
  }
  const double want = std::exp(sum / static_cast<double>(tokens.size() - 1));
  const ToolResult result = Measure("the hat");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NEAR(LastNumber(result.out), want, 1e-4 * want);
}

TEST_F(PerplexityTest, EvaluatesDocumentsOnTheirOwn) {
  const ToolResult once = Measure("the hat");
  const ToolResult twice = Measure("the hat\n<|endoftext|>\nthe hat\n<|endoftext|>\n");
  EXPECT_DOUBLE_EQ(LastNumber(twice.out), LastNumber(once.out)) << twice.err;
  EXPECT_THAT(twice.err, ::testing::HasSubstr("2/2"));
  const ToolResult first = Measure("the hat<|endoftext|>ehhe", {"--documents", "1"});
  EXPECT_DOUBLE_EQ(LastNumber(first.out), LastNumber(once.out));
  EXPECT_NE(Measure("the hat<|endoftext|>ehhe").out, first.out);
}

TEST_F(PerplexityTest, CutsDocumentsAndWindowsRunningText) {
  // "the the the the": a start token and four more; windows of 3 hold two of them.
  const std::string text = "the the the the";
  EXPECT_THAT(Measure(text, {"--ctx", "3"}).out, ::testing::StartsWith("tokens 4\n"));
  EXPECT_THAT(Measure(text + "<|endoftext|>", {"--ctx", "3"}).out,
              ::testing::StartsWith("tokens 2\n"));
  EXPECT_EQ(Measure("").code, 1);
  EXPECT_EQ(Measure(text, {"--ctx", "1"}).code, 1);
}

}  // namespace
}  // namespace tandem
