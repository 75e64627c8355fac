// How much memory this process uses.
#pragma once

#include <cstdint>
#include <string_view>

namespace tandem {

// Bytes that are in memory now.
struct ProcessMemory {
  int64_t anonymous = 0;  // allocated
  int64_t file = 0;       // of mapped files, such as weights; the system may drop them
  bool operator==(const ProcessMemory&) const = default;
};

// From the text of /proc/self/status; what is missing is 0.
ProcessMemory ParseProcessStatus(std::string_view status);
ProcessMemory ReadProcessMemory();

// The larger of each.
ProcessMemory Most(const ProcessMemory& a, const ProcessMemory& b);

}  // namespace tandem
