#include "backends/conformance/conformance.h"

#include <oneapi/tbb/global_control.h>

#include <memory>
#include <string>
#include <tuple>

#include "backends/cpu/cpu_device.h"
#include "backends/cpu/instruction_set.h"
#include "backends/reference/reference_device.h"
#include "gtest/gtest.h"

namespace tandem::cpu {
namespace {

// One kernel with one instruction set in each test, so that a failure names it.
class CpuConformanceTest : public testing::TestWithParam<std::tuple<size_t, int>> {};

TEST_P(CpuConformanceTest, AgreesWithTheReference) {
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, 4);
  const InstructionSet& set = InstructionSets()[std::get<0>(GetParam())];
  if (!set.is_present()) GTEST_SKIP() << "this processor lacks " << set.description;
  const auto subject = CreateCpuDevice({.threads = 4}, set.name);
  ASSERT_TRUE(subject.ok()) << subject.status();
  const auto oracle = CreateReferenceDevice();
  const auto kernel = static_cast<KernelId>(std::get<1>(GetParam()));
  const ConformanceReport report = CheckDevice(**subject, *oracle, {.kernels = {kernel}});
  EXPECT_TRUE(report.ok()) << ToString(report);
  EXPECT_TRUE(report.unsupported.empty()) << ToString(report);
}

INSTANTIATE_TEST_SUITE_P(AllKernels, CpuConformanceTest,
                         testing::Combine(testing::Range(size_t{0}, InstructionSets().size()),
                                          testing::Range(0, kKernelCount)),
                         [](const auto& info) {
                           const auto kernel = static_cast<KernelId>(std::get<1>(info.param));
                           return std::string(InstructionSets()[std::get<0>(info.param)].name) +
                                  "_" + std::string(KernelName(kernel));
                         });

}  // namespace
}  // namespace tandem::cpu
