// `tandem devices` and `tandem check-device`.
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "backends/conformance/conformance.h"
#include "backends/device/status.h"
#include "backends/open_device.h"
#include "tools/command.h"
#include "tools/machine/cache_folder.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

constexpr std::string_view kIndexSuffix = "[:N]";  // of KnownDevices: one device for each N

DeviceOptions Options() { return {.cache_folder = KernelCacheFolder()}; }

std::string DeviceLine(std::string_view name,
                       const absl::StatusOr<std::unique_ptr<Device>>& device) {
  if (!device.ok()) {
    return absl::StrFormat("%-10s not usable: %s\n", std::string(name),
                           OneLine(std::string(device.status().message())));
  }
  const DeviceInfo& info = (*device)->info();
  std::string line = absl::StrFormat("%-10s %s", std::string(name), OneLine(info.description));
  if (info.memory_bytes > 0) absl::StrAppend(&line, ", ", BytesText(info.memory_bytes));
  return line + "\n";
}

// The first device of a kind, or why there is none, and all further ones.
std::string KindLines(const std::string& kind) {
  auto device = OpenDevice(kind, Options());
  std::string lines = DeviceLine(kind, device);
  for (int i = 1; device.ok(); ++i) {
    const std::string name = absl::StrCat(kind, ":", i);
    device = OpenDevice(name, Options());
    if (device.ok()) lines += DeviceLine(name, device);
  }
  return lines;
}

absl::StatusOr<int> ListDevices() {
  for (const std::string& known : KnownDevices()) {
    std::string lines;
    if (known.ends_with(kIndexSuffix)) {
      lines = KindLines(known.substr(0, known.size() - kIndexSuffix.size()));
    } else if (known.find(' ') == std::string::npos) {
      lines = DeviceLine(known, OpenDevice(known, Options()));
    } else {
      lines = known + "\n";  // a description, such as that of plugins
    }
    TANDEM_RETURN_IF_ERROR(WriteOut(lines));
  }
  return kExitOk;
}

absl::StatusOr<int> Check(const std::string& name) {
  TANDEM_ASSIGN_OR_RETURN(const auto subject, OpenDevice(name, Options()));
  TANDEM_ASSIGN_OR_RETURN(const auto oracle, OpenDevice("reference", {}));
  const ConformanceReport report = CheckDevice(*subject, *oracle, {});
  TANDEM_RETURN_IF_ERROR(WriteOut(ToString(report)));
  if (report.ok()) return kExitOk;
  return absl::InternalError(
      report.failures.empty()
          ? absl::StrCat("device ", name, " passed no case")
          : absl::StrCat("device ", name, " failed ", report.failures.size(), " cases"));
}

}  // namespace

Action SetUpDevices(CLI::App&) { return &ListDevices; }

Action SetUpCheckDevice(CLI::App& app) {
  auto name = std::make_shared<std::string>();
  app.add_option("NAME", *name, "A name that `tandem devices` lists, or the path of a plugin")
      ->required();
  app.footer(R"(
Runs every kernel of the device on many shapes and types, and compares the results with those of the
reference device. The exit code is 1 if a case fails.

Examples:
  tandem check-device cpu
  tandem check-device ./libmine.so)");
  return [name] { return Check(*name); };
}

}  // namespace tandem
