#include "backends/cuda/target.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

TEST(TargetTest, KnowsArchitecturesByName) {
  for (const char* name : {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120"}) {
    const auto target = TargetFromName(name);
    ASSERT_TRUE(target.ok()) << target.status();
    EXPECT_EQ(target->ArchName(), name);
    EXPECT_GE(target->shared_per_block, 99 * 1024);
    EXPECT_EQ(target->hopper(), std::string_view(name) == "sm_90a");
  }
}

TEST(TargetTest, RefusesOthersAndNamesThoseThatThereAre) {
  const auto target = TargetFromName("sm_75");
  EXPECT_EQ(target.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(target.status().message()), testing::HasSubstr("sm_90a"));
}

}  // namespace
}  // namespace tandem::cuda
