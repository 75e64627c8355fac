// `tandem machine`: what this machine can do at best.
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "backends/device/status.h"
#include "tools/command.h"
#include "tools/machine/machine_json.h"
#include "tools/machine_cache.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

struct MachineFlags {
  std::vector<std::string> devices = {"cpu"};
  bool refresh = false;
  bool json = false;
};

std::string ProcessorText(const Processor& processor) {
  std::string text = absl::StrFormat("%s  %s, %d threads at once\n", processor.device,
                                     OneLine(processor.model), processor.cores);
  text += "\nreads memory      threads      best    median  GB/s\n";
  for (const ReadRate& rate : processor.read) {
    absl::StrAppendFormat(&text, "                  %7d  %8.1f  %8.1f\n", rate.threads,
                          rate.bytes.best / 1e9, rate.bytes.median / 1e9);
  }
  text += "\nmultiplies, adds  threads      best    median  Gop/s\n";
  for (const MultiplyRate& rate : processor.multiply) {
    absl::StrAppendFormat(&text, "%-17s %7d  %8.0f  %8.0f\n", rate.type + " " + rate.instructions,
                          rate.threads, rate.operations.best / 1e9, rate.operations.median / 1e9);
  }
  return text;
}

absl::StatusOr<int> ShowMachine(const MachineFlags& flags) {
  for (const std::string& device : flags.devices) {
    if (device == "cpu") continue;
    return absl::UnimplementedError(
        absl::StrCat("cannot measure the device ", device, "; cpu is possible"));
  }
  TANDEM_ASSIGN_OR_RETURN(const Machine machine, CachedMachine(flags.refresh));
  if (flags.json) {
    TANDEM_RETURN_IF_ERROR(WriteOut(MachineToJson(machine) + "\n"));
    return kExitOk;
  }
  for (const Processor& processor : machine.processors) {
    TANDEM_RETURN_IF_ERROR(WriteOut(ProcessorText(processor)));
  }
  return kExitOk;
}

}  // namespace

Action SetUpMachine(CLI::App& app) {
  auto flags = std::make_shared<MachineFlags>();
  app.add_option("--device", flags->devices, "What to measure: cpu")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->default_str("cpu")
      ->type_name("NAME,...");
  app.add_flag("--refresh", flags->refresh, "Measure again what was measured before");
  app.add_flag("--json", flags->json, "Print one JSON object; rates are per second");
  app.footer(R"(
Memory is read by each number of threads from more memory than caches hold. Numbers are multiplied
and added in registers by each kind of instructions that the CPU has, by one thread and by all; a
multiply and an add are two operations. What was measured is kept in tandem/machine.json in
$XDG_CACHE_HOME or ~/.cache, where `tandem bench` finds it.)");
  return [flags] { return ShowMachine(*flags); };
}

}  // namespace tandem
