#include "tools/bench/plan.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/bench/tokens.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Names(const BenchRun& run) {
  std::vector<std::string> names;
  for (const BenchTest& test : run.tests) names.push_back(test.name());
  return names;
}

BenchRequest Small() {
  BenchRequest request;
  request.prompts = {16, 32};
  request.generations = {8};
  request.depths = {64, 0};
  return request;
}

TEST(BenchPlanTest, NamesTests) {
  EXPECT_EQ((BenchTest{.prompt = 512}.name()), "pp512");
  EXPECT_EQ((BenchTest{.generated = 128, .depth = 4096, .parallel = 8}.name()), "tg128@d4096");
  EXPECT_EQ((BenchTest{.generated = 128, .depth = 4096, .parallel = 8}.tokens()), 1024);
  EXPECT_EQ((BenchTest{.generated = 128, .depth = 4096, .parallel = 8}.context()), 4224);
}

TEST(BenchPlanTest, OrdersTestsByDepth) {
  const auto plan = PlanBench(Small(), 4, 1000);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->runs.size(), 1u);
  EXPECT_THAT(Names(plan->runs[0]),
              ElementsAre("pp16", "pp32", "tg8", "pp16@d64", "pp32@d64", "tg8@d64"));
  EXPECT_EQ(plan->runs[0].setting, (BenchSetting{"cpu", 4, 2048, "f16"}));
  EXPECT_EQ(plan->runs[0].context(), 96);
  EXPECT_THAT(plan->left_out, IsEmpty());
}

TEST(BenchPlanTest, CombinesSettings) {
  BenchRequest request = Small();
  request.threads = {1, 0, 4, 9};  // three of them are four threads
  request.devices = {"cpu", "reference"};
  request.kv_types = {"f16", "q8_0"};
  request.micro_batches = {64, 512, 64};
  const auto plan = PlanBench(request, 4, 1000);
  ASSERT_TRUE(plan.ok()) << plan.status();
  // The reference has one thread, whatever is asked for.
  EXPECT_EQ(plan->runs.size(), (2u + 1u) * 2 * 2);
  EXPECT_EQ(plan->runs.front().setting, (BenchSetting{"cpu", 1, 64, "f16"}));
  EXPECT_EQ(plan->runs.back().setting, (BenchSetting{"reference", 1, 512, "q8_0"}));
}

TEST(BenchPlanTest, RunsPromptsAloneAndGenerationsSideBySide) {
  BenchRequest request = Small();
  request.depths = {0};
  request.parallel = {1, 4};
  auto plan = PlanBench(request, 4, 1000);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->runs.size(), 2u);
  EXPECT_THAT(Names(plan->runs[0]), ElementsAre("pp16", "pp32", "tg8"));
  EXPECT_THAT(plan->runs[1].tests, ElementsAre(BenchTest{.generated = 8, .parallel = 4}));
  EXPECT_EQ(plan->runs[1].parallel, 4);
  request.parallel = {4};
  plan = PlanBench(request, 4, 1000);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->runs.size(), 2u);
  EXPECT_THAT(Names(plan->runs[0]), ElementsAre("pp16", "pp32"));
  EXPECT_THAT(Names(plan->runs[1]), ElementsAre("tg8"));
}

TEST(BenchPlanTest, SweepsInStepsOfThePrompt) {
  BenchRequest request = Small();
  request.sweep = true;
  request.depths = {0, 33};
  const auto plan = PlanBench(request, 4, 1000);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Names(plan->runs[0]),
              ElementsAre("pp16", "tg8", "pp16@d16", "tg8@d16", "pp16@d32", "tg8@d32"));
  request.prompts = {0};
  EXPECT_THAT(std::string(PlanBench(request, 4, 1000).status().message()), HasSubstr("sweep"));
}

TEST(BenchPlanTest, LeavesOutWhatDoesNotFit) {
  const auto plan = PlanBench(Small(), 4, 80);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Names(plan->runs[0]), ElementsAre("pp16", "pp32", "tg8", "pp16@d64", "tg8@d64"));
  EXPECT_THAT(plan->left_out, ElementsAre("pp32@d64"));
  EXPECT_THAT(std::string(PlanBench(Small(), 4, 7).status().message()), HasSubstr("of 7 tokens"));
  BenchRequest nothing = Small();
  nothing.prompts = {0};
  nothing.generations = {0};
  EXPECT_THAT(std::string(PlanBench(nothing, 4, 80).status().message()), HasSubstr("nothing"));
}

TEST(BenchPlanTest, SplitsDevices) {
  EXPECT_EQ(ProcessorOf("cpu"), "cpu");
  EXPECT_EQ(ProcessorOf("cpu:avx2"), "cpu");
  EXPECT_EQ(ProcessorOf("reference"), "cpu");
  EXPECT_EQ(ProcessorOf("cuda"), "cuda");
  EXPECT_THAT(SplitDevices("cpu"), ElementsAre("cpu"));
  EXPECT_THAT(SplitDevices("./a.so+cpu"), ElementsAre("./a.so", "cpu"));
}

TEST(TokenSourceTest, DrawsDifferentTokens) {
  TokenSource source(100, 1), same(100, 1), other(100, 2);
  const auto first = source.Draw(60), second = source.Draw(60);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), 60u);
  EXPECT_EQ(std::set(second.begin(), second.end()).size(), 60u);
  EXPECT_NE(first, second);
  EXPECT_EQ(same.Draw(60), first);
  EXPECT_NE(other.Draw(60), first);
  for (const int32_t id : first) EXPECT_TRUE(id >= 0 && id < 100) << id;
  // Beyond the vocabulary each token comes as often as the others.
  std::map<int32_t, int> counts;
  for (const int32_t id : source.Draw(300)) ++counts[id];
  EXPECT_EQ(counts.size(), 100u);
  for (const auto& [id, count] : counts) EXPECT_EQ(count, 3) << id;
  EXPECT_TRUE(source.Draw(0).empty());
}

}  // namespace
}  // namespace tandem
