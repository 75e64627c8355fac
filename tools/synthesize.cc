// `tandem synthesize`: a GGUF file of a published model's shape with random weights.
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "backends/device/status.h"
#include "runtime/expert_load.h"
#include "runtime/host_memory.h"
#include "runtime/synthetic.h"
#include "tools/command.h"
#include "tools/model_writing.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

struct SynthesizeFlags {
  std::string config, out, type;
  std::string layout = "new";
  int64_t layers = 0;
  int threads = 0;
};

std::string TypesText(const SyntheticFile& file) {
  std::string text;
  for (const auto& [type, summary] : SummarizeByType(file.tensors)) {
    absl::StrAppendFormat(&text, "%-7s %6d tensors  %s\n", Text(DTypeName(type)), summary.tensors,
                          BytesText(summary.bytes));
  }
  return text;
}

// Runs the file that was written. One that does not fit into memory would take hours to read.
absl::Status ReportExperts(const SynthesizeFlags& flags) {
  TANDEM_ASSIGN_OR_RETURN(const auto model, Model::Open(flags.out));
  if (model->config().moe.experts == 0) return absl::OkStatus();
  if (model->file_bytes() > AvailableMemory()) {
    PrintNote("tandem: the load of the experts is not measured: the file does not fit into memory");
    return absl::OkStatus();
  }
  EngineOptions options;
  options.threads = flags.threads;
  TANDEM_ASSIGN_OR_RETURN(const auto loads, MeasureExpertLoad(model, options));
  return WriteOut(absl::StrFormat("\nThe experts of a prompt of %d random tokens:\n%s",
                                  kExpertLoadTokens, ExpertLoadText(loads)));
}

absl::StatusOr<int> Synthesize(const SynthesizeFlags& flags) {
  SyntheticOptions options;
  options.type = ParsedDType(flags.type);
  options.layers = flags.layers;
  options.layout = flags.layout == "old" ? LatentLayout::kJoined : LatentLayout::kSplit;
  options.threads = flags.threads;
  absl::StatusOr<SyntheticFile> file;
  {
    ProgressBar bar("Writing");
    file = WriteSyntheticGguf(flags.config, flags.out, options,
                              [&bar](const TensorReport&, double done) { bar.Show(done); });
  }
  TANDEM_RETURN_IF_ERROR(file.status());
  for (const std::string& warning : file->warnings) PrintNote("tandem: " + warning);
  TANDEM_RETURN_IF_ERROR(WriteOut(TypesText(*file)));
  TANDEM_RETURN_IF_ERROR(ReportExperts(flags));
  return kExitOk;
}

}  // namespace

Action SetUpSynthesize(CLI::App& app) {
  auto flags = std::make_shared<SynthesizeFlags>();
  app.add_option("CONFIG", flags->config, "A Hugging Face config.json")->required();
  app.add_option("--type", flags->type, "Type of the matrices")
      ->required()
      ->check(DTypeCheck())
      ->type_name("TYPE");
  app.add_option("-o,--output", flags->out, "The GGUF file to write")
      ->required()
      ->type_name("FILE");
  app.add_option("--layers", flags->layers, "Layers; 0: as many as the config says")
      ->check(CLI::NonNegativeNumber.description(""))
      ->type_name("N");
  app.add_option(
         "--layout", flags->layout,
         "How latent attention keeps its up-projections: new (attn_k_b and attn_v_b) or old "
         "(attn_kv_b)")
      ->check(CLI::IsMember({"new", "old"}));
  app.add_option("--threads", flags->threads, "Threads; 0: one for each core")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N");
  app.footer(R"(
The file has the shape of a real model, and nothing that it writes makes sense: it is there to be
measured. The table at the end tells whether its tokens spread over all experts.

Example:
  tandem synthesize models/configs/qwen3-30b-a3b.json --type iq4_nl -o random.gguf)");
  return [flags] { return Synthesize(*flags); };
}

}  // namespace tandem
