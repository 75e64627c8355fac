#include "backends/cuda/context.h"

#include <array>
#include <utility>

#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

constexpr int kOldestArch = 80;

}  // namespace

absl::StatusOr<std::shared_ptr<Context>> Context::Open(std::shared_ptr<const Driver> driver,
                                                       int index, const std::string& cache_folder,
                                                       int threads) {
  auto context = std::shared_ptr<Context>(new Context(std::move(driver)));
  TANDEM_RETURN_IF_ERROR(context->Describe(index));
  const Driver& d = *context->driver_;
  TANDEM_RETURN_IF_ERROR(d.Check(d.DevicePrimaryCtxRetain(&context->handle_, context->device_),
                                 absl::StrCat("opening GPU ", index)));
  context->compiler_ = std::make_unique<Compiler>(context->target_, cache_folder, threads);
  return context;
}

absl::Status Context::Describe(int index) {
  const Driver& d = *driver_;
  int count = 0;
  TANDEM_RETURN_IF_ERROR(d.Check(d.DeviceGetCount(&count), "counting GPUs"));
  if (index < 0 || index >= count) {
    return absl::NotFoundError(absl::StrCat("there is no GPU ", index, "; there are ", count));
  }
  TANDEM_RETURN_IF_ERROR(d.Check(d.DeviceGet(&device_, index), "finding a GPU"));
  std::array<char, 256> name = {};
  TANDEM_RETURN_IF_ERROR(
      d.Check(d.DeviceGetName(name.data(), static_cast<int>(name.size()) - 1, device_), "its name"));
  name_ = name.data();
  size_t bytes = 0;
  TANDEM_RETURN_IF_ERROR(d.Check(d.DeviceTotalMem(&bytes, device_), "its memory"));
  memory_bytes_ = static_cast<int64_t>(bytes);
  int major = 0, minor = 0, kilohertz = 0, bus_bits = 0;
  const std::array<std::pair<CUdevice_attribute, int*>, 7> attributes = {{
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &major},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &minor},
      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &target_.sms},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &target_.shared_per_block},
      {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, &target_.l2_bytes},
      {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, &kilohertz},
      {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, &bus_bits},
  }};
  for (const auto& [attribute, value] : attributes) {
    TANDEM_RETURN_IF_ERROR(d.Check(d.DeviceGetAttribute(value, attribute, device_), "its limits"));
  }
  target_.arch = major * 10 + minor;
  // Two transfers a clock.
  target_.bytes_per_second = 2e3 * kilohertz * (bus_bits / 8.0);
  if (target_.arch >= kOldestArch) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(name_, " has compute capability ", major, ".", minor,
                   "; the kernels need 8.0 (Ampere) or newer"));
}

Context::~Context() {
  if (handle_ == nullptr) return;
  {
    const ContextScope scope(*driver_, handle_);
    for (CUmodule module : modules_) driver_->ModuleUnload(module);
  }
  driver_->DevicePrimaryCtxRelease(device_);
}

absl::StatusOr<CUfunction> Context::Load(const KernelSpec& kernel, const KernelImage& image) {
  const Driver& d = *driver_;
  CUmodule module = nullptr;
  TANDEM_RETURN_IF_ERROR(d.Check(d.ModuleLoadData(&module, image.code.data()), kernel.name));
  modules_.push_back(module);
  CUfunction function = nullptr;
  TANDEM_RETURN_IF_ERROR(
      d.Check(d.ModuleGetFunction(&function, module, image.entry.c_str()), kernel.name));
  int taken = 0;  // by static shared memory
  TANDEM_RETURN_IF_ERROR(d.Check(
      d.FuncGetAttribute(&taken, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function), kernel.name));
  TANDEM_RETURN_IF_ERROR(d.Check(
      d.FuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                         target_.shared_per_block - taken),
      kernel.name));
  return function;
}

absl::Status Context::LoadKernels(std::span<const KernelSpec> kernels) {
  const std::lock_guard lock(mutex_);
  std::vector<KernelSpec> missing;
  for (const KernelSpec& kernel : kernels) {
    if (!functions_.contains(kernel)) missing.push_back(kernel);
  }
  if (missing.empty()) return absl::OkStatus();
  TANDEM_ASSIGN_OR_RETURN(const auto images, compiler_->Build(missing));
  const ContextScope scope(*driver_, handle_);
  TANDEM_RETURN_IF_ERROR(scope.status());
  for (size_t i = 0; i < missing.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(functions_[missing[i]], Load(missing[i], images[i]));
  }
  return absl::OkStatus();
}

absl::StatusOr<CUfunction> Context::Find(const KernelSpec& kernel) const {
  const std::lock_guard lock(mutex_);
  const auto it = functions_.find(kernel);
  if (it != functions_.end()) return it->second;
  return absl::InternalError(absl::StrCat("kernel ", kernel.name, " was not loaded"));
}

absl::Status Context::Start(const Launch& launch, CUstream stream) const {
  TANDEM_ASSIGN_OR_RETURN(CUfunction function, Find(launch.kernel));
  std::array<CUlaunchAttribute, 2> attributes = {};
  unsigned count = 0;
  if (launch.cluster > 1) {
    attributes[count].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attributes[count++].value.clusterDim = {launch.cluster, 1, 1};
  }
  if (launch.waits_itself && target_.arch >= 90) {
    attributes[count].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attributes[count++].value.programmaticStreamSerializationAllowed = 1;
  }
  const CUlaunchConfig config = {.gridDimX = launch.grid.x,
                                 .gridDimY = launch.grid.y,
                                 .gridDimZ = launch.grid.z,
                                 .blockDimX = launch.block.x,
                                 .blockDimY = launch.block.y,
                                 .blockDimZ = launch.block.z,
                                 .sharedMemBytes = launch.shared_bytes,
                                 .hStream = stream,
                                 .attrs = attributes.data(),
                                 .numAttrs = count};
  void* parameter = const_cast<std::byte*>(launch.params.data());
  return driver_->Check(driver_->LaunchKernelEx(&config, function, &parameter, nullptr),
                        absl::StrCat(launch.label, " (", launch.kernel.name, ")"));
}

}  // namespace tandem::cuda
