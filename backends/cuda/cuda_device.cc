#include "backends/cuda/cuda_device.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/arrange.h"
#include "backends/cuda/captured_program.h"
#include "backends/cuda/compiler.h"
#include "backends/cuda/context.h"
#include "backends/cuda/lowering.h"
#include "backends/cuda/queue.h"
#include "backends/cuda/staging.h"
#include "backends/device/host_device.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

// Rough rates for Cost, as parts of what the hardware can do.
constexpr double kShareOfBandwidth = 0.6;
constexpr double kFlopsPerSmSecond = 2.5e12;  // products on tensor cores
constexpr double kLaunchSeconds = 2e-6;

// What follows from the architecture alone.
class CudaKernels : public Device {
 public:
  const DeviceInfo& info() const override { return info_; }
  absl::Status Supports(const KernelArgs& args) const override {
    return SupportsCall(args, lowering_.target);
  }
  int64_t WorkspaceBytes(const KernelArgs& args) const override {
    return CallWorkspaceBytes(args, lowering_.target);
  }
  WeightLayout PreferredLayout(const KernelArgs& args, const TensorView&) const override {
    return PreferredLayoutOf(args, lowering_.target);
  }
  double Cost(const KernelArgs& args, int64_t kv_tokens) const override {
    const Work work = WorkOf(args, kv_tokens);
    const Target& target = lowering_.target;
    return kLaunchSeconds + work.bytes / (target.bytes_per_second * kShareOfBandwidth) +
           work.flops / (target.sms * kFlopsPerSmSecond);
  }

 protected:
  CudaKernels(DeviceInfo info, Lowering lowering)
      : info_(std::move(info)), lowering_(std::move(lowering)) {
    info_.alignment = 256;
  }

  absl::StatusOr<std::vector<Launch>> CheckAndLower(const Program& program) const {
    TANDEM_RETURN_IF_ERROR(CheckProgram(*this, program));
    return LowerProgram(program, lowering_);
  }

 private:
  DeviceInfo info_;
  Lowering lowering_;
};

std::vector<KernelSpec> KernelsOf(const std::vector<Launch>& launches) {
  std::set<KernelSpec> kernels;
  for (const Launch& launch : launches) kernels.insert(launch.kernel);
  return {kernels.begin(), kernels.end()};
}

class GpuDevice final : public CudaKernels {
 public:
  GpuDevice(DeviceInfo info, std::shared_ptr<Context> context, std::shared_ptr<Staging> staging)
      : CudaKernels(std::move(info),
                    {context->target(), context->driver().TensorMapEncodeTiled}),
        context_(std::move(context)),
        staging_(std::move(staging)) {}

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    return AllocateOnGpu(context_, bytes);
  }
  absl::StatusOr<std::unique_ptr<Stream>> CreateStream() override {
    return CreateGpuStream(context_, staging_);
  }
  absl::StatusOr<std::unique_ptr<Event>> CreateEvent() override { return CreateGpuEvent(context_); }

  absl::Status Arrange(Stream& stream, const void* from, const TensorView& to) override {
    TANDEM_ASSIGN_OR_RETURN(const Launch launch, LowerArrange(from, to, context_->target()));
    TANDEM_RETURN_IF_ERROR(context_->LoadKernels({&launch.kernel, 1}));
    const ContextScope scope(context_->driver(), context_->handle());
    TANDEM_RETURN_IF_ERROR(scope.status());
    return context_->Start(launch, HandleOf(stream));
  }

  absl::StatusOr<std::unique_ptr<Executable>> Prepare(Program program) override {
    const ContextScope scope(context_->driver(), context_->handle());  // for tensor maps
    TANDEM_RETURN_IF_ERROR(scope.status());
    TANDEM_ASSIGN_OR_RETURN(std::vector<Launch> launches, CheckAndLower(program));
    TANDEM_RETURN_IF_ERROR(context_->LoadKernels(KernelsOf(launches)));
    return CaptureProgram(context_, std::move(launches));
  }

 private:
  std::shared_ptr<Context> context_;
  std::shared_ptr<Staging> staging_;
};

absl::Status NothingRuns() {
  return absl::FailedPreconditionError("this device only compiles kernels; it has no GPU");
}

class CompiledOnly final : public Executable {
 public:
  absl::Status Run(Stream&) override { return NothingRuns(); }
};

// Fills the kernel cache for GPUs that are elsewhere.
class CompilingDevice final : public CudaKernels {
 public:
  CompilingDevice(DeviceInfo info, const Target& target, const DeviceOptions& options)
      : CudaKernels(std::move(info), {target, nullptr}),
        compiler_(target, options.cache_folder, options.threads) {}

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t) override { return NothingRuns(); }
  absl::StatusOr<std::unique_ptr<Stream>> CreateStream() override { return NothingRuns(); }
  absl::StatusOr<std::unique_ptr<Event>> CreateEvent() override { return NothingRuns(); }

  absl::StatusOr<std::unique_ptr<Executable>> Prepare(Program program) override {
    TANDEM_ASSIGN_OR_RETURN(const std::vector<Launch> launches, CheckAndLower(program));
    TANDEM_RETURN_IF_ERROR(compiler_.Build(KernelsOf(launches)).status());
    return std::make_unique<CompiledOnly>();
  }

 private:
  Compiler compiler_;
};

absl::StatusOr<std::unique_ptr<Device>> OpenCompiler(const DeviceOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(const Target target, TargetFromName(options.architecture));
  DeviceInfo info = {.name = absl::StrCat("cuda:", options.architecture),
                     .description = absl::StrCat("kernels for ", options.architecture)};
  return std::make_unique<CompilingDevice>(std::move(info), target, options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(const DeviceOptions& options) {
  if (!options.architecture.empty()) return OpenCompiler(options);
  TANDEM_ASSIGN_OR_RETURN(auto driver, Driver::Load());
  TANDEM_ASSIGN_OR_RETURN(auto context, Context::Open(std::move(driver), options.index,
                                                      options.cache_folder, options.threads));
  TANDEM_ASSIGN_OR_RETURN(std::shared_ptr<Staging> staging, Staging::Create(context));
  const Target& target = context->target();
  DeviceInfo info = {.name = absl::StrCat("cuda:", options.index),
                     .description = absl::StrCat(context->name(), ", ", target.ArchName(), ", ",
                                                 target.sms, " multiprocessors"),
                     .memory_bytes = context->memory_bytes()};
  return std::make_unique<GpuDevice>(std::move(info), std::move(context), std::move(staging));
}

}  // namespace tandem::cuda
