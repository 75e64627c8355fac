#include "backends/cuda/shared_library.h"

#include <dlfcn.h>

#include "backends/device/status.h"

namespace tandem::cuda {

absl::StatusOr<SharedLibrary> SharedLibrary::Open(std::span<const std::string> names) {
  std::string errors;
  for (const std::string& name : names) {
    void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) {
      return SharedLibrary(std::shared_ptr<void>(handle, [](void* h) { dlclose(h); }), name);
    }
    const char* error = dlerror();
    absl::StrAppend(&errors, errors.empty() ? "" : "; ", error == nullptr ? name : error);
  }
  return absl::NotFoundError(errors);
}

void* SharedLibrary::Find(const char* name) const { return dlsym(handle_.get(), name); }

}  // namespace tandem::cuda
