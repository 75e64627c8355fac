// How a backend in a shared object is found and checked.
//
// A plugin is built with hidden symbols and exports one function, tandem_plugin:
//   TANDEM_EXPORT const tandem::Plugin* tandem_plugin() {
//     static const std::string abi = tandem::AbiString();
//     static const tandem::Plugin plugin = {abi.c_str(), "mine", &OpenMine};
//     return &plugin;
//   }
// AbiString is inline on purpose: it tells how the plugin was compiled, not the host.
#pragma once

#include <memory>
#include <string>

#include "absl/base/options.h"
#include "absl/strings/str_cat.h"
#include "backends/device/device.h"

#define TANDEM_EXPORT extern "C" __attribute__((visibility("default")))

namespace tandem {

// Raised when the contract changes in a way that sizes do not show.
inline constexpr int kContractVersion = 2;

// Plain C types first, so that `abi` can be read from a plugin of any build.
struct Plugin {
  const char* abi;
  const char* name;
  absl::StatusOr<std::unique_ptr<Device>> (*open)(const DeviceOptions& options);
};
using PluginEntry = const Plugin* (*)();
inline constexpr char kPluginEntryName[] = "tandem_plugin";

#define TANDEM_STRING_INNER(x) #x
#define TANDEM_STRING(x) TANDEM_STRING_INNER(x)

// Contract version, compiler's ABI, C++ library, Abseil's inline namespace, and the sizes of the
// contract's structs. A plugin whose string differs from the host's is refused.
inline std::string AbiString() {
  return absl::StrCat(
      "tandem contract ", kContractVersion, "; c++ abi ", __GXX_ABI_VERSION, "; libstdc++ cxx11 ",
      _GLIBCXX_USE_CXX11_ABI, "; abseil ", TANDEM_STRING(ABSL_OPTION_INLINE_NAMESPACE_NAME),
      " string_view ", ABSL_OPTION_USE_STD_STRING_VIEW, "; sizes ", sizeof(TensorView), " ",
      sizeof(KernelArgs), " ", sizeof(AttentionArgs), " ", sizeof(ExpertsArgs), " ",
      sizeof(RouteArgs), " ", sizeof(Call), " ", sizeof(Program), " ", sizeof(DeviceInfo), " ",
      sizeof(DeviceOptions), " ", sizeof(absl::StatusOr<std::unique_ptr<Device>>));
}

}  // namespace tandem
