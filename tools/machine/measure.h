// Measures this machine.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "tools/machine/machine.h"

namespace tandem {

struct MeasureOptions {
  // Numbers of threads to read memory with; empty: 1, 2, 4 ... and one for each core.
  std::vector<int> threads;
  bool quick = false;  // fewer and shorter repetitions: below 3 seconds on most machines
};

// The CPU's ceilings. Unimplemented on a CPU without AVX2 and FMA; ResourceExhausted if there is no
// memory to read or the system gives no threads.
absl::StatusOr<Processor> MeasureCpu(const MeasureOptions& options);

}  // namespace tandem
