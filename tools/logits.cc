// `tandem logits`: the logits after each token, for comparisons.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "backends/device/status.h"
#include "runtime/safetensors_writer.h"
#include "tools/command.h"
#include "tools/flags.h"
#include "tools/terminal.h"
#include "tools/token_ids.h"

namespace tandem {
namespace {

struct LogitsFlags {
  std::string model;
  EngineFlags engine;
  std::string tokens_file;
  std::string out;
};

absl::StatusOr<int> WriteLogits(const LogitsFlags& flags) {
  TANDEM_ASSIGN_OR_RETURN(const std::string text, ReadAll(flags.tokens_file));
  EngineOptions options = ToEngineOptions(flags.engine);
  options.all_logits = true;
  TANDEM_ASSIGN_OR_RETURN(const auto engine, OpenEngine(flags.model, options));
  const int64_t vocab = engine->model().config().vocab;
  auto ids = ParseTokenIds(text, vocab);
  if (!ids.ok()) return Annotate(ids.status(), flags.tokens_file);
  if (ids->empty()) return absl::InvalidArgumentError(flags.tokens_file + " has no token ids");
  TANDEM_ASSIGN_OR_RETURN(const auto session, engine->NewSession());
  TANDEM_ASSIGN_OR_RETURN(const std::vector<float> logits, session->Evaluate(*ids));
  const auto tensor =
      MakeSafetensorsTensor("logits", {static_cast<int64_t>(ids->size()), vocab}, logits);
  TANDEM_RETURN_IF_ERROR(WriteSafetensors(flags.out, {&tensor, 1}));
  return kExitOk;
}

}  // namespace

Action SetUpLogits(CLI::App& app) {
  auto flags = std::make_shared<LogitsFlags>();
  app.add_option("MODEL", flags->model, "A GGUF file or a Hugging Face folder")->required();
  app.add_option("--tokens-file", flags->tokens_file,
                 "The token ids, separated by white space; - is standard input")
      ->required()
      ->type_name("FILE");
  app.add_option("--out", flags->out, "The safetensors file to write")
      ->required()
      ->type_name("FILE");
  AddEngineFlags(app, flags->engine);
  app.footer(R"(
The file gets one tensor "logits" of f32, [tokens, vocabulary]: row i are the logits of what follows
token i. The tokens are taken as they are; no start token is added. The KV cache rounds to f16 here
too unless --kv-type f32 is given.

Example:
  tandem tokenize model.gguf -p "Once upon a time" --ids-only > ids.txt
  tandem logits model.gguf --tokens-file ids.txt --out logits.safetensors --kv-type f32)");
  return [flags] { return WriteLogits(*flags); };
}

}  // namespace tandem
