#include "backends/cuda/nvrtc.h"

#include <array>
#include <span>

#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

// Fast forms of exp and division are asked for where they are wanted, in the sources.
constexpr std::array<const char*, 3> kOptions = {"--std=c++20", "--device-as-default-execution-space",
                                                 "--extra-device-vectorization"};

}  // namespace

std::span<const char* const> CompilerOptions() { return kOptions; }

absl::Status Nvrtc::Check(nvrtcResult result, std::string_view what) const {
  if (result == NVRTC_SUCCESS) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(Text(what), " (NVRTC ", version_, "): ", get_error_string_(result)));
}

absl::Status Nvrtc::Resolve() {
  std::string missing;
  const auto get = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(library_.Find(name));
    if (function == nullptr && missing.empty()) missing = name;
  };
  get("nvrtcGetErrorString", get_error_string_);
  get("nvrtcVersion", get_version_);
  get("nvrtcCreateProgram", create_program_);
  get("nvrtcDestroyProgram", destroy_program_);
  get("nvrtcAddNameExpression", add_name_expression_);
  get("nvrtcCompileProgram", compile_program_);
  get("nvrtcGetProgramLogSize", get_log_size_);
  get("nvrtcGetProgramLog", get_log_);
  get("nvrtcGetLoweredName", get_lowered_name_);
  get("nvrtcGetCUBINSize", get_cubin_size_);
  get("nvrtcGetCUBIN", get_cubin_);
  if (missing.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(library_.name(), " has no ", missing, "; install NVRTC 12 or newer"));
}

absl::StatusOr<std::shared_ptr<const Nvrtc>> Nvrtc::Load() {
  const std::array<std::string, 5> names = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
                                            "/usr/local/cuda/lib64/libnvrtc.so.13",
                                            "/usr/local/cuda/lib64/libnvrtc.so"};
  auto library = SharedLibrary::Open(names);
  if (!library.ok()) {
    return absl::NotFoundError(absl::StrCat(
        "kernels have to be compiled, and there is no NVRTC (libnvrtc.so, a part of the CUDA "
        "toolkit): install it, or fill the kernel cache elsewhere with `tandem kernels build`: ",
        library.status().message()));
  }
  auto nvrtc = std::shared_ptr<Nvrtc>(new Nvrtc(*std::move(library)));
  TANDEM_RETURN_IF_ERROR(nvrtc->Resolve());
  int major = 0, minor = 0;
  TANDEM_RETURN_IF_ERROR(nvrtc->Check(nvrtc->get_version_(&major, &minor), "its version"));
  nvrtc->version_ = absl::StrCat(major, ".", minor);
  return nvrtc;
}

std::string Nvrtc::Log(nvrtcProgram program) const {
  size_t size = 0;
  if (get_log_size_(program, &size) != NVRTC_SUCCESS || size < 2) return "";
  std::string log(size, '\0');
  if (get_log_(program, log.data()) != NVRTC_SUCCESS) return "";
  log.resize(size - 1);  // its terminating zero
  return log;
}

absl::StatusOr<KernelImage> Nvrtc::Compile(std::span<const SourceFile> sources,
                                           const KernelSpec& kernel,
                                           const std::string& arch) const {
  std::vector<std::string> names, texts;
  for (const SourceFile& file : sources) {
    names.emplace_back(file.name);
    texts.emplace_back(file.text);
  }
  std::vector<const char*> name_pointers, text_pointers;
  for (size_t i = 0; i < names.size(); ++i) {
    name_pointers.push_back(names[i].c_str());
    text_pointers.push_back(texts[i].c_str());
  }
  const std::string main = absl::StrCat("#include \"", kernel.file, "\"\n");
  nvrtcProgram program = nullptr;
  TANDEM_RETURN_IF_ERROR(
      Check(create_program_(&program, main.c_str(), "main.cu",
                            static_cast<int>(names.size()), text_pointers.data(),
                            name_pointers.data()),
            "creating a program"));
  const auto destroy = [this](nvrtcProgram p) { destroy_program_(&p); };
  const std::unique_ptr<std::remove_pointer_t<nvrtcProgram>, decltype(destroy)> owner(program,
                                                                                      destroy);
  TANDEM_RETURN_IF_ERROR(
      Check(add_name_expression_(program, kernel.name.c_str()), "naming a kernel"));
  const std::string arch_option = absl::StrCat("--gpu-architecture=", arch);
  std::vector<const char*> options(kOptions.begin(), kOptions.end());
  options.push_back(arch_option.c_str());
  const nvrtcResult result =
      compile_program_(program, static_cast<int>(options.size()), options.data());
  if (result != NVRTC_SUCCESS) {
    return Annotate(Check(result, absl::StrCat("compiling ", kernel.name, " for ", arch)),
                    absl::StrCat(Log(program), "\n"));
  }
  KernelImage image;
  const char* entry = nullptr;
  TANDEM_RETURN_IF_ERROR(
      Check(get_lowered_name_(program, kernel.name.c_str(), &entry), "naming a kernel"));
  image.entry = entry;
  size_t size = 0;
  TANDEM_RETURN_IF_ERROR(Check(get_cubin_size_(program, &size), "machine code"));
  image.code.resize(size);
  TANDEM_RETURN_IF_ERROR(Check(get_cubin_(program, image.code.data()), "machine code"));
  return image;
}

}  // namespace tandem::cuda
