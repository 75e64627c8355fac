// A whole file, read-only, in the address space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "backends/device/status.h"

namespace tandem {

// What the reader will do with a range of a file; hints to the kernel's page cache.
enum class FileAdvice {
  kSequential,  // read once, front to back: read ahead far, drop behind
  kWillNeed,    // start reading now
  kDontNeed,    // done: the pages may go
};

// Owns the mapping; moving it does not move the bytes. The size is the one at opening. A file that
// another process cuts while it is mapped ends this process with SIGBUS when the lost pages are
// touched, as with any mapping; model files are replaced by renaming, not rewritten in place.
class MappedFile {
 public:
  // Maps the regular file at `path`; an empty one gives an empty span. Errors name the path and
  // the system's reason: missing, not readable, a directory, a pipe, a device.
  static absl::StatusOr<MappedFile> Open(std::string_view path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

  // Advises on `length` bytes from `offset`, cut to the file. kDontNeed leaves pages that are
  // shared with the neighbours of the range. Only a hint: that the kernel refuses it is no error.
  void Advise(FileAdvice advice, uint64_t offset, uint64_t length) const;

 private:
  MappedFile(std::string path, std::span<const std::byte> bytes)
      : path_(std::move(path)), bytes_(bytes) {}

  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace tandem
