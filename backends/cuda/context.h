// One GPU as this process uses it: its primary context and the kernels that are loaded there.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "backends/cuda/compiler.h"
#include "backends/cuda/driver.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/target.h"
#include "backends/device/device.h"

namespace tandem::cuda {

// Safe from several threads. Shared by the device and all that it made.
class Context {
 public:
  // GPU number options.index. NotFound if there is none, FailedPrecondition for one that is too old.
  static absl::StatusOr<std::shared_ptr<Context>> Open(std::shared_ptr<const Driver> driver,
                                                       const DeviceOptions& options);
  ~Context();

  // Compiles, in parallel, and loads those that are not loaded yet.
  absl::Status LoadKernels(std::span<const KernelSpec> kernels);
  // Of a kernel that was loaded; allows it all of the shared memory of a block. The context must
  // be current.
  absl::StatusOr<CUfunction> Find(const KernelSpec& kernel) const;

  // Queues a launch of a loaded kernel. The context must be current. `may_overlap`: a kernel that
  // waits itself may begin while the one ahead of it in the stream still runs.
  absl::Status Start(const Launch& launch, CUstream stream, bool may_overlap) const;

  const Driver& driver() const { return *driver_; }
  CUcontext handle() const { return handle_; }
  const Target& target() const { return target_; }
  const std::string& name() const { return name_; }  // "NVIDIA H200"
  int64_t memory_bytes() const { return memory_bytes_; }
  CompilerCounts counts() const { return compiler_->counts(); }

 private:
  explicit Context(std::shared_ptr<const Driver> driver) : driver_(std::move(driver)) {}
  absl::Status Describe(const DeviceOptions& options);
  absl::StatusOr<CUfunction> Load(const KernelSpec& kernel, const KernelImage& image);

  std::shared_ptr<const Driver> driver_;
  CUdevice device_ = 0;
  CUcontext handle_ = nullptr;
  Target target_;
  std::string name_;
  int64_t memory_bytes_ = 0;
  std::unique_ptr<Compiler> compiler_;
  mutable std::mutex mutex_;
  std::map<KernelSpec, CUfunction> functions_;
  std::vector<CUmodule> modules_;
};

}  // namespace tandem::cuda
