#include "tools/machine/cache_folder.h"

#include <cstdlib>
#include <filesystem>

namespace tandem {

namespace fs = std::filesystem;

std::string CacheFolder() {
  const auto folder = [](const char* variable) {
    const char* value = std::getenv(variable);
    return fs::path(value == nullptr ? "" : value);
  };
  // A relative path is to be ignored (XDG Base Directory Specification).
  fs::path cache = folder("XDG_CACHE_HOME");
  if (!cache.is_absolute()) cache = folder("HOME").empty() ? "" : folder("HOME") / ".cache";
  return cache.empty() ? "" : (cache / "tandem").string();
}

std::string KernelCacheFolder() {
  const std::string folder = CacheFolder();
  return folder.empty() ? "" : (fs::path(folder) / "kernels").string();
}

}  // namespace tandem
