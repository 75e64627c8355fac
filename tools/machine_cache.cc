#include "tools/machine_cache.h"

#include <optional>

#include "backends/device/status.h"
#include "tools/machine/cpu.h"
#include "tools/machine/machine_json.h"
#include "tools/machine/measure.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

absl::StatusOr<Machine> Measure(const MeasureOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(Processor cpu, MeasureCpu(options));
  return Machine{.processors = {std::move(cpu)}, .buses = {}};
}

}  // namespace

absl::StatusOr<Machine> CachedMachine(bool refresh) {
  const std::string path = MachineCachePath();
  if (!refresh && !path.empty()) {
    if (auto machine = LoadMachine(path, CpuModel(), CpuCores())) return *std::move(machine);
  }
  TANDEM_ASSIGN_OR_RETURN(Machine machine, Measure({}));
  const absl::Status saved = path.empty() ? absl::NotFoundError("no $XDG_CACHE_HOME and no $HOME")
                                          : SaveMachine(path, machine);
  if (!saved.ok()) {
    PrintNote("tandem: warning: the measures are not kept: " +
              OneLine(std::string(saved.message())));
  }
  return machine;
}

absl::StatusOr<Machine> CachedOrQuickMachine(const std::vector<int>& threads) {
  const std::string path = MachineCachePath();
  if (auto machine = LoadMachine(path, CpuModel(), CpuCores())) return *std::move(machine);
  return Measure({.threads = threads, .quick = true});
}

}  // namespace tandem
