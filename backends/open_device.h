#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backends/device/device.h"
namespace tandem {
absl::StatusOr<std::unique_ptr<Device>> OpenDevice(std::string_view spec, const DeviceOptions&);
}
