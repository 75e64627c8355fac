#include "backends/reference/reference_device.h"

#include <utility>

#include "backends/reference/reference_kernels.h"

namespace tandem {

std::unique_ptr<Device> CreateReferenceDevice() {
  KernelTable table;
  AddReferenceRowwise(table);
  AddReferenceLinear(table);
  AddReferenceAttention(table);
  AddReferenceMoe(table);
  DeviceInfo info = {.name = "reference", .description = "plain C++, one thread, sums in double"};
  return std::make_unique<HostDevice>(std::move(info), std::move(table));
}

}  // namespace tandem
