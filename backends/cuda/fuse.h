// Calls that the kernel of a neighbour does on the way: norm and activation before a product of a
// few rows, additions after it.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "backends/device/program.h"

namespace tandem::cuda {

// A call, with what it takes over. A product's input `x` is then that of the norm, or `up` of the
// activation; its output is that of the addition.
struct FusedCall {
  Call call;
  std::optional<RmsNormArgs> norm;      // of the input of a linear layer
  std::optional<SwiGluArgs> activation;  // that makes the input of a linear layer
  TensorView add;                        // absent: nothing is added to the result
  std::vector<LinearArgs> joined;        // linear layers with the same input, norm included
};

// What the kernels of the call read and write, its workspace among the writes.
std::vector<TensorView> ReadsOf(const FusedCall& fused);
std::vector<TensorView> WritesOf(const FusedCall& fused);

// Which calls have kernels that can take something over.
struct FusionRules {
  std::function<bool(const LinearArgs&)> before;  // a norm or an activation
  std::function<bool(const KernelArgs&)> after;   // an addition
  std::function<bool(const LinearArgs&)> joins;   // other layers with the same input
  size_t most_joined = 0;                         // of them
};

// The calls that are left, in order, with the same effect as the program's but for the order of
// additions, and but for what nobody reads (Program::results).
std::vector<FusedCall> Fuse(const Program& program, const FusionRules& rules);

}  // namespace tandem::cuda
