#include "tools/bench/report.h"

#include <algorithm>
#include <limits>
#include <regex>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/bench/plot.h"
#include "tools/bench/svg.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

const BenchSetting kSetting = {"cpu", 2, 512, "q8_0"};
const BenchTest kGeneration = {.generated = 10, .depth = 64, .parallel = 2};
constexpr Ceilings kCeilings = {.bytes = 100e9, .operations = 1000e9};

// 20 tokens in 0.5, 1 and 2 seconds; each moves 2 GB and needs 10 Gflop.
BenchRow SomeRow(const Ceilings& ceilings = kCeilings) {
  const Measured measured = {.seconds = {2, 0.5, 1}, .work = {20 * 2e9, 20 * 10e9}};
  BenchRow row = MakeRow(kSetting, kGeneration, measured, ceilings);
  row.error = 0.0125;
  row.planned = {.device = "", .weights_mapped = 1000, .kv_cache = 200, .arena = 30};
  row.process = {.anonymous = 4'000'000, .file = 5'000'000};
  return row;
}

TEST(BenchReportTest, MakesFigures) {
  const BenchRow row = SomeRow();
  EXPECT_EQ(row.repetitions, 3);
  EXPECT_DOUBLE_EQ(row.speed, 20);
  EXPECT_DOUBLE_EQ(row.slowest, 10);
  EXPECT_DOUBLE_EQ(row.fastest, 40);
  EXPECT_DOUBLE_EQ(row.bytes_per_second(), 40e9);
  EXPECT_DOUBLE_EQ(row.operations_per_second(), 200e9);
  EXPECT_TRUE(row.memory_bound);
  EXPECT_DOUBLE_EQ(*row.share, 0.4);
  const BenchRow even = MakeRow(kSetting, kGeneration, {{1, 4, 2, 3}, {}}, {});
  EXPECT_DOUBLE_EQ(even.speed, 20 / 2.5);
}

TEST(BenchReportTest, TheNearerCeilingBinds) {
  const BenchRow row = SomeRow({.bytes = 100e9, .operations = 250e9});
  EXPECT_FALSE(row.memory_bound);
  EXPECT_DOUBLE_EQ(*row.share, 0.8);
  EXPECT_EQ(SomeRow({}).share, std::nullopt);
  EXPECT_TRUE(SomeRow({}).memory_bound);
  EXPECT_FALSE(MakeRow(kSetting, {.prompt = 8}, {{1}, {}}, {}).memory_bound);
}

TEST(BenchReportTest, JsonHasAllFields) {
  const std::string line = JsonRow("a \"model\"", SomeRow());
  EXPECT_EQ(std::ranges::count(line, '\n'), 1);
  const Json json = Json::parse(line);
  EXPECT_EQ(json["model"], "a \"model\"");
  EXPECT_EQ(json["test"], "tg10@d64");
  EXPECT_EQ(json["n_prompt"], 0);
  EXPECT_EQ(json["n_gen"], 10);
  EXPECT_EQ(json["depth"], 64);
  EXPECT_EQ(json["parallel"], 2);
  EXPECT_EQ(json["threads"], 2);
  EXPECT_EQ(json["micro_batch"], 512);
  EXPECT_EQ(json["kv_type"], "q8_0");
  EXPECT_EQ(json["device"], "cpu");
  EXPECT_EQ(json["repetitions"], 3);
  EXPECT_DOUBLE_EQ(json["tokens_per_second"], 20);
  EXPECT_DOUBLE_EQ(json["tokens_per_second_min"], 10);
  EXPECT_DOUBLE_EQ(json["tokens_per_second_max"], 40);
  EXPECT_DOUBLE_EQ(json["bytes_per_token"], 2e9);
  EXPECT_DOUBLE_EQ(json["flops_per_token"], 10e9);
  EXPECT_DOUBLE_EQ(json["gb_per_second"], 40);
  EXPECT_DOUBLE_EQ(json["gflop_per_second"], 200);
  EXPECT_DOUBLE_EQ(json["share_of_ceiling"], 0.4);
  EXPECT_EQ(json["bound"], "memory");
  EXPECT_DOUBLE_EQ(json["error"], 0.0125);
  EXPECT_EQ(json["planned_kv_cache_bytes"], 200);
  EXPECT_EQ(json["process_anonymous_bytes"], 4'000'000);
  EXPECT_TRUE(Json::parse(JsonRow("", SomeRow({})))["share_of_ceiling"].is_null());
}

TEST(BenchReportTest, CsvIsTheSameInColumns) {
  BenchRow row = SomeRow();
  row.setting.device = "a,\"b\".so";
  const std::string header = CsvHeader(), line = CsvRow(row);
  EXPECT_THAT(header, ::testing::StartsWith("test,n_prompt,n_gen,depth,"));
  EXPECT_THAT(line, ::testing::StartsWith("\"tg10@d64\",0,10,64,2,2,512,\"q8_0\","));
  EXPECT_THAT(line, HasSubstr(",\"a,\"\"b\"\".so\","));
  EXPECT_EQ(std::ranges::count(header, ',') + 1, std::ranges::count(line, ','));
  EXPECT_THAT(CsvRow(SomeRow({})), HasSubstr(",,\"memory\","));
}

TEST(BenchReportTest, TableRowsStandUnderTheirHeader) {
  const std::string header = TableHeader(), line = TableRow(SomeRow());
  EXPECT_THAT(line, HasSubstr("10.0 to 40.0"));
  EXPECT_THAT(line, HasSubstr("tg10@d64"));
  const auto end_of = [](const std::string& text, const char* part) {
    return text.find(part) + std::string(part).size();
  };
  EXPECT_EQ(end_of(header, "tokens/s"), end_of(line, " 20.0"));
  EXPECT_EQ(end_of(header, "Gflop/s"), end_of(line, " 200 ") - 1);
  EXPECT_EQ(header.find("device"), line.find("cpu"));
  EXPECT_THAT(MemoryText(SomeRow()), HasSubstr("4.0 MB anonymous, 5.0 MB of files"));
}

TEST(ProcessMemoryTest, IsRead) {
  EXPECT_EQ(
      ParseProcessStatus("Name:\tx\nVmRSS:\t 9 kB\nRssAnon:\t    1234 kB\nRssFile:\t 56 kB\n"),
      (ProcessMemory{1234 * 1024, 56 * 1024}));
  EXPECT_EQ(ParseProcessStatus("NoRssAnon: 5 kB\n"), ProcessMemory());
  EXPECT_EQ(ParseProcessStatus("x\nRssAnon:"), ProcessMemory());
  EXPECT_GT(ReadProcessMemory().anonymous, 100'000);
  EXPECT_EQ(Most({1, 5}, {2, 3}), (ProcessMemory{2, 5}));
}

TEST(SvgTest, TicksAreRoundAndReachTheEnd) {
  EXPECT_THAT(Ticks(5), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(Ticks(5.1), ElementsAre(0, 2, 4, 6));
  EXPECT_THAT(Ticks(2300), ElementsAre(0, 500, 1000, 1500, 2000, 2500));
  EXPECT_THAT(Ticks(0), ElementsAre(0, 1));
  EXPECT_THAT(Ticks(-1), ElementsAre(0, 1));
  EXPECT_THAT(Ticks(std::numeric_limits<double>::infinity()), ElementsAre(0, 1));
  for (double most = 1e-3; most < 1e6; most *= 1.37) {
    const auto ticks = Ticks(most);
    EXPECT_GE(ticks.back(), most);
    EXPECT_LT(ticks[ticks.size() - 2], most);
    EXPECT_GE(ticks.size(), 3u) << most;
    EXPECT_LE(ticks.size(), 7u) << most;
  }
}

size_t Count(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  return static_cast<size_t>(
      std::distance(std::sregex_iterator(text.begin(), text.end(), regex), {}));
}

TEST(SvgTest, DrawsWhatItIsGiven) {
  const Panel panel = {
      "depth", "speed", {{"a <b> & \"c\"", {{0, 10}, {100, 5}}}, {"d", {{50, 0}}}}};
  const std::string svg = Svg("title", {panel});
  EXPECT_THAT(svg, ::testing::StartsWith("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_THAT(svg, HasSubstr("a &lt;b&gt; &amp; &quot;c&quot;"));
  EXPECT_THAT(svg, Not(HasSubstr("a <b>")));
  EXPECT_EQ(Count(svg, "<polyline"), 2u);
  EXPECT_EQ(Count(svg, "<circle"), 3u);
  // The best speed is at the top of the panel, half of it in the middle, on the right edge.
  EXPECT_THAT(svg, HasSubstr("points=\"80.0,48.0 680.0,208.0\""));
  for (const char* text : {">depth<", ">speed<", ">title<", ">100<", ">10<", ">d<"}) {
    EXPECT_THAT(svg, HasSubstr(text));
  }
  EXPECT_EQ(Count(Svg("t\x01", {}), "\x01"), 0u);
}

TEST(PlotTest, HasALineForEachTestAndSetting) {
  std::vector<BenchRow> rows;
  for (const char* kv_type : {"f16", "q8_0"}) {
    for (const int64_t depth : {0, 64, 128}) {
      for (const BenchTest& test : {BenchTest{.prompt = 8, .depth = depth},
                                    BenchTest{.generated = 4, .depth = depth, .parallel = 2}}) {
        rows.push_back(MakeRow({"cpu", 2, 512, kv_type}, test, {{1.0}, {}}, {}));
      }
    }
  }
  const std::string svg = PlotRows("speed", rows);
  EXPECT_EQ(Count(svg, "<polyline"), 4u);
  EXPECT_EQ(Count(svg, "<circle"), 12u);
  EXPECT_THAT(svg, HasSubstr("pp8 cpu 2t ub512 f16"));
  EXPECT_THAT(svg, HasSubstr("tg4 x2 cpu 2t ub512 q8_0"));
  EXPECT_EQ(Count(svg, "rotate"), 2u);
  rows.resize(1);
  EXPECT_EQ(Count(PlotRows("speed", rows), "rotate"), 1u);
}

}  // namespace
}  // namespace tandem
