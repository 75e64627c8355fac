// The CPU as a device: x86-64 with AVX2, FMA and F16C, or more.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "backends/device/device.h"

namespace tandem {

// `instructions` names the instruction set of the inner loops (instruction_set.h), such as "avx2";
// empty: the newest that this processor has. Unimplemented, naming what is missing, on a processor
// without it; InvalidArgument for a name that is not known.
absl::StatusOr<std::unique_ptr<Device>> CreateCpuDevice(const DeviceOptions& options,
                                                        std::string_view instructions = "");

}  // namespace tandem
