// One kernel call on a CPU device, with all that it reads and writes.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "backends/cpu/instruction_set.h"
#include "backends/device/device.h"

namespace tandem::cpu {

// After the first error, which `status` gives, nothing is done any more.
class DeviceCall {
 public:
  DeviceCall(const InstructionSet& set, int threads);

  // Tensors, of random numbers with this deviation, or of these numbers.
  TensorView Random(DType dtype, const Shape& shape, double deviation);
  // The same for a weight, in the layout that the CPU device wants.
  TensorView Weight(DType dtype, const Shape& shape, double deviation);
  TensorView I32(const Shape& shape, std::span<const int32_t> numbers);
  TensorView F32(const Shape& shape) { return Allocate(DType::kF32, shape); }
  TensorView Allocate(DType dtype, const Shape& shape);

  void Prepare(const KernelArgs& args);
  void Run();

  const absl::Status& status() const { return status_; }
  const KernelArgs& args() const { return args_; }

 private:
  void* AllocateBytes(int64_t bytes);

  absl::Status status_;
  KernelArgs args_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::unique_ptr<Executable> executable_;
};

}  // namespace tandem::cpu
