#include "backends/cuda/compiler.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "backends/cuda/kernel_sources.h"
#include "backends/device/status.h"

namespace tandem::cuda {

Compiler::Compiler(const Target& target, std::string cache_folder, int threads)
    : arch_(target.ArchName()),
      cache_(std::move(cache_folder)),
      threads_(threads > 0 ? threads
                           : std::max(1, static_cast<int>(std::thread::hardware_concurrency()))) {}

absl::StatusOr<std::shared_ptr<const Nvrtc>> Compiler::GetNvrtc() {
  const std::lock_guard lock(mutex_);
  if (!asked_) nvrtc_ = Nvrtc::Load();
  asked_ = true;
  return nvrtc_;
}

absl::StatusOr<KernelImage> Compiler::BuildOne(const KernelSpec& kernel) {
  const auto sources = SourcesOf(KernelSources(), kernel.file);
  const auto nvrtc = GetNvrtc();
  const KernelKey key = {.arch = arch_,
                         .compiler = nvrtc.ok() ? (*nvrtc)->version() : "",
                         .kernel = kernel,
                         .sources = HashSources(sources)};
  if (auto image = cache_.Find(key); image.has_value()) {
    const std::lock_guard lock(mutex_);
    ++counts_.cached;
    return *std::move(image);
  }
  if (!nvrtc.ok()) return Annotate(nvrtc.status(), kernel.name);
  TANDEM_ASSIGN_OR_RETURN(KernelImage image, (*nvrtc)->Compile(sources, kernel, arch_));
  // Without the cache the next start takes longer; nothing else is lost.
  cache_.Store(key, image).IgnoreError();
  const std::lock_guard lock(mutex_);
  ++counts_.compiled;
  return image;
}

absl::StatusOr<std::vector<KernelImage>> Compiler::Build(std::span<const KernelSpec> kernels) {
  std::vector<absl::StatusOr<KernelImage>> images(kernels.size(), absl::UnknownError("not built"));
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < kernels.size(); i = next++) images[i] = BuildOne(kernels[i]);
  };
  std::vector<std::jthread> helpers;
  const size_t wanted = std::min(kernels.size(), static_cast<size_t>(threads_));
  for (size_t i = 1; i < wanted; ++i) {
    try {
      helpers.emplace_back(work);
    } catch (const std::system_error&) {
      break;  // no more threads: those that there are do it
    }
  }
  work();
  helpers.clear();  // joins
  std::vector<KernelImage> built;
  for (auto& image : images) {
    TANDEM_RETURN_IF_ERROR(image.status());
    built.push_back(*std::move(image));
  }
  return built;
}

CompilerCounts Compiler::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

}  // namespace tandem::cuda
