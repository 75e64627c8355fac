// A file that appears whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "backends/device/status.h"

namespace tandem {

// Writes to "<path>.tmp"; Commit brings it to the disk and renames it to `path`, replacing what was
// there. Without a Commit, after an error or in the destructor, the temporary file is removed.
class AtomicFile {
 public:
  // Creates the temporary file. Two writers of one path at the same time are not supported.
  static absl::StatusOr<AtomicFile> Create(std::string_view path);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // Takes room for a file of `bytes` bytes, so that a disk that is too full is found out before
  // the work and not after it. Does nothing where the file system cannot.
  absl::Status Reserve(uint64_t bytes);

  // Appends `bytes`. Errors name the path and the system's reason, and end the file: the temporary
  // is removed, and what follows fails.
  absl::Status Write(std::span<const std::byte> bytes);

  // Makes the file durable and gives it its name.
  absl::Status Commit();

  uint64_t size() const { return size_; }  // bytes written so far
  const std::string& path() const { return path_; }

 private:
  AtomicFile(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

  absl::Status Fail(std::string_view action);
  void Discard();

  std::string path_;
  std::string temporary_;
  int fd_ = -1;  // -1 once committed or failed
  uint64_t size_ = 0;
};

}  // namespace tandem
