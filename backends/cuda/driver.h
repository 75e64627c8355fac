// The CUDA driver, opened at run time: the plugin loads on machines that have none.
#pragma once

#include <cuda.h>

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/cuda/shared_library.h"

namespace tandem::cuda {

// The functions of libcuda that are used, under the names of the driver's documentation without
// their "cu".
struct DriverFunctions {
  decltype(&cuInit) Init = nullptr;
  decltype(&cuDriverGetVersion) DriverGetVersion = nullptr;
  decltype(&cuGetErrorName) GetErrorName = nullptr;
  decltype(&cuGetErrorString) GetErrorString = nullptr;
  decltype(&cuDeviceGetCount) DeviceGetCount = nullptr;
  decltype(&cuDeviceGet) DeviceGet = nullptr;
  decltype(&cuDeviceGetName) DeviceGetName = nullptr;
  decltype(&cuDeviceGetAttribute) DeviceGetAttribute = nullptr;
  decltype(&cuDeviceTotalMem) DeviceTotalMem = nullptr;
  decltype(&cuDevicePrimaryCtxRetain) DevicePrimaryCtxRetain = nullptr;
  decltype(&cuDevicePrimaryCtxRelease) DevicePrimaryCtxRelease = nullptr;
  decltype(&cuCtxPushCurrent) CtxPushCurrent = nullptr;
  decltype(&cuCtxPopCurrent) CtxPopCurrent = nullptr;
  decltype(&cuMemAlloc) MemAlloc = nullptr;
  decltype(&cuMemFree) MemFree = nullptr;
  decltype(&cuMemGetInfo) MemGetInfo = nullptr;
  decltype(&cuMemHostAlloc) MemHostAlloc = nullptr;
  decltype(&cuMemFreeHost) MemFreeHost = nullptr;
  decltype(&cuMemcpyHtoDAsync) MemcpyHtoDAsync = nullptr;
  decltype(&cuMemcpyDtoHAsync) MemcpyDtoHAsync = nullptr;
  decltype(&cuStreamCreate) StreamCreate = nullptr;
  decltype(&cuStreamDestroy) StreamDestroy = nullptr;
  decltype(&cuStreamSynchronize) StreamSynchronize = nullptr;
  decltype(&cuStreamBeginCapture) StreamBeginCapture = nullptr;
  decltype(&cuStreamEndCapture) StreamEndCapture = nullptr;
  decltype(&cuStreamWaitEvent) StreamWaitEvent = nullptr;
  decltype(&cuEventCreate) EventCreate = nullptr;
  decltype(&cuEventDestroy) EventDestroy = nullptr;
  decltype(&cuEventRecord) EventRecord = nullptr;
  decltype(&cuEventSynchronize) EventSynchronize = nullptr;
  decltype(&cuEventElapsedTime) EventElapsedTime = nullptr;
  decltype(&cuModuleLoadData) ModuleLoadData = nullptr;
  decltype(&cuModuleUnload) ModuleUnload = nullptr;
  decltype(&cuModuleGetFunction) ModuleGetFunction = nullptr;
  decltype(&cuFuncGetAttribute) FuncGetAttribute = nullptr;
  decltype(&cuFuncSetAttribute) FuncSetAttribute = nullptr;
  decltype(&cuLaunchKernelEx) LaunchKernelEx = nullptr;
  decltype(&cuGraphDestroy) GraphDestroy = nullptr;
  decltype(&cuGraphInstantiateWithFlags) GraphInstantiate = nullptr;
  decltype(&cuGraphExecDestroy) GraphExecDestroy = nullptr;
  decltype(&cuGraphLaunch) GraphLaunch = nullptr;
  decltype(&cuTensorMapEncodeTiled) TensorMapEncodeTiled = nullptr;  // null before CUDA 12
};

// Initialised; safe from several threads.
class Driver : public DriverFunctions {
 public:
  // FailedPrecondition with a remedy if there is no driver, or one that is too old.
  static absl::StatusOr<std::shared_ptr<const Driver>> Load();

  // OK, or an error that says what was done, what the driver answered, and what helps:
  // ResourceExhausted for memory, Unavailable for a lost device, else Internal.
  absl::Status Check(CUresult result, std::string_view what) const;

 private:
  explicit Driver(SharedLibrary library) : library_(std::move(library)) {}
  absl::Status Resolve();
  SharedLibrary library_;
};

// Makes a context current on this thread as long as the object lives.
class ContextScope {
 public:
  ContextScope(const Driver& driver, CUcontext context)
      : driver_(driver), status_(driver.Check(driver.CtxPushCurrent(context), "using the GPU")) {}
  ~ContextScope() {
    CUcontext ignored;
    if (status_.ok()) driver_.CtxPopCurrent(&ignored);
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;
  const absl::Status& status() const { return status_; }

 private:
  const Driver& driver_;
  absl::Status status_;
};

}  // namespace tandem::cuda
