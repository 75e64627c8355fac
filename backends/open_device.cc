#include "backends/open_device.h"

#include "backends/device/status.h"
#include "backends/reference/reference_device.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<Device>> OpenDevice(std::string_view spec, const DeviceOptions&) {
  if (spec == "reference") return CreateReferenceDevice();
  return absl::NotFoundError(absl::StrCat("there is no device ", Text(spec)));
}

}  // namespace tandem
