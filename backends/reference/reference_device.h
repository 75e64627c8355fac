// The reference backend: the oracle of the tests, and the template for a new backend.
#pragma once

#include <memory>

#include "backends/device/device.h"

namespace tandem {

// A device in host memory that runs every kernel over its whole contract. It has one thread and
// sums in double; it is right, not fast.
std::unique_ptr<Device> CreateReferenceDevice();

}  // namespace tandem
