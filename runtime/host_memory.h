// Large blocks of the process's own memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

namespace tandem {

// Bytes that can be used without swapping or being killed: what the system says is available, and
// what the limits of a container leave. The largest number if neither is known. `root` stands for /
// in the paths of the files that say so.
int64_t AvailableMemory(std::string_view root = "/");

// Zeroed, aligned to pages, in huge pages where the system has them.
class HostMemory {
 public:
  // ResourceExhausted, before any memory is taken, if less than `bytes` is available.
  static absl::StatusOr<std::shared_ptr<HostMemory>> Allocate(int64_t bytes);

  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;
  ~HostMemory();

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  explicit HostMemory(std::span<std::byte> bytes) : bytes_(bytes) {}

  std::span<std::byte> bytes_;
};

}  // namespace tandem
