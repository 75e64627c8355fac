// Opening devices by name. Only this part of the project knows all backends.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/device/device.h"

namespace tandem {

// Opens the device that `spec` names:
//   "reference"             the slow oracle
//   "cpu", "cpu:avx2"       this machine's CPU, with all its instructions or with those of an older
//                           one: "avx2", "avx512" or "amx"
//   "cuda", "cuda:1"        an NVIDIA GPU, from the plugin libtandem_cuda.so that is found beside
//                           the program or library, or in ../lib/tandem from there
//   "cuda:portable"         that GPU with the kernels that any GPU can run; also "cuda:1:portable"
//   "cuda:sm_90a"           no GPU, but its compiler: see DeviceOptions::architecture
//   "./libmine.so"          a plugin: any path that contains '/' or ends in ".so"
// A plugin stays loaded as long as its device lives. InvalidArgument for other names, NotFound for
// a plugin that is not there, FailedPrecondition for one that cannot be used; the message names the
// path and the reason.
absl::StatusOr<std::unique_ptr<Device>> OpenDevice(std::string_view spec,
                                                   const DeviceOptions& options);

// What can be opened by name, as shown to users: "cpu", "cuda[:N]", ...
std::vector<std::string> KnownDevices();

}  // namespace tandem
