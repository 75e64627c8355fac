#include "runtime/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();
constexpr int64_t kHugePage = int64_t{2} << 20;

// The number after the word `key` in a file of lines "key number"; with an empty key, the file's
// first word if that is a number.
std::optional<int64_t> NumberIn(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  std::string word;
  int64_t number = 0;
  if (key.empty()) return file >> number ? std::optional(number) : std::nullopt;
  while (file >> word) {
    if (word == key) return file >> number ? std::optional(number) : std::nullopt;
  }
  return std::nullopt;
}

struct LimitFiles {
  const char *limit, *use, *stat, *reclaimable;
};

// Version 2 and version 1 of Linux's control groups, as a container sees its own.
constexpr LimitFiles kLimitFiles[] = {
    {"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory.stat",
     "inactive_file"},
    {"sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes",
     "sys/fs/cgroup/memory/memory.stat", "total_inactive_file"},
};

// What the limit leaves; cached files count as used, but give way.
int64_t LeftBelowLimit(const std::string& root, const LimitFiles& files) {
  const auto limit = NumberIn(root + files.limit, "");
  const auto use = NumberIn(root + files.use, "");
  if (!limit.has_value() || !use.has_value()) return kUnlimited;
  const int64_t cached = NumberIn(root + files.stat, files.reclaimable).value_or(0);
  return std::max<int64_t>(*limit - std::max<int64_t>(*use - cached, 0), 0);
}

}  // namespace

int64_t AvailableMemory(std::string_view root_view) {
  const std::string root(root_view);
  int64_t available = kUnlimited;
  if (const auto kib = NumberIn(root + "proc/meminfo", "MemAvailable:")) available = *kib * 1024;
  for (const LimitFiles& files : kLimitFiles) {
    available = std::min(available, LeftBelowLimit(root, files));
  }
  return available;
}

absl::StatusOr<std::shared_ptr<HostMemory>> HostMemory::Allocate(int64_t bytes) {
  if (const int64_t available = AvailableMemory(); bytes > available) {
    return absl::ResourceExhaustedError(absl::StrCat("needs ", bytes >> 20, " MiB of memory, ",
                                                     available >> 20, " MiB are available"));
  }
  const auto size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    const absl::Status reason = absl::ErrnoToStatus(errno, "");
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot allocate ", bytes >> 20, " MiB of memory", reason.message()));
  }
  if (bytes >= kHugePage) madvise(data, size, MADV_HUGEPAGE);  // a hint; may be refused
  return std::shared_ptr<HostMemory>(new HostMemory({static_cast<std::byte*>(data), size}));
}

HostMemory::~HostMemory() { munmap(bytes_.data(), bytes_.size()); }

}  // namespace tandem
