// NVIDIA's run-time compiler, opened when the first kernel has to be compiled.
#pragma once

#include <nvrtc.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/shared_library.h"

namespace tandem::cuda {

// Machine code of one kernel, and the name it has there.
struct KernelImage {
  std::string entry;
  std::vector<char> code;
};

// Device sources by the name that #include uses.
struct SourceFile {
  std::string_view name;
  std::string_view text;
};

// Safe from several threads.
class Nvrtc {
 public:
  // NotFound with a remedy if the library is not there.
  static absl::StatusOr<std::shared_ptr<const Nvrtc>> Load();

  // For "sm_90a". Internal with the compiler's messages if the source does not compile.
  absl::StatusOr<KernelImage> Compile(std::span<const SourceFile> sources, const KernelSpec& kernel,
                                      const std::string& arch) const;
  // "13.0"; part of the key of the kernel cache.
  const std::string& version() const { return version_; }

 private:
  explicit Nvrtc(SharedLibrary library) : library_(std::move(library)) {}
  absl::Status Resolve();
  absl::Status Check(nvrtcResult result, std::string_view what) const;
  std::string Log(nvrtcProgram program) const;

  SharedLibrary library_;
  std::string version_;
  decltype(&nvrtcGetErrorString) get_error_string_ = nullptr;
  decltype(&nvrtcVersion) get_version_ = nullptr;
  decltype(&nvrtcCreateProgram) create_program_ = nullptr;
  decltype(&nvrtcDestroyProgram) destroy_program_ = nullptr;
  decltype(&nvrtcAddNameExpression) add_name_expression_ = nullptr;
  decltype(&nvrtcCompileProgram) compile_program_ = nullptr;
  decltype(&nvrtcGetProgramLogSize) get_log_size_ = nullptr;
  decltype(&nvrtcGetProgramLog) get_log_ = nullptr;
  decltype(&nvrtcGetLoweredName) get_lowered_name_ = nullptr;
  decltype(&nvrtcGetCUBINSize) get_cubin_size_ = nullptr;
  decltype(&nvrtcGetCUBIN) get_cubin_ = nullptr;
};

// What kernels are compiled with, but for the architecture.
std::span<const char* const> CompilerOptions();

}  // namespace tandem::cuda
