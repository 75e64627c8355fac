#include "backends/open_device.h"

#include <fstream>
#include <string>

#include "backends/conformance/conformance.h"
#include "backends/device/plugin.h"
#include "backends/reference/reference_device.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

absl::Status OpenError(std::string_view spec, const DeviceOptions& options = {}) {
  return OpenDevice(spec, options).status();
}

TEST(OpenDeviceTest, OpensByName) {
  const auto device = OpenDevice("reference", {});
  ASSERT_TRUE(device.ok()) << device.status().ToString();
  EXPECT_EQ((*device)->info().name, "reference");
  EXPECT_THAT(KnownDevices(), Contains("cpu"));
  EXPECT_THAT(KnownDevices(), Contains("reference"));
}

TEST(OpenDeviceTest, TheCpuCanBeHeldToOlderInstructions) {
  const auto device = OpenDevice("cpu:avx2", {.threads = 1});
  ASSERT_TRUE(device.ok()) << device.status().ToString();
  EXPECT_EQ((*device)->info().name, "cpu");
  EXPECT_EQ((*device)->info().description, "AVX2, 1 threads");
  const absl::Status status = OpenError("cpu:mmx");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("mmx"), HasSubstr("avx2, avx512")));
}

TEST(OpenDeviceTest, UnknownNamesAreToldWhatThereIs) {
  const absl::Status status = OpenError("gpu");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("\"gpu\""), HasSubstr("reference"), HasSubstr("cuda[:N]")));
}

// The plugin, the driver and the GPU may each be missing.
TEST(OpenDeviceTest, CudaOpensOrSaysWhatIsMissing) {
  const auto device = OpenDevice("cuda:0", {});
  if (!device.ok()) {
    EXPECT_THAT(device.status().code(), testing::AnyOf(absl::StatusCode::kNotFound,
                                                       absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(std::string(device.status().message()),
                testing::AnyOf(HasSubstr("libtandem_cuda.so is not in /"),
                               HasSubstr("NVIDIA driver"), HasSubstr("there is no GPU")));
  }
  for (const char* spec : {"cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999"}) {
    EXPECT_EQ(OpenError(spec).code(), absl::StatusCode::kInvalidArgument) << spec;
  }
}

TEST(OpenDeviceTest, MissingAndBrokenFilesAreNamed) {
  EXPECT_EQ(OpenError("no/such/plugin.so").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(OpenError("plugin_that_is_not.so").message()),
              HasSubstr("plugin_that_is_not.so"));
  const std::string path = ::testing::TempDir() + "text.so";
  std::ofstream(path) << "no library";
  const absl::Status status = OpenError(path);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path));
}

TEST(OpenDeviceTest, FaultyPluginsAreRefused) {
  EXPECT_THAT(std::string(OpenError(TANDEM_PLUGIN_NO_ENTRY).message()),
              AllOf(HasSubstr("no function tandem_plugin"), HasSubstr(TANDEM_PLUGIN_NO_ENTRY)));
  EXPECT_THAT(std::string(OpenError(TANDEM_PLUGIN_OTHER_ABI).message()),
              AllOf(HasSubstr("contract 0; of long ago"), HasSubstr(AbiString())));
  EXPECT_THAT(std::string(OpenError(TANDEM_PLUGIN_NOTHING).message()), HasSubstr("no ABI"));
  EXPECT_THAT(std::string(OpenError(TANDEM_PLUGIN_THROWING).message()),
              HasSubstr("it threw: not today"));
}

TEST(OpenDeviceTest, FailuresToOpenArePassedOn) {
  const char* path = TANDEM_PLUGIN_FAILING;
  EXPECT_THAT(std::string(OpenError(path).message()), HasSubstr("opened no device"));
  EXPECT_THAT(std::string(OpenError(path, {.threads = 1}).message()),
              HasSubstr("not with one thread"));
  const absl::Status status = OpenError(path, {.threads = 2});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), HasSubstr("two threads")));
}

TEST(OpenDeviceTest, APluginOfHalfTheKernelsConforms) {
  auto device = OpenDevice(TANDEM_PLUGIN_HALF, {});
  ASSERT_TRUE(device.ok()) << device.status().ToString();
  EXPECT_EQ((*device)->info().name, "half_device");
  const auto oracle = CreateReferenceDevice();
  const ConformanceReport report = CheckDevice(**device, *oracle, {});
  EXPECT_TRUE(report.failures.empty()) << ToString(report);
  const auto& kernels = report.kernels;
  EXPECT_GT(kernels[static_cast<size_t>(KernelId::kLinear)].passed, 5);
  EXPECT_GT(kernels[static_cast<size_t>(KernelId::kLinear)].unsupported, 5);
  EXPECT_GT(kernels[static_cast<size_t>(KernelId::kAttention)].unsupported, 5);
}

TEST(OpenDeviceTest, APluginMayBeOpenedAgainAndRefuseAnIndex) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(OpenDevice(TANDEM_PLUGIN_HALF, {}).ok());
  EXPECT_EQ(OpenError(TANDEM_PLUGIN_HALF, {.index = 1}).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace tandem
