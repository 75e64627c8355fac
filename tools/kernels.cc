// `tandem kernels build`: fills the kernel cache for GPUs that need not be here.
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "backends/conformance/compile.h"
#include "backends/device/status.h"
#include "backends/open_device.h"
#include "runtime/engine.h"
#include "tools/command.h"
#include "tools/default_model.h"
#include "tools/machine/cache_folder.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

struct KernelsFlags {
  std::vector<std::string> architectures;
  std::string model, folder = KernelCacheFolder();
  std::string kv_type = "f16";
  bool all = false;
  int threads = 0;
};

int64_t FilesIn(const std::string& folder) {
  int64_t count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".kernel") ++count;
  }
  return count;
}

absl::Status BuildForModel(const KernelsFlags& flags, const std::string& device) {
  std::string path = flags.model;
  if (path.empty()) {
    TANDEM_ASSIGN_OR_RETURN(path, FindDefaultModel());
  }
  TANDEM_ASSIGN_OR_RETURN(const auto model, Model::Open(path));
  EngineOptions options;
  options.devices = {device};
  options.threads = flags.threads;
  options.kernel_cache = flags.folder;
  options.kv_type = DTypeFromName(flags.kv_type).value_or(DType::kF16);
  return Engine::CompileKernels(model, options);
}

absl::Status BuildFor(const KernelsFlags& flags, const std::string& architecture) {
  const std::string name = "cuda:" + architecture;
  if (!flags.all) return BuildForModel(flags, name);
  TANDEM_ASSIGN_OR_RETURN(const auto device,
                          OpenDevice(name, {.threads = flags.threads, .cache_folder = flags.folder}));
  return CompileCases(*device);
}

absl::StatusOr<int> BuildKernels(const KernelsFlags& flags) {
  if (flags.folder.empty()) {
    return absl::NotFoundError("there is no $XDG_CACHE_HOME and no $HOME: name a folder with -o");
  }
  for (const std::string& architecture : flags.architectures) {
    const auto start = std::chrono::steady_clock::now();
    const int64_t before = FilesIn(flags.folder);
    TANDEM_RETURN_IF_ERROR(BuildFor(flags, architecture));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const int64_t made = FilesIn(flags.folder) - before;
    TANDEM_RETURN_IF_ERROR(WriteOut(absl::StrFormat("%-8s %d new kernels in %.1f s\n", architecture,
                                                    made, seconds.count())));
  }
  TANDEM_RETURN_IF_ERROR(WriteOut(
      absl::StrFormat("%d kernels in %s\n", FilesIn(flags.folder), flags.folder)));
  return kExitOk;
}

}  // namespace

Action SetUpKernels(CLI::App& app) {
  auto flags = std::make_shared<KernelsFlags>();
  CLI::App* build = app.add_subcommand("build", "Compile kernels into the cache");
  app.require_subcommand(1);
  build->add_option("--arch", flags->architectures, "Architectures of GPUs: sm_80, sm_90a, ...")
      ->required()
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAME,...");
  CLI::Option* model =
      build->add_option("--model", flags->model,
                        "Those that this model needs; without it, the small model that comes along")
          ->type_name("MODEL");
  build->add_flag("--all", flags->all, "Those of all kinds of layers and types of weights")
      ->excludes(model);
  build->add_option("--kv-type", flags->kv_type, "Number format of the model's KV cache")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0", "q4_0"}))
      ->type_name("");
  build->add_option("-o,--output", flags->folder, "The cache; without it, the user's own")
      ->type_name("FOLDER");
  build->add_option("--threads", flags->threads, "Threads; 0: one for each core")
      ->check(CLI::Range(0, 512).description(""))
      ->type_name("N");
  app.footer(R"(
Kernels are compiled when they are first needed, by NVRTC, a part of the CUDA toolkit, and kept. This
compiles them ahead of time, on a machine that needs neither a GPU nor a driver. The folder can be
copied to a machine without NVRTC.

Examples:
  tandem kernels build --arch sm_90a --model model.gguf
  tandem kernels build --arch sm_80,sm_90a --all -o kernels)");
  return [flags] { return BuildKernels(*flags); };
}

}  // namespace tandem
