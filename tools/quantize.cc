// `tandem quantize`: a GGUF file with smaller weights.
#include "runtime/quantize.h"

#include <memory>
#include <string>
#include <vector>

#include "backends/device/status.h"
#include "tools/command.h"
#include "tools/model_writing.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

struct QuantizeFlags {
  std::string in, out;
  std::string type;
  std::vector<std::string> rules;  // "PATTERN=TYPE"
  std::string importance;
  int threads = 0;
};

absl::StatusOr<TensorTypeRule> ParseRule(const std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals != std::string::npos && equals > 0) {
    const auto type = DTypeFromName(std::string_view(text).substr(equals + 1));
    if (type.has_value()) return TensorTypeRule{text.substr(0, equals), *type};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--tensor-type ", text, " is not of the form PATTERN=TYPE"));
}

absl::StatusOr<QuantizeOptions> ToOptions(const QuantizeFlags& flags) {
  QuantizeOptions options;
  options.types.type = ParsedDType(flags.type);
  for (const std::string& text : flags.rules) {
    TANDEM_ASSIGN_OR_RETURN(options.types.rules.emplace_back(), ParseRule(text));
  }
  options.importance_path = flags.importance;
  options.threads = flags.threads;
  return options;
}

absl::StatusOr<int> Quantize(const QuantizeFlags& flags) {
  TANDEM_ASSIGN_OR_RETURN(QuantizeOptions options, ToOptions(flags));
  absl::StatusOr<std::vector<TensorReport>> reports;
  {
    ProgressBar bar("Quantising");
    options.progress = [&bar](const TensorReport&, double done) { bar.Show(done); };
    reports = QuantizeGguf(flags.in, flags.out, options);
  }
  TANDEM_RETURN_IF_ERROR(reports.status());
  TANDEM_RETURN_IF_ERROR(WriteOut(SummaryText(*reports)));
  return kExitOk;
}

}  // namespace

Action SetUpQuantize(CLI::App& app) {
  auto flags = std::make_shared<QuantizeFlags>();
  app.add_option("IN", flags->in, "The GGUF file to read")->required();
  app.add_option("OUT", flags->out, "The GGUF file to write")->required();
  app.add_option("--type", flags->type, "Type of the weights")
      ->required()
      ->check(DTypeCheck())
      ->type_name("TYPE");
  app.add_option("--tensor-type", flags->rules,
                 "Type of the weights whose name matches; * stands for any text, and the first of "
                 "several such flags that matches counts")
      ->allow_extra_args(false)
      ->type_name("PATTERN=TYPE");
  app.add_option("--imatrix", flags->importance,
                 "Importance matrix (.dat or GGUF): which columns matter most")
      ->type_name("FILE");
  app.add_option("--threads", flags->threads, "Threads; 0: one for each core")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N");
  app.footer(R"(
Vectors and routers stay as they are, and output.weight becomes q6_k where --type is smaller. Rows
that do not fill the blocks of a type become a type with smaller blocks. The table at the end says
what the weights became, and how far they are off.

Examples:
  tandem quantize model-bf16.gguf model-q4_k.gguf --type q4_k
  tandem quantize in.gguf out.gguf --type iq4_nl --tensor-type '*.ffn_down*=q6_k' --imatrix data.dat)");
  return [flags] { return Quantize(*flags); };
}

}  // namespace tandem
