// From kernel names to machine code: the cache first, then NVRTC, on several threads.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cuda/kernel_cache.h"
#include "backends/cuda/nvrtc.h"
#include "backends/cuda/target.h"

namespace tandem::cuda {

// How many kernels came from where.
struct CompilerCounts {
  int cached = 0;
  int compiled = 0;
};

// Safe from several threads.
class Compiler {
 public:
  // `threads`: 0 for one for each core. An empty `cache_folder`: no cache.
  Compiler(const Target& target, std::string cache_folder, int threads);

  // The machine code of each kernel, in order. The first error, if any kernel cannot be had.
  absl::StatusOr<std::vector<KernelImage>> Build(std::span<const KernelSpec> kernels);

  CompilerCounts counts() const;

 private:
  absl::StatusOr<std::shared_ptr<const Nvrtc>> GetNvrtc();
  absl::StatusOr<KernelImage> BuildOne(const KernelSpec& kernel);

  const std::string arch_;
  const KernelCache cache_;
  const int threads_;
  mutable std::mutex mutex_;
  absl::StatusOr<std::shared_ptr<const Nvrtc>> nvrtc_;  // once `asked_`
  bool asked_ = false;
  CompilerCounts counts_;
};

}  // namespace tandem::cuda
