// From calls to launches. Each family of kernels answers the same questions about its argument
// structs; this file asks the right one.
#pragma once

#include <cuda.h>

#include <vector>

#include "absl/status/statusor.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/target.h"
#include "backends/device/program.h"

namespace tandem::cuda {

// The GPU, and how descriptors of tensors are written there; without a driver null, and kernels
// that would need some are not run but only compiled.
struct Lowering {
  Target target;
  decltype(&cuTensorMapEncodeTiled) encode_tensor_map = nullptr;
};

// As Device::Supports.
absl::Status SupportsCall(const KernelArgs& args, const Target& target);
// As Device::WorkspaceBytes.
int64_t CallWorkspaceBytes(const KernelArgs& args, const Target& target);
// As Device::PreferredLayout, the same for all weights of a call.
WeightLayout PreferredLayoutOf(const KernelArgs& args, const Target& target);
// All of a program, in fewer launches where kernels can do several calls.
absl::StatusOr<std::vector<Launch>> LowerProgram(const Program& program, const Lowering& lowering);

}  // namespace tandem::cuda
