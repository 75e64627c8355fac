// The sub-commands of `tandem` that need no answer of a real model.
#include <algorithm>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/runtime/raw_gguf.h"
#include "tests/runtime/temp_dir.h"
#include "tests/tools/run_tool.h"
#include "tests/tools/tiny_gguf.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;

class ToolTest : public ::testing::Test {
 protected:
  void SetUp() override { WriteTinyGguf(model_); }

  const TempDir folder_;
  const std::string model_ = folder_.Path("tiny.gguf");
};

// One line that begins with the tool's name.
void ExpectError(const ToolResult& result, int code, const std::string& part) {
  EXPECT_EQ(result.code, code) << result.err;
  EXPECT_THAT(result.err, StartsWith("tandem: "));
  EXPECT_THAT(result.err, HasSubstr(part));
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
}

TEST_F(ToolTest, PrintsHelpAndVersion) {
  EXPECT_THAT(RunTool({"--version"}).out, StartsWith("tandem "));
  const ToolResult help = RunTool({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* command : {"run", "inspect", "tokenize", "perplexity", "logits", "convert",
                              "quantize", "devices", "check-device", "bench", "machine",
                              "kernels"}) {
    EXPECT_THAT(help.out, HasSubstr(command));
    const ToolResult own = RunTool({command, "--help"});
    EXPECT_EQ(own.code, 0);
    EXPECT_THAT(own.out, HasSubstr(std::string("Usage: tandem ") + command));
  }
}

std::set<std::string> FlagsOf(const std::vector<const char*>& commands) {
  const std::regex flag(R"(\n  (?:-\w,)?(--[a-z-]+))");
  std::set<std::string> flags;
  for (const char* command : commands) {
    const std::string help = RunTool({command, "--help"}).out;
    for (auto f = std::sregex_iterator(help.begin(), help.end(), flag); f != std::sregex_iterator();
         ++f) {
      flags.insert((*f)[1]);
    }
  }
  flags.erase("--help");
  return flags;
}

// The commands that use models have at most 30 flags between them. Those that measure (bench,
// machine) may add 14 names of their own; what means the same has the same name.
TEST_F(ToolTest, HasFewFlags) {
  const std::set<std::string> flags = FlagsOf({"run", "inspect", "tokenize", "perplexity", "logits",
                                               "convert", "quantize", "devices", "check-device"});
  EXPECT_GT(flags.size(), 20u);
  EXPECT_LE(flags.size(), 30u) << ::testing::PrintToString(flags);
  std::set<std::string> own = FlagsOf({"bench", "machine"});
  EXPECT_GT(own.size(), 10u);
  std::erase_if(own, [&flags](const std::string& name) { return flags.contains(name); });
  EXPECT_LE(own.size(), 14u) << ::testing::PrintToString(own);
}

TEST_F(ToolTest, ReportsUsageErrors) {
  ExpectError(RunTool({}), 2, "subcommand");
  ExpectError(RunTool({"walk"}), 2, "walk");
  ExpectError(RunTool({"run", model_, "--walk"}), 2, "--walk");
  ExpectError(RunTool({"run", model_, "-n", "many"}), 2, "many");
  ExpectError(RunTool({"run", model_, "--kq-limit", "0"}), 2, "kq-limit");
  ExpectError(RunTool({"run", model_, "--kv-type", "q9"}), 2, "q9");
  ExpectError(RunTool({"run", model_, "-p", "a", "-f", "b"}), 2, "--file");
  ExpectError(RunTool({"run", model_, "--chat", "-f", "b"}), 2, "--file");
  ExpectError(RunTool({"run", model_, "--system", "a"}), 2, "--chat");
  ExpectError(RunTool({"run", model_, "--threads", "513"}), 2, "513");
  ExpectError(RunTool({"inspect"}), 2, "MODEL");
}

TEST_F(ToolTest, ReportsErrors) {
  const std::string missing = folder_.Path("missing");
  ExpectError(RunTool({"run", missing, "-p", "a"}), 1, missing);
  ExpectError(RunTool({"inspect", missing}), 1, missing);
  ExpectError(RunTool({"tokenize", missing, "-p", "a"}), 1, missing);
  ExpectError(RunTool({"run", folder_.Path(""), "-p", "a"}), 1, "config.json");
  ExpectError(RunTool({"run", model_, "-p", "a", "--device", "abacus"}), 1, "abacus");
  ExpectError(RunTool({"run", model_, "-p", "a", "--top-p", "2"}), 1, "top");
  ExpectError(RunTool({"run", model_, "-p", "a", "--temp", "nan"}), 1, "temperature");
  ExpectError(RunTool({"run", model_, "-p", "a", "--ctx", "2000000"}), 1, "2000000");
  ExpectError(RunTool({"run", model_, "-p", "too long", "--ctx", "2"}), 1, "--ctx");
  ExpectError(RunTool({"run", model_, "-f", missing}), 1, missing);
  ExpectError(RunTool({"run", model_}), 1, "no prompt");
  ExpectError(RunTool({"check-device", "abacus"}), 1, "abacus");
  ExpectError(RunTool({"inspect", folder_.Write("line\nend.gguf", "x")}), 1, "line end.gguf");
}

TEST_F(ToolTest, ReportsOutputThatCannotBeWritten) {
  const ToolRun full = {.output = "/dev/full"};
  ExpectError(RunTool({"inspect", model_}, full), 1, "cannot be written");
  ExpectError(RunTool({"--help"}, full), 1, "cannot be written");
  ExpectError(RunTool({"run", model_, "-p", "a"}, full), 1, "cannot be written");
}

TEST_F(ToolTest, RunsFromAnyPromptWithTheSameAnswer) {
  const std::vector<std::string> base = {"run", model_, "-n", "20", "--seed", "5"};
  const auto with = [&base](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return more;
  };
  const ToolResult first = RunTool(with({"-p", "the the"}));
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_GT(first.out.size(), 2u);
  for (const char* part :
       {"prompt ", "generated ", "first token ", "memory ", "process ", "seed "}) {
    EXPECT_THAT(first.err, HasSubstr(part));
  }
  EXPECT_EQ(RunTool(with({"-f", folder_.Write("prompt", "the the\n")})).out, first.out);
  EXPECT_EQ(RunTool(with({}), {.input = "the the\n"}).out, first.out);
  EXPECT_EQ(RunTool(with({"-f", "-"}), {.input = "the the"}).out, first.out);
  EXPECT_EQ(RunTool(with({"-p", "the the", "-amb", "1"})).out, first.out);
  EXPECT_NE(RunTool({"run", model_, "-n", "20", "-p", "the the", "--seed", "6"}).out, first.out);
  EXPECT_EQ(RunTool({"run", model_, "-n", "0", "-p", "the"}).out, "\n");
}

TEST_F(ToolTest, PrintsJsonLines) {
  const ToolResult result = RunTool({"run", model_, "-n", "9", "-p", "the", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  std::istringstream lines(result.out);
  std::string text;
  int tokens = 0;
  Json report;
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line);
    if (json["type"] == "token") {
      ++tokens;
      text += json["text"].get<std::string>();
    } else {
      EXPECT_TRUE(report.is_null());
      report = json;
    }
  }
  EXPECT_EQ(report["type"], "report");
  EXPECT_EQ(report["text"], text);
  EXPECT_GE(tokens, report["generated_tokens"].get<int>());
  EXPECT_EQ(report["prompt_tokens"], 2);
  EXPECT_GT(report["peak_resident_bytes"], 1 << 20);
  EXPECT_GT(report["memory"][0]["kv_cache_bytes"], 0);
}

TEST_F(ToolTest, StopsAtTheEndOfTheContextAndAtCtrlC) {
  const ToolResult full = RunTool({"run", model_, "-p", "the", "--ctx", "8", "--seed", "1"});
  EXPECT_EQ(full.code, 0);
  EXPECT_THAT(full.err, HasSubstr("the context of 8 tokens is full"));
  const ToolResult stopped =
      RunTool({"run", model_, "-p", "the", "--ctx", std::to_string(kTinyContext), "-n",
               std::to_string(kTinyContext), "--device", "reference", "--seed", "1"},
              {.interrupt = true});
  EXPECT_EQ(stopped.code, 130) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("generated "));
}

TEST_F(ToolTest, Chats) {
  const std::vector<std::string> chat = {"run", model_, "--chat", "-n", "12", "--temp", "0"};
  const auto say = [&chat](const std::string& input) { return RunTool(chat, {.input = input}); };
  const ToolResult once = say("the\n");
  ASSERT_EQ(once.code, 0) << once.err;
  EXPECT_GT(once.out.size(), 2u);
  EXPECT_EQ(say("the\n/reset\n\nthe\n/quit\nthe\n").out, once.out + once.out);
  EXPECT_THAT(say("the\nthe\n").out, StartsWith(once.out));
  EXPECT_NE(say("the\nthe\n").out, once.out + once.out);
  std::vector<std::string> system = chat;
  system.insert(system.end(), {"--system", "he"});
  EXPECT_NE(RunTool(system, {.input = "the\n"}).out, once.out);
}

TEST_F(ToolTest, RefusesToChatWithoutATemplate) {
  const std::string golden = TANDEM_SOURCE_DIR "/tests/data/golden/llama";
  ExpectError(RunTool({"run", golden, "--chat"}), 1, "has no chat template");
}

TEST_F(ToolTest, Inspects) {
  const ToolResult text = RunTool({"inspect", model_});
  ASSERT_EQ(text.code, 0) << text.err;
  for (const char* part : {"general.name", "\"tiny\"", "blk.0.ffn_up.weight", "[32, 32]", "f32"}) {
    EXPECT_THAT(text.out, HasSubstr(part));
  }
  const Json json = Json::parse(RunTool({"inspect", model_, "--json"}).out);
  EXPECT_EQ(json["metadata"]["llama.block_count"], 1);
  EXPECT_EQ(json["tensors"].size(), 12u);
  EXPECT_EQ(json["bytes"], ReadFileBytes(model_).size());
  EXPECT_EQ(json["types"]["f32"]["parameters"], json["parameters"]);
  EXPECT_EQ(json["types"]["f32"]["bytes"], 4 * json["parameters"].get<int64_t>());
  const ToolResult graph =
      RunTool({"inspect", model_, "--graph", "-n", "4", "--device", "reference"});
  EXPECT_EQ(graph.code, 0) << graph.err;
  EXPECT_THAT(graph.out, HasSubstr("blk.0"));
  EXPECT_THAT(graph.out, HasSubstr("f32[4, 32]"));
  const ToolResult golden = RunTool({"inspect", TANDEM_SOURCE_DIR "/tests/data/golden/llama"});
  EXPECT_THAT(golden.out, HasSubstr("LlamaForCausalLM"));
}

TEST_F(ToolTest, InspectsWhatItCannotRun) {
  RawGguf raw;
  raw.entries[0] = RawEntry("general.architecture", 8, RawText("some\x1b[2Jthing"));
  raw.tensors[1].type = 16;  // iq2_xxs
  raw.tensors[1].sizes = {256, 2};
  raw.data_bytes = 96 + 160;
  const std::string path = folder_.Write("other.gguf", raw.Bytes());
  const ToolResult result = RunTool({"inspect", path});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("not supported"));
  EXPECT_EQ(result.out.find('\x1b'), std::string::npos);
  ExpectError(RunTool({"run", path, "-p", "a"}), 1, path);
}

TEST_F(ToolTest, TokenizesAndBack) {
  const ToolResult ids = RunTool({"tokenize", model_, "-p", "the hat", "--ids-only"});
  ASSERT_EQ(ids.code, 0) << ids.err;
  EXPECT_THAT(ids.out, StartsWith("1 265 259 "));
  const ToolResult text =
      RunTool({"tokenize", model_, "--decode", "--no-special"}, {.input = ids.out});
  EXPECT_EQ(text.out, "the hat");
  EXPECT_THAT(RunTool({"tokenize", model_, "-p", "the"}).out, HasSubstr("265  \" the\""));
  EXPECT_THAT(RunTool({"tokenize", model_, "-p", "the", "--no-special"}).out,
              ::testing::Not(HasSubstr("<s>")));
  EXPECT_THAT(RunTool({"tokenize", model_, "-p", "</s>", "--parse-special"}).out,
              HasSubstr("\"</s>\""));
  ExpectError(RunTool({"tokenize", model_, "--decode", "-p", "1 266"}), 1, "'266'");
  ExpectError(RunTool({"tokenize", model_, "--decode", "-p", "1 x"}), 1, "'x'");
}

// Whether or not the CUDA backend was built.
TEST_F(ToolTest, RefusesKernelsOfUnknownArchitectures) {
  const ToolResult result =
      RunTool({"kernels", "build", "--arch", "sm_75", "--model", model_, "-o", folder_.Path("k")});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, testing::AnyOf(HasSubstr("no GPU architecture \"sm_75\""),
                                         HasSubstr("no CUDA backend")));
  EXPECT_EQ(RunTool({"kernels", "build"}).code, 2);
}

TEST_F(ToolTest, ListsAndChecksDevices) {
  const ToolResult list = RunTool({"devices"});
  EXPECT_EQ(list.code, 0);
  EXPECT_THAT(list.out, HasSubstr("reference "));
  EXPECT_THAT(list.out, HasSubstr("cpu "));
  const ToolResult check = RunTool({"check-device", "reference"}, {.timeout_seconds = 300});
  EXPECT_EQ(check.code, 0) << check.out << check.err;
  EXPECT_THAT(check.out, HasSubstr("attention"));
}

}  // namespace
}  // namespace tandem
