// Shared libraries that are opened at run time.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace tandem::cuda {

class SharedLibrary {
 public:
  // Opens the first of `names` that is there. NotFound with what the loader says otherwise.
  static absl::StatusOr<SharedLibrary> Open(std::span<const std::string> names);

  // Null if the library has no such function.
  void* Find(const char* name) const;
  const std::string& name() const { return name_; }

 private:
  SharedLibrary(std::shared_ptr<void> handle, std::string name)
      : handle_(std::move(handle)), name_(std::move(name)) {}
  std::shared_ptr<void> handle_;
  std::string name_;
};

}  // namespace tandem::cuda
