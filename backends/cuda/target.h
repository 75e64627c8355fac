// The GPU that kernels are made for, as far as choices depend on it.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tandem::cuda {

struct Target {
  int arch = 80;                       // compute capability: 90 for 9.0
  int sms = 108;                       // multiprocessors
  int shared_per_block = 163 * 1024;   // most dynamic shared memory of a block, in bytes
  int l2_bytes = 40 << 20;
  double bytes_per_second = 2e12;  // of memory
  bool portable = false;           // choose kernels that every GPU can run
  // Instructions that exist on this generation alone: wgmma and setmaxnreg.
  bool hopper() const { return arch == 90 && !portable; }
  // As compilers call it: "sm_90a".
  std::string ArchName() const;
  bool operator==(const Target&) const = default;
};

// A typical GPU of an architecture, for kernels that are compiled where there is no GPU: "sm_80",
// "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120". InvalidArgument for other names.
absl::StatusOr<Target> TargetFromName(std::string_view name);

}  // namespace tandem::cuda
