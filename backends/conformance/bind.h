// Moving the arguments of a call from one memory to another.
#pragma once

#include <functional>
#include <vector>

#include "backends/device/kernels.h"

namespace tandem {

// Replaces every address in the arguments that is not null: those of tensors and of live counts.
void Rebind(KernelArgs& args, const std::function<void*(const void*)>& move);

// The weights of a call that a device may want in a layout of its own.
std::vector<TensorView*> WeightsOf(KernelArgs& args);

}  // namespace tandem
