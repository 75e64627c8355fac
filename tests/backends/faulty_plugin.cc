// Plugins that must be refused; FAULT, from the build, tells how each is wrong.
#include <stdexcept>

#include "backends/device/plugin.h"

namespace {

[[maybe_unused]] absl::StatusOr<std::unique_ptr<tandem::Device>> OpenNothing(
    const tandem::DeviceOptions& options) {
  if (options.threads == 1) throw std::runtime_error("not with one thread");
  if (options.threads == 2) return absl::UnavailableError("not with two threads");
  return nullptr;
}

}  // namespace

#if FAULT == 0  // no entry
TANDEM_EXPORT int tandem_other() { return 0; }
#elif FAULT == 1  // another ABI
TANDEM_EXPORT const tandem::Plugin* tandem_plugin() {
  static const tandem::Plugin plugin = {"tandem contract 0; of long ago", "old", &OpenNothing};
  return &plugin;
}
#elif FAULT == 2  // no description
TANDEM_EXPORT const tandem::Plugin* tandem_plugin() { return nullptr; }
#elif FAULT == 4  // the entry throws
TANDEM_EXPORT const tandem::Plugin* tandem_plugin() { throw std::runtime_error("not today"); }
#else             // opening fails
TANDEM_EXPORT const tandem::Plugin* tandem_plugin() {
  static const std::string abi = tandem::AbiString();
  static const tandem::Plugin plugin = {abi.c_str(), "faulty", &OpenNothing};
  return &plugin;
}
#endif
