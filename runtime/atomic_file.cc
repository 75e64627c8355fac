#include "runtime/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace tandem {
namespace {

// Makes the new name of a file in `directory` durable.
int SyncDirectory(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -1;
  const int result = fsync(fd);
  const int saved_errno = errno;
  close(fd);
  errno = saved_errno;
  return result;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return path.substr(0, std::max<size_t>(slash, 1));
}

}  // namespace

absl::StatusOr<AtomicFile> AtomicFile::Create(std::string_view path_view) {
  std::string path(path_view);
  std::string temporary = path + ".tmp";
  // O_NOFOLLOW: a link left under the temporary name must not lead the writing elsewhere.
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                      S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", temporary));
  return AtomicFile(std::move(path), std::move(temporary), fd);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)),
      size_(other.size_) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) Discard();
}

absl::Status AtomicFile::Reserve(uint64_t bytes) {
  if (fd_ < 0) return absl::FailedPreconditionError(absl::StrCat(path_, " is closed"));
  if (bytes == 0 || fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) == 0) {
    return absl::OkStatus();
  }
  if (errno == EOPNOTSUPP || errno == ENOSYS) return absl::OkStatus();
  return Fail(absl::StrCat("cannot take room for ", bytes, " bytes of"));
}

absl::Status AtomicFile::Write(std::span<const std::byte> bytes) {
  if (fd_ < 0) return absl::FailedPreconditionError(absl::StrCat(path_, " is closed"));
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Fail(absl::StrCat("after ", size_, " bytes cannot write"));
    size_ += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  if (fd_ < 0) return absl::FailedPreconditionError(absl::StrCat(path_, " is closed"));
  if (fsync(fd_) != 0) return Fail("cannot flush");
  if (close(std::exchange(fd_, -1)) != 0) return Fail("cannot close");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return Fail("cannot rename");
  if (SyncDirectory(DirectoryOf(path_)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot flush the directory of ", path_));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Fail(std::string_view action) {
  const absl::Status status =
      absl::ErrnoToStatus(errno, absl::StrCat(Text(action), " ", temporary_));
  Discard();
  return status;
}

void AtomicFile::Discard() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
  unlink(temporary_.c_str());
}

}  // namespace tandem
