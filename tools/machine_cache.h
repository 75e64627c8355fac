// This machine's ceilings, measured once.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "tools/machine/machine.h"

namespace tandem {

// From the cache file, unless `refresh`; else measured in full and written there, with a warning if
// that cannot be done.
absl::StatusOr<Machine> CachedMachine(bool refresh);

// From the cache file, else measured quickly, reading memory with these numbers of threads, and
// forgotten.
absl::StatusOr<Machine> CachedOrQuickMachine(const std::vector<int>& threads);

}  // namespace tandem
