// Where the time of a test went, kernel by kernel.
#pragma once

#include <span>
#include <string>

#include "backends/device/device.h"

namespace tandem {

// A table of kernels, those that took longest first. `name` is that of the test.
std::string ProfileText(const std::string& name, std::span<const KernelTime> times);

}  // namespace tandem
