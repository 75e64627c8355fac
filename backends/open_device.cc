#include "backends/open_device.h"

#include <dlfcn.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_join.h"
#include "backends/cpu/cpu_device.h"
#include "backends/device/status.h"
#include "backends/plugin_loader.h"
#include "backends/reference/reference_device.h"

namespace tandem {
namespace {

constexpr std::string_view kCudaPlugin = "libtandem_cuda.so";

using Opened = absl::StatusOr<std::unique_ptr<Device>>;

// Where plugins of our own may be: beside the program, beside the library that this code is in, and
// in ../lib/tandem from there.
std::vector<std::filesystem::path> PluginFolders() {
  std::vector<std::filesystem::path> folders;
  const auto add = [&folders](const std::filesystem::path& file) {
    if (!file.has_parent_path()) return;
    for (const auto& folder :
         {file.parent_path(), (file.parent_path() / "../lib/tandem").lexically_normal()}) {
      if (std::ranges::find(folders, folder) == folders.end()) folders.push_back(folder);
    }
  };
  std::error_code error;
  add(std::filesystem::read_symlink("/proc/self/exe", error));
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&KnownDevices), &info) != 0 && info.dli_fname != nullptr) {
    add(std::filesystem::weakly_canonical(info.dli_fname, error));
  }
  return folders;
}

// `index` is what follows "cuda": "", ":N" or ":sm_NN".
Opened OpenCuda(std::string_view index, DeviceOptions options) {
  constexpr std::string_view kPortable = ":portable";
  if (index.ends_with(kPortable)) {
    options.architecture = kPortable.substr(1);
    index.remove_suffix(kPortable.size());
  }
  if (index.starts_with(":sm_")) {
    options.architecture = index.substr(1);
  } else if (!index.empty()) {
    const char* end = index.data() + index.size();
    const auto [rest, error] = std::from_chars(index.data() + 1, end, options.index);
    if (error != std::errc() || rest != end || options.index < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("device cuda", Text(index), ": the number of the GPU is not a number"));
    }
  }
  std::string looked;
  for (const std::filesystem::path& folder : PluginFolders()) {
    const std::filesystem::path path = folder / kCudaPlugin;
    std::error_code error;
    if (std::filesystem::exists(path, error)) return LoadPlugin(path.string(), options);
    absl::StrAppend(&looked, looked.empty() ? "" : ", ", folder.string());
  }
  return absl::NotFoundError(
      absl::StrCat("no CUDA backend: ", Text(kCudaPlugin), " is not in ", looked,
                   "; put it there, or name the device by the plugin's path"));
}

bool IsPath(std::string_view spec) {
  return spec.find('/') != std::string_view::npos || spec.ends_with(".so");
}

}  // namespace

Opened OpenDevice(std::string_view spec, const DeviceOptions& options) {
  if (spec == "cpu") return CreateCpuDevice(options);
  if (spec.starts_with("cpu:")) return CreateCpuDevice(options, spec.substr(4));
  if (spec == "reference") return CreateReferenceDevice();
  if (spec == "cuda" || spec.starts_with("cuda:")) return OpenCuda(spec.substr(4), options);
  if (IsPath(spec)) return LoadPlugin(std::string(spec), options);
  return absl::InvalidArgumentError(absl::StrCat(
      "there is no device \"", Text(spec), "\"; there are ", absl::StrJoin(KnownDevices(), ", ")));
}

std::vector<std::string> KnownDevices() {
  return {"cpu", "reference", "cuda[:N]", "PATH of a plugin (.so)"};
}

}  // namespace tandem
