// Compiles kernels for GPUs that need not be here: those of the usual types of weights and of both
// forms of latent attention. Needs NVRTC, but neither a GPU nor a driver.
#include <string>
#include <tuple>
#include <utility>

#include "backends/cuda/cuda_device.h"
#include "backends/cuda/nvrtc.h"
#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

void* Nowhere() { return reinterpret_cast<void*>(uintptr_t{1} << 40); }

TensorView View(DType type, const Shape& shape) { return MakeView(Nowhere(), type, shape); }
TensorView Floats(const Shape& shape) { return View(DType::kF32, shape); }

// Has the device compile what the call needs, with weights as it prefers them.
absl::Status Build(Device& device, KernelArgs args, std::vector<TensorView*> weights) {
  for (TensorView* weight : weights) weight->layout = device.PreferredLayout(args, *weight);
  const absl::Status supported = device.Supports(args);
  if (!supported.ok()) return supported;
  Program program;
  program.calls.push_back({.args = args, .name = std::string(KernelName(GetKernelId(args)))});
  program.calls[0].workspace = {Nowhere(), device.WorkspaceBytes(args)};
  return device.Prepare(std::move(program)).status();
}

absl::Status BuildLinear(Device& device, DType type, int64_t tokens) {
  KernelArgs args = LinearArgs{.x = Floats({tokens, 2048}),
                               .w = View(type, {2048, 2048}),
                               .out = Floats({tokens, 2048})};
  return Build(device, args, {&std::get<LinearArgs>(args).w});
}

absl::Status BuildExperts(Device& device, DType type, int64_t tokens) {
  KernelArgs args = ExpertsArgs{.x = Floats({tokens, 2048}),
                                .ids = View(DType::kI32, {tokens, 6}),
                                .weights = Floats({tokens, 6}),
                                .gate = View(type, {64, 1536, 2048}),
                                .up = View(type, {64, 1536, 2048}),
                                .down = View(type, {64, 2048, 1536}),
                                .out = Floats({tokens, 2048})};
  auto& experts = std::get<ExpertsArgs>(args);
  return Build(device, args, {&experts.gate, &experts.up, &experts.down});
}

// Of DeepSeek-V2-Lite, over 64 pages.
AttentionArgs LatentAttention(int64_t tokens, int64_t key, int64_t value) {
  AttentionArgs args = {.q = Floats({tokens, 16, key}), .k = View(DType::kF16, {64, 64, 1, 576})};
  args.batch = {.seq_start = View(DType::kI32, {2}),
                .kv_len = View(DType::kI32, {1}),
                .page_table = View(DType::kI32, {1, 64})};
  args.out = Floats({tokens, 16, value});
  args.workspace_limit = int64_t{256} << 20;
  return args;
}

absl::Status BuildAbsorbed(Device& device, int64_t tokens) {
  AttentionArgs args = LatentAttention(tokens, 576, 512);
  args.v_from_k_offset = 0;
  return Build(device, args, {});
}

absl::Status BuildExpanded(Device& device, DType type, int64_t tokens) {
  AttentionArgs args = LatentAttention(tokens, 192, 128);
  args.expansion = {.k_up = View(type, {16, 128, 512}), .v_up = View(type, {16, 128, 512})};
  return Build(device, args, {&args.expansion.k_up, &args.expansion.v_up});
}

// A device that compiles for the architecture, without a cache.
class BuildTest : public testing::Test {
 protected:
  void Open(const std::string& architecture) {
    if (!Nvrtc::Load().ok()) GTEST_SKIP() << Nvrtc::Load().status();
    auto device = OpenCudaDevice({.architecture = architecture});
    ASSERT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
  }
  std::unique_ptr<Device> device_;
};

class KernelBuildTest : public BuildTest,
                        public testing::WithParamInterface<std::tuple<std::string, DType>> {
 protected:
  void SetUp() override { Open(std::get<0>(GetParam())); }
  DType type() const { return std::get<1>(GetParam()); }
};

class AttentionBuildTest : public BuildTest, public testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override { Open(GetParam()); }
};

TEST_P(KernelBuildTest, Products) {
  for (const int64_t tokens : {1, 8, 512}) {
    const absl::Status built = BuildLinear(*device_, type(), tokens);
    EXPECT_TRUE(built.ok()) << tokens << " tokens: " << built;
  }
}

TEST_P(KernelBuildTest, Experts) {
  for (const int64_t tokens : {1, 512}) {
    const absl::Status built = BuildExperts(*device_, type(), tokens);
    EXPECT_TRUE(built.ok()) << tokens << " tokens: " << built;
  }
}

TEST_P(AttentionBuildTest, BothFormsOfLatentAttention) {
  for (const int64_t tokens : {1, 512}) {
    const absl::Status absorbed = BuildAbsorbed(*device_, tokens);
    EXPECT_TRUE(absorbed.ok()) << tokens << " tokens: " << absorbed;
    const absl::Status expanded = BuildExpanded(*device_, DType::kIQ4_NL, tokens);
    EXPECT_TRUE(expanded.ok()) << tokens << " tokens: " << expanded;
  }
}

INSTANTIATE_TEST_SUITE_P(Usual, AttentionBuildTest, testing::Values("sm_80", "sm_90a"),
                         [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(
    Usual, KernelBuildTest,
    testing::Combine(testing::Values("sm_80", "sm_90a"),
                     testing::Values(DType::kIQ4_NL, DType::kQ4_K, DType::kQ8_0, DType::kBF16)),
    [](const auto& info) {
      return std::get<0>(info.param) + "_" + std::string(DTypeName(std::get<1>(info.param)));
    });

}  // namespace
}  // namespace tandem::cuda
