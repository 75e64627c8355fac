// The model that comes along writes the same text wherever its weights are kept and whichever
// instructions compute with them.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/engine.h"

namespace tandem {
namespace {

constexpr char kModel[] = TANDEM_SOURCE_DIR "/models/stories-iq4_nl.gguf";

std::shared_ptr<Engine> Open(const std::string& device, bool map_weights) {
  EngineOptions options;
  options.devices = {device};
  options.context = 256;
  options.map_weights = map_weights;
  auto engine = Engine::Open(kModel, options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return engine.ok() ? *std::move(engine) : nullptr;
}

// What greedy sampling writes, a prompt of several tokens and then one token at a time.
std::vector<int32_t> Greedy(Engine& engine) {
  auto session = engine.NewSession();
  EXPECT_TRUE(session.ok()) << session.status();
  const auto result = (*session)->Generate("Once upon a time there was a little dog",
                                           {.max_tokens = 96, .ignore_end = true}, nullptr);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? result->tokens : std::vector<int32_t>();
}

TEST(SameTextTest, WithOldInstructionsAndNewOnes) {
  const auto old = Open("cpu:avx2", false), newest = Open("cpu", false);
  ASSERT_TRUE(old != nullptr && newest != nullptr);
  const auto expected = Greedy(*old);
  EXPECT_EQ(expected.size(), 96u);
  EXPECT_EQ(Greedy(*newest), expected);
}

TEST(SameTextTest, FromAMappingAndFromACopy) {
  const auto mapped = Open("cpu", true), copied = Open("cpu", false);
  ASSERT_TRUE(mapped != nullptr && copied != nullptr);
  EXPECT_GT(mapped->memory()[0].weights_mapped, 0);
  EXPECT_EQ(copied->memory()[0].weights_mapped, 0);
  EXPECT_GT(copied->memory()[0].weights_copied, mapped->memory()[0].weights_copied);
  const auto expected = Greedy(*mapped);
  EXPECT_EQ(expected.size(), 96u);
  EXPECT_EQ(Greedy(*copied), expected);
}

}  // namespace
}  // namespace tandem
