// The programs of the suite without their data.
#pragma once

#include "absl/status/status.h"
#include "backends/device/device.h"

namespace tandem {

// Has the device prepare the calls of every case that it supports, in rows and in the layouts that
// it prefers, at addresses that are nowhere: for a device that only compiles. The first error of a
// call that is supported.
absl::Status CompileCases(Device& device);

}  // namespace tandem
