// What a plan is told about the sequences of a step.
#include "runtime/step_inputs.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/families/step_graph.h"

namespace tandem {
namespace {

using testing::ElementsAre;

std::vector<int32_t> Get(const StepInputs& inputs, std::string_view name) {
  for (const auto& [port, values] : inputs.All()) {
    if (port == name) return {values.begin(), values.end()};
  }
  ADD_FAILURE() << "no input " << name;
  return {};
}

TEST(StepInputsTest, SequencesFollowEachOther) {
  const std::vector<int32_t> prompt = {7, 8, 9}, single = {5};
  const std::vector<int32_t> prompt_pages = {4}, single_pages = {2, 0};
  const SequenceStep steps[] = {{single, 64, single_pages, LogitsWanted::kLast},
                                {prompt, 10, prompt_pages, LogitsWanted::kAll},
                                {prompt, 13, prompt_pages, LogitsWanted::kNone}};
  StepInputs inputs;
  inputs.Fill(steps, 3);
  EXPECT_THAT(Get(inputs, port::kTokens), ElementsAre(5, 7, 8, 9, 7, 8, 9));
  EXPECT_THAT(Get(inputs, port::kPositions), ElementsAre(64, 10, 11, 12, 13, 14, 15));
  EXPECT_THAT(Get(inputs, port::kSlots), ElementsAre(0, 266, 267, 268, 269, 270, 271));
  EXPECT_THAT(Get(inputs, port::kNumTokens), ElementsAre(7));
  EXPECT_THAT(Get(inputs, port::kSeqStart), ElementsAre(0, 1, 4, 7));
  EXPECT_THAT(Get(inputs, port::kKvLen), ElementsAre(65, 13, 16));
  EXPECT_THAT(Get(inputs, port::kPageTable), ElementsAre(2, 0, 0, 4, 0, 0, 4, 0, 0));
  EXPECT_THAT(Get(inputs, port::kNumSequences), ElementsAre(3));
  EXPECT_THAT(Get(inputs, port::kOutputRows), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Get(inputs, port::kNumOutputs), ElementsAre(4));
}

// A device may copy the inputs any time before the step is done.
TEST(StepInputsTest, ValuesStayWhereTheyAreUntilTheNextStep) {
  const std::vector<int32_t> tokens = {1, 2}, pages = {0};
  const SequenceStep steps[] = {{tokens, 0, pages, LogitsWanted::kLast}};
  StepInputs inputs;
  inputs.Fill(steps, 1);
  std::map<std::string, const int32_t*> first;
  for (const auto& [port, values] : inputs.All()) first[std::string(port)] = values.data();
  for (const auto& [port, values] : inputs.All())
    EXPECT_EQ(first[std::string(port)], values.data());
  inputs.Fill(steps, 1);
  EXPECT_THAT(Get(inputs, port::kTokens), ElementsAre(1, 2));
  EXPECT_THAT(Get(inputs, port::kOutputRows), ElementsAre(1));
}

}  // namespace
}  // namespace tandem
