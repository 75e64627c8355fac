// A backend that subtracts where it should add, for tests that have to notice.
#include <memory>
#include <string>

#include "backends/device/check.h"
#include "backends/device/host_device.h"
#include "backends/device/plugin.h"

namespace {

void Subtract(const tandem::AddArgs& args) {
  for (int64_t t = 0; t < args.a.dim(0); ++t) {
    for (int64_t e = 0; e < args.a.dim(1); ++e) {
      args.out.row<float>(t)[e] = args.a.row<float>(t)[e] - args.b.row<float>(t)[e];
    }
  }
}

absl::StatusOr<std::unique_ptr<tandem::Device>> Open(const tandem::DeviceOptions&) {
  tandem::KernelTable table;
  table.Add<tandem::AddArgs>([](const tandem::AddArgs& args) { return tandem::CheckArgs(args); },
                             Subtract);
  tandem::DeviceInfo info = {.name = "wrong", .description = "subtracts"};
  return std::make_unique<tandem::HostDevice>(std::move(info), std::move(table));
}

}  // namespace

TANDEM_EXPORT const tandem::Plugin* tandem_plugin() {
  static const std::string abi = tandem::AbiString();
  static const tandem::Plugin plugin = {abi.c_str(), "wrong", &Open};
  return &plugin;
}
