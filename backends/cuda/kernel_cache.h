// Compiled kernels on disk.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "backends/cuda/nvrtc.h"

namespace tandem::cuda {

// What machine code follows from. Two kernels with equal keys are equal.
struct KernelKey {
  std::string arch;      // "sm_90a"
  std::string compiler;  // NVRTC's version
  KernelSpec kernel;
  uint64_t sources = 0;  // hash of the texts it is made from, and of the options

  // Without the compiler.
  std::string ToString() const;
};

// FNV-1a of names and texts, options included.
uint64_t HashSources(std::span<const SourceFile> sources);

// A folder with a file for each kernel. Safe from several threads and processes: files are written
// beside their place and renamed. A file that is damaged, or of another key, counts as absent.
class KernelCache {
 public:
  // An empty path: no cache, Find finds nothing and Store does nothing.
  explicit KernelCache(std::string folder) : folder_(std::move(folder)) {}

  // With an empty `compiler` in the key: of whatever compiler, for machines that have none.
  std::optional<KernelImage> Find(const KernelKey& key) const;
  // An error (a full disk, a folder that cannot be written) costs nothing but the cache.
  absl::Status Store(const KernelKey& key, const KernelImage& image) const;

  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
};

}  // namespace tandem::cuda
