// The result of a step does not depend on threads, on other steps, or on rows that are not live.
#include <oneapi/tbb/global_control.h>

#include <cmath>
#include <thread>
#include <vector>

#include "backends/cpu/cpu_device.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/backends/cpu/step.h"

namespace tandem::cpu {
namespace {

std::unique_ptr<Device> MakeDevice(int threads) { return *CreateCpuDevice({.threads = threads}); }

std::vector<float> RunStep(Device& device, const StepSizes& sizes, int runs) {
  Step step(device, sizes);
  auto executable = device.Prepare(step.program());
  EXPECT_TRUE(executable.ok()) << executable.status();
  if (!executable.ok()) return {};
  auto stream = *device.CreateStream();
  for (int i = 0; i < runs; ++i) EXPECT_TRUE((*executable)->Run(*stream).ok());
  return {step.logits().begin(), step.logits().end()};
}

// Large enough for several chunks in most phases, and for attention that is split.
StepSizes Prompt() {
  return {.embed = 256,
          .heads = 8,
          .words = 512,
          .latent = 64,
          .hidden = 128,
          .shared = 256,
          .tokens = 70,
          .live_tokens = 53,
          .keys = 700};
}
StepSizes Generation() {
  return {.embed = 512,
          .heads = 8,
          .words = 512,
          .latent = 64,
          .hidden = 128,
          .shared = 256,
          .keys = 3000};
}

// Few keys, whose tiles are cut into parts.
StepSizes Start() {
  StepSizes sizes = Generation();
  sizes.heads = 16;
  sizes.latent = 96;
  sizes.keys = 100;
  return sizes;
}

class ThreadsTest : public testing::Test {
 private:
  tbb::global_control control_{tbb::global_control::max_allowed_parallelism, 16};
};

TEST_F(ThreadsTest, BitsDoNotDependOnThreads) {
  for (const StepSizes& sizes : {Prompt(), Generation(), Start()}) {
    const std::vector<float> expected = RunStep(*MakeDevice(1), sizes, 1);
    ASSERT_FALSE(expected.empty());
    for (const float logit : expected) ASSERT_TRUE(std::isfinite(logit));
    for (const int threads : {2, 3, 16}) {
      EXPECT_EQ(RunStep(*MakeDevice(threads), sizes, 3), expected) << threads << " threads";
    }
  }
}

TEST_F(ThreadsTest, BitsDoNotDependOnTheBucket) {
  const auto device = MakeDevice(2);
  for (StepSizes sizes : {Generation(), Start()}) {
    const std::vector<float> expected = RunStep(*device, sizes, 1);
    for (const int64_t bucket : {2, 8, 64}) {
      sizes.tokens = bucket;
      EXPECT_EQ(RunStep(*device, sizes, 1), expected) << "bucket of " << bucket;
    }
  }
}

TEST_F(ThreadsTest, SessionsRunSideBySide) {
  const std::vector<float> expected = RunStep(*MakeDevice(1), Generation(), 1);
  const auto device = MakeDevice(4);
  std::vector<std::vector<float>> results(8);
  std::vector<std::thread> sessions;
  for (auto& result : results) {
    sessions.emplace_back([&] { result = RunStep(*device, Generation(), 10); });
  }
  for (std::thread& session : sessions) session.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(CpuDeviceTest, RefusesOddThreadCounts) {
  EXPECT_EQ(CreateCpuDevice({.threads = -1}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CreateCpuDevice({.threads = 100000}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ThreadsTest, TheDeviceDescribesItself) {
  const auto device = MakeDevice(3);
  EXPECT_EQ(device->info().name, "cpu");
  EXPECT_THAT(device->info().description, testing::EndsWith(", 3 threads"));
  EXPECT_TRUE(device->info().host_memory);
  EXPECT_GT(device->info().memory_bytes, int64_t{1} << 28);
}

}  // namespace
}  // namespace tandem::cpu
