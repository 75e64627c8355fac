// Ceilings of machines: their file, what is read from it, and how they are measured.
#include <cstdlib>
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/runtime/temp_dir.h"
#include "tests/tools/run_tool.h"
#include "tools/machine/cpu.h"
#include "tools/machine/machine_json.h"
#include "tools/machine/measure.h"
#include "tools/machine/team.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Machine SomeMachine() {
  Processor cpu = {.device = "cpu", .model = "Some CPU", .cores = 8};
  cpu.read = {{1, {10e9, 9e9}}, {2, {18e9, 17e9}}, {8, {30e9, 29e9}}};
  cpu.multiply = {{"int8", "AVX2", 1, {100e9, 90e9}},
                  {"int8", "AVX-512 VNNI", 1, {400e9, 390e9}},
                  {"int8", "AVX-512 VNNI", 8, {1800e9, 1700e9}},
                  {"f32", "AVX2", 1, {60e9, 50e9}}};
  return {.processors = {cpu}, .buses = {{"cpu", "gpu", {20e9, 19e9}}}};
}

TEST(MachineTest, InterpolatesBetweenNumbersOfThreads) {
  const Machine machine = SomeMachine();
  EXPECT_EQ(machine.Find("gpu"), nullptr);
  const Processor& cpu = *machine.Find("cpu");
  EXPECT_DOUBLE_EQ(ReadCeiling(cpu, 1), 10e9);
  EXPECT_DOUBLE_EQ(ReadCeiling(cpu, 2), 18e9);
  EXPECT_DOUBLE_EQ(ReadCeiling(cpu, 4), 22e9);
  EXPECT_DOUBLE_EQ(ReadCeiling(cpu, 9), 30e9);
  EXPECT_DOUBLE_EQ(MultiplyCeiling(cpu, "int8", 1), 400e9);  // the best instructions
  EXPECT_DOUBLE_EQ(MultiplyCeiling(cpu, "int8", 8), 1800e9);
  EXPECT_DOUBLE_EQ(MultiplyCeiling(cpu, "int8", 2), 600e9);
  EXPECT_DOUBLE_EQ(MultiplyCeiling(cpu, "f32", 3), 60e9);
  EXPECT_DOUBLE_EQ(MultiplyCeiling(cpu, "bf16", 3), 0);
}

TEST(MachineTest, SurvivesItsFile) {
  const TempDir folder;
  const std::string path = folder.Path("a/b/machine.json");
  ASSERT_TRUE(SaveMachine(path, SomeMachine()).ok());
  EXPECT_EQ(LoadMachine(path, "Some CPU", 8), SomeMachine());
  EXPECT_EQ(LoadMachine(path, "Another CPU", 8), std::nullopt);
  EXPECT_EQ(LoadMachine(path, "Some CPU", 9), std::nullopt);
  EXPECT_EQ(LoadMachine(folder.Path("none"), "Some CPU", 8), std::nullopt);
  EXPECT_EQ(LoadMachine(folder.Path("a"), "Some CPU", 8), std::nullopt);
  const std::string file = folder.Write("file", "x");
  EXPECT_THAT(std::string(SaveMachine(file + "/machine.json", SomeMachine()).message()),
              HasSubstr(file));
}

TEST(MachineTest, RefusesDamagedFiles) {
  const std::string sound = MachineToJson(SomeMachine());
  ASSERT_EQ(MachineFromJson(sound), SomeMachine());
  for (size_t size = 0; size < sound.size(); ++size) {
    EXPECT_EQ(MachineFromJson(sound.substr(0, size)), std::nullopt) << size;
  }
  const auto with = [&sound](const char* pointer, const Json& value) {
    Json json = Json::parse(sound);
    json[Json::json_pointer(pointer)] = value;
    return MachineFromJson(json.dump());
  };
  EXPECT_NE(with("/processors/0/model", "x"), std::nullopt);
  EXPECT_EQ(with("/version", 2), std::nullopt);
  EXPECT_EQ(with("/processors", 3), std::nullopt);
  EXPECT_EQ(with("/processors/0", "cpu"), std::nullopt);
  EXPECT_EQ(with("/processors/0/model", 7), std::nullopt);
  EXPECT_EQ(with("/processors/0/cores", 0), std::nullopt);
  EXPECT_EQ(with("/processors/0/read/0/threads", 1.5), std::nullopt);
  EXPECT_EQ(with("/processors/0/read/0/bytes_per_second/best", -1), std::nullopt);
  EXPECT_EQ(with("/processors/0/read/0/bytes_per_second/best", 1e30), std::nullopt);
  EXPECT_EQ(with("/processors/0/multiply/0/type", nullptr), std::nullopt);
}

TEST(MachineTest, CachePathFollowsTheEnvironment) {
  ASSERT_EQ(setenv("XDG_CACHE_HOME", "/somewhere", 1), 0);
  EXPECT_EQ(MachineCachePath(), "/somewhere/tandem/machine.json");
  ASSERT_EQ(setenv("XDG_CACHE_HOME", "relative", 1), 0);
  ASSERT_EQ(setenv("HOME", "/home/me", 1), 0);
  EXPECT_EQ(MachineCachePath(), "/home/me/.cache/tandem/machine.json");
  ASSERT_EQ(unsetenv("HOME"), 0);
  EXPECT_EQ(MachineCachePath(), "");
}

TEST(MachineTest, KnowsTheCpu) {
  EXPECT_FALSE(CpuModel().empty());
  EXPECT_GE(CpuCores(), 1);
  EXPECT_GT(LastLevelCacheBytes(), 1 << 18);
  EXPECT_LT(LastLevelCacheBytes(), int64_t{1} << 40);
}

TEST(MachineTest, MeasuresWhatAllThreadsDo) {
  for (const int threads : {1, 3}) {
    std::vector<int64_t> turns(static_cast<size_t>(threads));
    TimedWork work;
    work.units_per_turn = 10;
    work.prepare = [&turns](int thread) -> absl::StatusOr<ThreadWork> {
      return ThreadWork{[&mine = turns[static_cast<size_t>(thread)]](int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
          struct timespec pause = {0, 1'000'000};
          nanosleep(&pause, nullptr);
        }
        mine += count;
      }};
    };
    const auto rate = MeasureRate(threads, work, {.count = 3, .seconds = 0.01});
    ASSERT_TRUE(rate.ok()) << rate.status();
    EXPECT_GT(rate->median, 100);
    EXPECT_LE(rate->median, rate->best);
    EXPECT_LE(rate->best, 10 / 1e-3);  // no turn is shorter than the pause
    for (const int64_t done : turns) EXPECT_EQ(done, turns[0]);
  }
}

TEST(MachineTest, ReportsThreadsThatCannotPrepare) {
  TimedWork work;
  work.units_per_turn = 1;
  work.prepare = [](int thread) -> absl::StatusOr<ThreadWork> {
    if (thread == 1) return absl::ResourceExhaustedError("no room");
    return ThreadWork{[](int64_t) {}};
  };
  EXPECT_EQ(MeasureRate(3, work, {}).status(), absl::ResourceExhaustedError("no room"));
}

TEST(MachineTest, MeasuresThisCpu) {
  if (!DetectCpuFeatures().avx2) GTEST_SKIP() << "needs AVX2";
  const auto cpu = MeasureCpu({.threads = {1}, .quick = true});
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_EQ(cpu->cores, CpuCores());
  // Wide bounds: what no machine of this kind falls short of, or reaches.
  EXPECT_THAT(ReadCeiling(*cpu, 1), AllOf(::testing::Gt(1e8), ::testing::Lt(1e12)));
  for (const char* type : {"int8", "f32"}) {
    EXPECT_THAT(MultiplyCeiling(*cpu, type, 1), AllOf(::testing::Gt(1e9), ::testing::Lt(1e14)));
  }
  for (const MultiplyRate& rate : cpu->multiply)
    EXPECT_LE(rate.operations.median, rate.operations.best);
}

TEST(MachineCommandTest, KeepsAndRefreshesItsFile) {
  const TempDir folder;
  ASSERT_EQ(setenv("XDG_CACHE_HOME", folder.Path("").c_str(), 1), 0);
  const std::string path = folder.Path("tandem/machine.json");
  // A file that this test made is shown as it is.
  Machine machine = SomeMachine();
  machine.processors[0].model = CpuModel();
  machine.processors[0].cores = CpuCores();
  ASSERT_TRUE(SaveMachine(path, machine).ok());
  const ToolResult kept = RunTool({"machine", "--json"});
  ASSERT_EQ(kept.code, 0) << kept.err;
  EXPECT_EQ(MachineFromJson(kept.out), machine);
  EXPECT_THAT(RunTool({"machine"}).out, AllOf(HasSubstr("AVX-512 VNNI"), HasSubstr("1800")));
  EXPECT_EQ(RunTool({"machine", "--device", "abacus"}).code, 1);
  if (!DetectCpuFeatures().avx2) return;
  // A damaged one is replaced.
  std::filesystem::resize_file(path, 100);
  const ToolResult measured = RunTool({"machine"});
  EXPECT_EQ(measured.code, 0) << measured.err;
  EXPECT_NE(LoadMachine(path, CpuModel(), CpuCores()), std::nullopt);
  EXPECT_EQ(RunTool({"machine"}).out, measured.out);
  // One that cannot be written is a warning.
  ASSERT_EQ(setenv("XDG_CACHE_HOME", folder.Write("file", "").c_str(), 1), 0);
  const ToolResult unkept = RunTool({"machine"});
  EXPECT_EQ(unkept.code, 0);
  EXPECT_THAT(unkept.err, HasSubstr("warning"));
}

}  // namespace
}  // namespace tandem
