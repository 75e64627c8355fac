// Devices from shared objects (see device/plugin.h).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "backends/device/device.h"

namespace tandem {

// Loads the plugin and opens its device. The library is unloaded with the device. NotFound if there
// is no such file; FailedPrecondition, naming the path and the reason, if it cannot be loaded, is
// no plugin, or was built against another contract (both ABI strings are given).
absl::StatusOr<std::unique_ptr<Device>> LoadPlugin(const std::string& path,
                                                   const DeviceOptions& options);

}  // namespace tandem
