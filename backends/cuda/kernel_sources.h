// The device sources, as text in the plugin (generated from kernels/ by the build).
#pragma once

#include <span>

#include "backends/cuda/nvrtc.h"

namespace tandem::cuda {

// By name, "rowwise.cuh", "ptx/mma.cuh"; sorted.
std::span<const SourceFile> KernelSources();

// The files that `file` includes, itself among them, in the order of KernelSources. Files that are
// not there are left to the compiler to complain about.
std::vector<SourceFile> SourcesOf(std::span<const SourceFile> all, std::string_view file);

}  // namespace tandem::cuda
