#include "backends/plugin_loader.h"

#include <dlfcn.h>

#include <exception>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "backends/device/plugin.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

using Library = std::shared_ptr<void>;

// The device of a plugin together with the library that holds its code.
class PluginDevice final : public Device {
 public:
  PluginDevice(Library library, std::unique_ptr<Device> device)
      : library_(std::move(library)), device_(std::move(device)) {}

  const DeviceInfo& info() const override { return device_->info(); }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    return device_->Allocate(bytes);
  }
  absl::StatusOr<std::unique_ptr<Stream>> CreateStream() override {
    return device_->CreateStream();
  }
  absl::StatusOr<std::unique_ptr<Event>> CreateEvent() override { return device_->CreateEvent(); }
  absl::Status Supports(const KernelArgs& args) const override { return device_->Supports(args); }
  int64_t WorkspaceBytes(const KernelArgs& args) const override {
    return device_->WorkspaceBytes(args);
  }
  double Cost(const KernelArgs& args, int64_t kv_tokens) const override {
    return device_->Cost(args, kv_tokens);
  }
  WeightLayout PreferredLayout(const KernelArgs& args, const TensorView& weight) const override {
    return device_->PreferredLayout(args, weight);
  }
  absl::Status Arrange(Stream& stream, const void* from, const TensorView& to) override {
    return device_->Arrange(stream, from, to);
  }
  absl::StatusOr<std::unique_ptr<Executable>> Prepare(Program program) override {
    return device_->Prepare(std::move(program));
  }

 private:
  Library library_;  // first, so that it outlives the device
  std::unique_ptr<Device> device_;
};

absl::Status Unusable(const std::string& path, std::string_view reason) {
  return absl::FailedPreconditionError(
      absl::StrCat("plugin ", path, " cannot be used: ", Text(reason)));
}

// dlerror may be null.
std::string LastError() {
  const char* error = dlerror();
  return error == nullptr ? "unknown error" : error;
}

absl::StatusOr<const Plugin*> FindPlugin(const std::string& path, void* library) {
  const auto entry = reinterpret_cast<PluginEntry>(dlsym(library, kPluginEntryName));
  if (entry == nullptr) {
    return Unusable(path, absl::StrCat("no function ", kPluginEntryName, ": ", LastError()));
  }
  const Plugin* plugin = entry();
  if (plugin == nullptr || plugin->abi == nullptr || plugin->name == nullptr) {
    return Unusable(path, absl::StrCat(kPluginEntryName, " gives no ABI and name"));
  }
  const std::string abi = AbiString();
  if (plugin->abi != abi) {
    return Unusable(path, absl::StrCat("it was built for another ABI.\n  plugin: ", plugin->abi,
                                       "\n  here:   ", abi));
  }
  if (plugin->open == nullptr) return Unusable(path, "it has no function that opens a device");
  return plugin;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> LoadPlugin(const std::string& path,
                                                   const DeviceOptions& options) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat("plugin ", path, ": there is no such file"));
  }
  // An absolute path, as dlopen looks up a bare name elsewhere.
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return Unusable(path, error.message());
  void* handle = dlopen(absolute.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return Unusable(path, LastError());
  Library library(handle, [](void* h) { dlclose(h); });
  try {
    TANDEM_ASSIGN_OR_RETURN(const Plugin* plugin, FindPlugin(path, handle));
    auto device = plugin->open(options);
    if (!device.ok()) return Annotate(device.status(), absl::StrCat("plugin ", path));
    if (*device == nullptr) return Unusable(path, "it opened no device");
    return std::make_unique<PluginDevice>(std::move(library), *std::move(device));
  } catch (const std::exception& e) {
    return Unusable(path, absl::StrCat("it threw: ", e.what()));
  }
}

}  // namespace tandem
