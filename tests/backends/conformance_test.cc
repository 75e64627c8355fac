#include "backends/conformance/conformance.h"

#include "backends/reference/reference_device.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(ConformanceTest, TheReferencePasses) {
  const auto subject = CreateReferenceDevice();
  const auto oracle = CreateReferenceDevice();
  const ConformanceReport report = CheckDevice(*subject, *oracle, {});
  EXPECT_TRUE(report.ok()) << ToString(report);
  EXPECT_TRUE(report.unsupported.empty()) << ToString(report);
  for (const KernelReport& kernel : report.kernels) EXPECT_GT(kernel.passed, 4);
}

}  // namespace
}  // namespace tandem
