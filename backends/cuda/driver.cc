#include "backends/cuda/driver.h"

#include <array>
#include <string>

#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

constexpr int kOldestDriver = 12000;  // CUDA 12.0: tensor maps, programmatic launches

// What to do about an error that users can do something about.
std::string_view Remedy(CUresult result) {
  switch (result) {
    case CUDA_ERROR_NO_DEVICE:
      return "; no NVIDIA GPU is visible (see nvidia-smi and CUDA_VISIBLE_DEVICES)";
    case CUDA_ERROR_OUT_OF_MEMORY:
      return "; use a smaller context, micro-batch or model, or end other programs on the GPU";
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
      return "; a kernel was compiled for another GPU: remove the kernel cache";
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
      return "; the driver was updated: restart the machine";
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
      return "; the device is lost to this process: open the engine again";
    default:
      return "";
  }
}

absl::StatusCode CodeOf(CUresult result) {
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return absl::StatusCode::kResourceExhausted;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_INVALID_DEVICE:
      return absl::StatusCode::kNotFound;
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kInternal;
  }
}

// Finds driver functions as they were in the oldest version; none of those used has changed since.
class Resolver {
 public:
  explicit Resolver(const SharedLibrary& library)
      : find_(reinterpret_cast<decltype(&cuGetProcAddress)>(
            library.Find("cuGetProcAddress_v2"))) {}

  template <class Function>
  void Get(const char* name, Function& function) {
    void* address = nullptr;
    CUdriverProcAddressQueryResult found = {};
    if (find_ == nullptr ||
        find_(name, &address, kOldestDriver, CU_GET_PROC_ADDRESS_DEFAULT, &found) !=
            CUDA_SUCCESS ||
        address == nullptr) {
      if (missing_.empty()) missing_ = name;
      return;
    }
    function = reinterpret_cast<Function>(address);
  }
  const std::string& missing() const { return missing_; }

 private:
  decltype(&cuGetProcAddress) find_;
  std::string missing_;
};

}  // namespace

absl::Status Driver::Resolve() {
  Resolver resolver(library_);
  resolver.Get("cuInit", Init);
  resolver.Get("cuDriverGetVersion", DriverGetVersion);
  resolver.Get("cuGetErrorName", GetErrorName);
  resolver.Get("cuGetErrorString", GetErrorString);
  resolver.Get("cuDeviceGetCount", DeviceGetCount);
  resolver.Get("cuDeviceGet", DeviceGet);
  resolver.Get("cuDeviceGetName", DeviceGetName);
  resolver.Get("cuDeviceGetAttribute", DeviceGetAttribute);
  resolver.Get("cuDeviceTotalMem", DeviceTotalMem);
  resolver.Get("cuDevicePrimaryCtxRetain", DevicePrimaryCtxRetain);
  resolver.Get("cuDevicePrimaryCtxRelease", DevicePrimaryCtxRelease);
  resolver.Get("cuCtxPushCurrent", CtxPushCurrent);
  resolver.Get("cuCtxPopCurrent", CtxPopCurrent);
  resolver.Get("cuMemAlloc", MemAlloc);
  resolver.Get("cuMemFree", MemFree);
  resolver.Get("cuMemGetInfo", MemGetInfo);
  resolver.Get("cuMemHostAlloc", MemHostAlloc);
  resolver.Get("cuMemFreeHost", MemFreeHost);
  resolver.Get("cuMemcpyHtoDAsync", MemcpyHtoDAsync);
  resolver.Get("cuMemcpyDtoHAsync", MemcpyDtoHAsync);
  resolver.Get("cuStreamCreate", StreamCreate);
  resolver.Get("cuStreamDestroy", StreamDestroy);
  resolver.Get("cuStreamSynchronize", StreamSynchronize);
  resolver.Get("cuStreamBeginCapture", StreamBeginCapture);
  resolver.Get("cuStreamEndCapture", StreamEndCapture);
  resolver.Get("cuStreamWaitEvent", StreamWaitEvent);
  resolver.Get("cuEventCreate", EventCreate);
  resolver.Get("cuEventDestroy", EventDestroy);
  resolver.Get("cuEventRecord", EventRecord);
  resolver.Get("cuEventSynchronize", EventSynchronize);
  resolver.Get("cuEventElapsedTime", EventElapsedTime);
  resolver.Get("cuModuleLoadData", ModuleLoadData);
  resolver.Get("cuModuleUnload", ModuleUnload);
  resolver.Get("cuModuleGetFunction", ModuleGetFunction);
  resolver.Get("cuFuncGetAttribute", FuncGetAttribute);
  resolver.Get("cuFuncSetAttribute", FuncSetAttribute);
  resolver.Get("cuLaunchKernelEx", LaunchKernelEx);
  resolver.Get("cuGraphDestroy", GraphDestroy);
  resolver.Get("cuGraphInstantiateWithFlags", GraphInstantiate);
  resolver.Get("cuGraphExecDestroy", GraphExecDestroy);
  resolver.Get("cuGraphLaunch", GraphLaunch);
  resolver.Get("cuTensorMapEncodeTiled", TensorMapEncodeTiled);
  if (resolver.missing().empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the NVIDIA driver (", library_.name(), ") is too old: it has no ",
                   resolver.missing(), "; install one for CUDA 12 or newer"));
}

absl::StatusOr<std::shared_ptr<const Driver>> Driver::Load() {
  const std::array<std::string, 2> names = {"libcuda.so.1", "libcuda.so"};
  auto library = SharedLibrary::Open(names);
  if (!library.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no NVIDIA driver on this machine: ", library.status().message()));
  }
  auto driver = std::shared_ptr<Driver>(new Driver(*std::move(library)));
  TANDEM_RETURN_IF_ERROR(driver->Resolve());
  TANDEM_RETURN_IF_ERROR(driver->Check(driver->Init(0), "starting the NVIDIA driver"));
  int version = 0;
  TANDEM_RETURN_IF_ERROR(driver->Check(driver->DriverGetVersion(&version), "its version"));
  if (version < kOldestDriver) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the NVIDIA driver is for CUDA ", version / 1000, ".", version % 1000 / 10,
        "; install one for CUDA ", kOldestDriver / 1000, " or newer"));
  }
  return driver;
}

absl::Status Driver::Check(CUresult result, std::string_view what) const {
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  const char* name = nullptr;
  const char* text = nullptr;
  GetErrorName(result, &name);
  GetErrorString(result, &text);
  return absl::Status(CodeOf(result),
                      absl::StrCat(Text(what), ": ", text == nullptr ? "unknown error" : text, " (",
                                   name == nullptr ? "?" : name, ")", Text(Remedy(result))));
}

}  // namespace tandem::cuda
