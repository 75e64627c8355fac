#include "tools/flags.h"

#include "CLI/CLI.hpp"
#include "backends/device/status.h"
#include "tools/machine/cache_folder.h"
#include "tools/terminal.h"

namespace tandem {

void AddEngineFlags(CLI::App& app, EngineFlags& flags) {
  app.add_option("--device", flags.devices,
                 "Where to run, best first: each part of the model runs on the first device that "
                 "can (see `tandem devices`)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->default_str("cpu")
      ->type_name("NAME,...");
  app.add_option("--threads", flags.threads, "CPU threads; 0: one for each core")
      ->check(CLI::Range(0, 512).description(""))
      ->type_name("N");
  app.add_option("--ctx", flags.context,
                 "Most tokens of the conversation; 0: what the model was made for, at most 4096")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 31).description(""))
      ->type_name("N");
  app.add_option("--kq-limit", flags.kq_limit,
                 "Most memory for temporaries of attention; -amb is the same flag")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30).description(""))
      ->type_name("MiB");
  app.add_option("--kv-type", flags.kv_type, "Number format of the KV cache")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0", "q4_0"}))
      ->type_name("");
}

EngineOptions ToEngineOptions(const EngineFlags& flags) {
  EngineOptions options;
  options.devices = flags.devices;
  options.threads = flags.threads;
  options.kernel_cache = KernelCacheFolder();
  options.context = flags.context;
  options.kq_limit = flags.kq_limit << 20;
  options.kv_type = DTypeFromName(flags.kv_type).value_or(DType::kF16);
  return options;
}

absl::StatusOr<std::shared_ptr<Engine>> OpenEngine(const std::string& model,
                                                   EngineOptions options) {
  ProgressBar bar("loading");
  options.progress = [&bar](double part) { bar.Show(part); };
  TANDEM_ASSIGN_OR_RETURN(auto opened, Model::Open(model));
  for (const std::string& warning : opened->warnings()) {
    PrintNote("tandem: warning: " + OneLine(warning));
  }
  return Engine::Open(std::move(opened), options);
}

void AddTextFlags(CLI::App& app, TextFlags& flags) {
  CLI::Option* prompt =
      app.add_option("-p,--prompt", flags.prompt, "The text itself")->type_name("TEXT");
  app.add_option("-f,--file", flags.file, "The file with the text; - is standard input")
      ->excludes(prompt)
      ->type_name("FILE");
}

absl::StatusOr<std::string> TextFlags::Read() const {
  if (prompt.has_value()) return *prompt;
  if (!file.empty()) return ReadAll(file);
  if (IsTerminal(StandardStream::kIn)) return std::string();
  return ReadAll("-");
}

}  // namespace tandem
