// A Machine as JSON, and the file that keeps it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "tools/machine/machine.h"

namespace tandem {

// One line, without a line end.
std::string MachineToJson(const Machine& machine);

// Nothing if `text` is no such JSON: damaged, of another version, or with numbers that no machine
// has.
std::optional<Machine> MachineFromJson(std::string_view text);

// $XDG_CACHE_HOME/tandem/machine.json, or ~/.cache/tandem/machine.json; "" without a home.
std::string MachineCachePath();

// The machine in the file at `path` if its CPU is one called `model` with `cores` cores.
std::optional<Machine> LoadMachine(const std::string& path, std::string_view model, int cores);

// Writes the file, and the folders above it. Errors name the path and the reason.
absl::Status SaveMachine(const std::string& path, const Machine& machine);

}  // namespace tandem
