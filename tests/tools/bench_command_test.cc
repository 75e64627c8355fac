// `tandem bench` from outside.
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/runtime/temp_dir.h"
#include "tests/tools/run_tool.h"
#include "tests/tools/tiny_gguf.h"
#include "tools/machine/cpu.h"
#include "tools/machine/machine_json.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

class BenchCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteTinyGguf(model_);
    ASSERT_EQ(setenv("XDG_CACHE_HOME", folder_.Path("").c_str(), 1), 0);
    // So that nothing has to be measured.
    Processor cpu = {.device = "cpu", .model = CpuModel(), .cores = CpuCores()};
    cpu.read = {{1, {1e12, 1e12}}};
    cpu.multiply = {{"f32", "AVX2", 1, {1e14, 1e14}}, {"int8", "AVX2", 1, {1e14, 1e14}}};
    ASSERT_TRUE(SaveMachine(folder_.Path("tandem/machine.json"), {{cpu}, {}}).ok());
  }

  // A few small tests of the tiny model.
  ToolResult Bench(std::vector<std::string> more) const {
    more.insert(more.begin(), {"bench", model_, "-r", "2"});
    return RunTool(more, {.timeout_seconds = 300});
  }
  std::vector<Json> Rows(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = more;
    arguments.push_back("--json");
    const ToolResult result = Bench(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    std::vector<Json> rows;
    std::istringstream lines(result.out);
    for (std::string line; std::getline(lines, line);) rows.push_back(Json::parse(line));
    return rows;
  }

  const TempDir folder_;
  const std::string model_ = folder_.Path("tiny.gguf");
};

TEST_F(BenchCommandTest, PrintsARowForEachTest) {
  const auto rows = Rows({"-p", "16,40", "-n", "5", "-d", "0,70", "--micro-batch", "32",
                          "--kv-type", "f32", "--threads", "1"});
  std::vector<std::string> names;
  for (const Json& row : rows) {
    names.push_back(row["test"]);
    EXPECT_GT(row["tokens_per_second"], 0.0);
    EXPECT_LE(row["tokens_per_second_min"], row["tokens_per_second"]);
    EXPECT_GE(row["tokens_per_second_max"], row["tokens_per_second"]);
    EXPECT_EQ(row["repetitions"], 2);
    EXPECT_EQ(row["micro_batch"], 32);
    EXPECT_EQ(row["model"], "tiny");
    EXPECT_GT(row["bytes_per_token"], 0.0);
    EXPECT_GT(row["flops_per_token"], 0.0);
    EXPECT_GT(row["share_of_ceiling"], 0.0);
    EXPECT_LT(row["share_of_ceiling"], 1.0);
    EXPECT_LT(row["error"], 1e-3);
    EXPECT_GT(row["planned_kv_cache_bytes"], 0);
    EXPECT_GT(row["process_anonymous_bytes"], 100'000);
    EXPECT_GT(row["process_file_bytes"], 100'000);
  }
  EXPECT_THAT(names, ElementsAre("pp16", "pp40", "tg5", "pp16@d70", "pp40@d70", "tg5@d70"));
}

TEST_F(BenchCommandTest, RunsSessionsSettingsAndSweeps) {
  const auto rows = Rows({"-p", "8", "-n", "4", "-d", "16", "--sweep", "--parallel", "1,3",
                          "--device", "cpu,reference", "--kv-type", "f32,f16", "--threads", "1"});
  // Of each device and type: pp and tg at 3 depths, then tg of three sessions.
  ASSERT_EQ(rows.size(), 2u * 2u * 9u);
  EXPECT_EQ(rows[0]["device"], "cpu");
  EXPECT_EQ(rows[4]["depth"], 16);
  EXPECT_EQ(rows[6]["parallel"], 3);
  EXPECT_EQ(rows[9]["kv_type"], "f16");
  EXPECT_EQ(rows[18]["device"], "reference");
}

TEST_F(BenchCommandTest, WritesTablesAndCharts) {
  const std::string plot = folder_.Path("plot.svg");
  const ToolResult table =
      Bench({"-p", "8", "-n", "4", "-d", "0,16", "--threads", "1", "--plot", plot});
  ASSERT_EQ(table.code, 0) << table.err;
  for (const char* part : {"model ", "machine ", "check ", "0.01 is tolerated", "pp8 ", "tg4@d16 ",
                           "memory ", "anonymous"}) {
    EXPECT_THAT(table.out, HasSubstr(part));
  }
  EXPECT_THAT(ReadFileBytes(plot), HasSubstr("tg4 cpu 1t ub2048 f16"));
  const ToolResult csv = Bench({"-p", "8", "-n", "0", "-d", "0", "--threads", "1", "--csv"});
  EXPECT_THAT(csv.out, ::testing::StartsWith("test,"));
  EXPECT_EQ(std::ranges::count(csv.out, '\n'), 2);
  EXPECT_EQ(Bench({"-p", "8", "-n", "0", "-d", "0", "--plot", folder_.Path("no/x.svg")}).code, 1);
}

TEST_F(BenchCommandTest, GivesNoFiguresForWrongResults) {
  const std::string wrong = TANDEM_PLUGIN_WRONG;
  const ToolResult result = Bench({"-p", "8", "-n", "4", "-d", "0", "--threads", "1", "--json",
                                   "--device", wrong + "+cpu,cpu"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, HasSubstr("no figures"));
  EXPECT_THAT(result.out, Not(HasSubstr("wrong")));
  EXPECT_EQ(std::ranges::count(result.out, '\n'), 2) << result.out;  // those of the other device
}

TEST_F(BenchCommandTest, MeasuresSyntheticModels) {
  const std::string config = TANDEM_SOURCE_DIR "/tests/data/golden/qwen3_moe/config.json";
  const ToolResult result = RunTool({"bench", "--synthetic", config + ":bf16", "--layers", "1",
                                     "-p", "8", "-n", "4", "-d", "0", "-r", "1", "--threads", "1"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("random weights, 1 layers"));
  EXPECT_THAT(result.out, HasSubstr("experts touched"));
  EXPECT_THAT(result.out, HasSubstr("tg4 "));
  EXPECT_EQ(RunTool({"bench", "--synthetic", config + ":q9"}).code, 1);
  EXPECT_EQ(RunTool({"bench", model_, "--synthetic", config + ":bf16"}).code, 2);
  EXPECT_EQ(RunTool({"bench", model_, "--layers", "1"}).code, 2);
}

TEST_F(BenchCommandTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(Bench({"-p", "-3"}).code, 2);
  EXPECT_THAT(Bench({"--json", "--csv"}).code, 2);
  EXPECT_THAT(Bench({"--parallel", "0"}).code, 2);
  EXPECT_THAT(Bench({"--kv-type", "f16,q9"}).code, 2);
  EXPECT_THAT(Bench({"-p", "0", "-n", "0"}).err, HasSubstr("nothing to measure"));
  EXPECT_THAT(Bench({"--device", "abacus", "-d", "0"}).err, HasSubstr("abacus"));
  const ToolResult left_out =
      Bench({"-p", "8", "-n", "0", "-d", "0," + std::to_string(kTinyContext), "--threads", "1"});
  EXPECT_EQ(left_out.code, 0) << left_out.err;
  EXPECT_THAT(left_out.err, HasSubstr("left out"));
  EXPECT_EQ(RunTool({"bench", folder_.Path("missing")}).code, 1);
}

// Sanitizers make everything several times as slow.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(BenchCommandTest, TheModelThatComesAlongTakesLessThanTenSeconds) {
  ASSERT_EQ(setenv("XDG_CACHE_HOME", folder_.Path("empty").c_str(), 1), 0);
  const auto start = std::chrono::steady_clock::now();
  const ToolResult result = RunTool({"bench"});
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("tg64@d1024"));
  EXPECT_LT(time.count(), 10);
}
#endif

}  // namespace
}  // namespace tandem
