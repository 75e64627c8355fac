#include "backends/cpu/cpu_device.h"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/cpu/kernel_set.h"
#include "backends/cpu/team.h"
#include "backends/device/check.h"
#include "backends/device/host_device.h"
#include "backends/device/status.h"

namespace tandem::cpu {
namespace {

// Rough rates of one core, for Cost.
constexpr Work kCoreRates = {.bytes = 8e9, .flops = 40e9};
constexpr double kCallSeconds = 2e-6;
constexpr int kMostThreads = 512;

class CpuExecutable final : public Executable {
 public:
  CpuExecutable(std::shared_ptr<Team> team, std::vector<Phase> phases)
      : team_(std::move(team)), segment_(team_->MakeSegment(std::move(phases))) {}

  absl::Status Run(Stream&) override {
    team_->Run(segment_);
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<Team> team_;
  std::shared_ptr<Segment> segment_;
};

class CpuDevice final : public Device {
 public:
  CpuDevice(DeviceInfo info, std::shared_ptr<Team> team)
      : info_(std::move(info)), team_(std::move(team)) {}

  const DeviceInfo& info() const override { return info_; }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    auto buffer = AllocateHost(bytes);
    if (!buffer.ok()) return Annotate(buffer.status(), info_.name);
    return buffer;
  }
  absl::StatusOr<std::unique_ptr<Stream>> CreateStream() override { return CreateHostStream(); }
  absl::StatusOr<std::unique_ptr<Event>> CreateEvent() override { return CreateHostEvent(); }

  absl::Status Supports(const KernelArgs& args) const override {
    TANDEM_RETURN_IF_ERROR(CheckArgs(args));
    return std::visit([](const auto& a) { return CheckLimits(a); }, args);
  }

  int64_t WorkspaceBytes(const KernelArgs& args) const override {
    return std::visit([](const auto& a) { return WorkspaceBytesOf(a); }, args);
  }

  double Cost(const KernelArgs& args, int64_t kv_tokens) const override {
    const Work work = WorkOf(args, kv_tokens);
    const double seconds = std::max(work.bytes / kCoreRates.bytes, work.flops / kCoreRates.flops);
    return kCallSeconds + seconds / team_->threads();
  }

  absl::StatusOr<std::unique_ptr<Executable>> Prepare(Program program) override {
    TANDEM_RETURN_IF_ERROR(CheckProgram(*this, program));
    std::vector<Phase> phases;
    for (const Call& call : program.calls) {
      std::visit([&](const auto& a) { Plan(a, call.workspace, phases); }, call.args);
    }
    return std::make_unique<CpuExecutable>(team_, std::move(phases));
  }

 private:
  const DeviceInfo info_;
  const std::shared_ptr<Team> team_;
};

// The instructions that the kernels need and this CPU lacks, as in "AVX2, FMA".
std::string MissingInstructions() {
  std::string missing;
  auto need = [&missing](bool present, const char* name) {
    if (!present) absl::StrAppend(&missing, missing.empty() ? "" : ", ", name);
  };
  need(__builtin_cpu_supports("avx2"), "AVX2");
  need(__builtin_cpu_supports("fma"), "FMA");
  need(__builtin_cpu_supports("f16c"), "F16C");
  return missing;
}

int64_t SystemMemory() {
  const int64_t pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
  return pages > 0 && page_bytes > 0 ? pages * page_bytes : 0;
}

}  // namespace
}  // namespace tandem::cpu

namespace tandem {

absl::StatusOr<std::unique_ptr<Device>> CreateCpuDevice(const DeviceOptions& options) {
  using namespace cpu;
  if (const std::string missing = MissingInstructions(); !missing.empty()) {
    return absl::UnimplementedError(absl::StrCat("cpu: this processor lacks ", missing));
  }
  if (options.threads < 0 || options.threads > kMostThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpu: threads = ", options.threads, " is not in [0, ", kMostThreads, "]"));
  }
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int threads = options.threads > 0 ? options.threads : std::min(cores, kMostThreads);
  try {
    auto team = std::make_shared<Team>(TeamOptions{.threads = threads});
    DeviceInfo info = {.name = "cpu",
                       .description = absl::StrCat("AVX2, ", team->threads(), " threads"),
                       .host_memory = true,
                       .memory_bytes = SystemMemory()};
    return std::make_unique<CpuDevice>(std::move(info), std::move(team));
  } catch (const std::exception& error) {
    return absl::ResourceExhaustedError(absl::StrCat("cpu: no threads: ", error.what()));
  }
}

}  // namespace tandem
