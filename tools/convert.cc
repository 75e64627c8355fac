// `tandem convert`: a Hugging Face checkpoint to a GGUF file.
#include "runtime/convert.h"

#include <memory>
#include <string>

#include "backends/device/status.h"
#include "tools/command.h"
#include "tools/model_writing.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

struct ConvertFlags {
  std::string folder, out;
  std::string type = "keep";
  std::string name;
};

absl::StatusOr<int> Convert(const ConvertFlags& flags) {
  ConvertOptions options;
  if (flags.type != "keep") options.type = ParsedDType(flags.type);
  options.name = flags.name;
  absl::StatusOr<std::vector<TensorReport>> reports;
  {
    ProgressBar bar("Converting");
    options.progress = [&bar](const TensorReport&, double done) { bar.Show(done); };
    reports = ConvertToGguf(flags.folder, flags.out, options);
  }
  TANDEM_RETURN_IF_ERROR(reports.status());
  TANDEM_RETURN_IF_ERROR(WriteOut(SummaryText(*reports)));
  return kExitOk;
}

}  // namespace

Action SetUpConvert(CLI::App& app) {
  auto flags = std::make_shared<ConvertFlags>();
  app.add_option("DIR", flags->folder, "Folder with config.json, safetensors and tokenizer.json")
      ->required();
  app.add_option("OUT", flags->out, "The GGUF file to write")->required();
  app.add_option("--type", flags->type, "Type of the matrices: keep, f32, f16 or bf16")
      ->check(CLI::IsMember({"keep", "f32", "f16", "bf16"}));
  app.add_option("--name", flags->name, "Name of the model; else that of the folder");
  app.footer(R"(
Example:
  tandem convert DeepSeek-V2-Lite v2-lite.gguf --type bf16)");
  return [flags] { return Convert(*flags); };
}

}  // namespace tandem
