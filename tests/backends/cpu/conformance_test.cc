#include "backends/conformance/conformance.h"

#include <oneapi/tbb/global_control.h>

#include <memory>
#include <string>

#include "backends/cpu/cpu_device.h"
#include "backends/reference/reference_device.h"
#include "gtest/gtest.h"

namespace tandem::cpu {
namespace {

// One kernel in each test, so that a failure names it.
class CpuConformanceTest : public testing::TestWithParam<int> {};

TEST_P(CpuConformanceTest, AgreesWithTheReference) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 4);
  const auto subject = CreateCpuDevice({.threads = 4});
  ASSERT_TRUE(subject.ok()) << subject.status();
  const auto oracle = CreateReferenceDevice();
  const auto kernel = static_cast<KernelId>(GetParam());
  const ConformanceReport report = CheckDevice(**subject, *oracle, {.kernels = {kernel}});
  EXPECT_TRUE(report.ok()) << ToString(report);
  EXPECT_TRUE(report.unsupported.empty()) << ToString(report);
}

INSTANTIATE_TEST_SUITE_P(AllKernels, CpuConformanceTest, testing::Range(0, kKernelCount),
                         [](const auto& info) {
                           return std::string(KernelName(static_cast<KernelId>(info.param)));
                         });

}  // namespace
}  // namespace tandem::cpu
