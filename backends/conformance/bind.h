// Moving the arguments of a call from one memory to another.
#pragma once

#include <functional>

#include "backends/device/kernels.h"

namespace tandem {

// Replaces every address in the arguments that is not null: those of tensors and of live counts.
void Rebind(KernelArgs& args, const std::function<void*(const void*)>& move);

}  // namespace tandem
