// `tandem run`: generates text.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "backends/device/status.h"
#include "tools/chat.h"
#include "tools/command.h"
#include "tools/default_model.h"
#include "tools/flags.h"
#include "tools/generation.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

constexpr std::string_view kDefaultPrompt = "Once upon a time";

struct RunFlags {
  std::string model;
  EngineFlags engine;
  TextFlags text;
  GenerationFlags generation;
  bool chat = false;
  std::string system;
};

// Nothing if no prompt was given. One line end at the end of a file is the editor's, not the
// author's.
absl::StatusOr<std::optional<std::string>> ReadPrompt(const TextFlags& flags) {
  TANDEM_ASSIGN_OR_RETURN(std::string prompt, flags.Read());
  if (!flags.prompt.has_value() && prompt.ends_with('\n')) prompt.pop_back();
  if (prompt.empty() && !flags.given()) return std::nullopt;
  return prompt;
}

absl::StatusOr<std::vector<int32_t>> EncodePrompt(const Model& model, const std::string& prompt) {
  if (model.tokenizer() == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(model.path(), " has no tokenizer"));
  }
  return model.tokenizer()->Encode(prompt);
}

absl::StatusOr<int> Complete(const Engine& engine, Session& session, const GenerateOptions& options,
                             bool json, const std::optional<std::string>& given) {
  const std::string prompt = given.value_or(std::string(kDefaultPrompt));
  TANDEM_ASSIGN_OR_RETURN(const auto ids, EncodePrompt(engine.model(), prompt));
  const int64_t context = engine.options().context;
  if (static_cast<int64_t>(ids.size()) > context) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the prompt has ", ids.size(), " tokens, the context holds ", context, " (--ctx)"));
  }
  // A person wants to see the whole text, a program what it does not know.
  if (!json && (IsTerminal(StandardStream::kOut) || !given.has_value())) {
    TANDEM_RETURN_IF_ERROR(WriteOut(TerminalSafe(prompt)));
  }
  TANDEM_ASSIGN_OR_RETURN(const Report report, GenerateAndPrint(session, ids, options, json));
  const uint64_t seed = options.sampler.seed;
  TANDEM_RETURN_IF_ERROR(WriteOut(json ? ReportJson(report, engine, seed) : "\n"));
  if (!json) PrintNote(ReportText(report, engine, seed));
  return report.interrupted ? kExitInterrupted : kExitOk;
}

absl::StatusOr<int> Run(const RunFlags& flags) {
  TANDEM_ASSIGN_OR_RETURN(const GenerateOptions options, ToGenerateOptions(flags.generation));
  const bool json = flags.generation.json;
  std::string model = flags.model;
  if (model.empty()) {
    TANDEM_ASSIGN_OR_RETURN(model, FindDefaultModel());
  }
  std::optional<std::string> prompt;
  if (!flags.chat) {
    TANDEM_ASSIGN_OR_RETURN(prompt, ReadPrompt(flags.text));
    if (!prompt.has_value() && !flags.model.empty()) {
      return absl::InvalidArgumentError(
          "there is no prompt; give -p TEXT, -f FILE, or text on standard input");
    }
  }
  TANDEM_ASSIGN_OR_RETURN(const auto engine, OpenEngine(model, ToEngineOptions(flags.engine)));
  TANDEM_ASSIGN_OR_RETURN(const auto session, engine->NewSession());
  if (!flags.chat) return Complete(*engine, *session, options, json, prompt);
  return Chat(*engine, *session, options, json,
              {.system = flags.system, .first_message = flags.text.prompt.value_or("")});
}

}  // namespace

Action SetUpRun(CLI::App& app) {
  auto flags = std::make_shared<RunFlags>();
  app.add_option("MODEL", flags->model,
                 "A GGUF file or a Hugging Face folder; without it, the small model that comes "
                 "along tells a story");
  AddTextFlags(app, flags->text);
  AddGenerationFlags(app, flags->generation);
  CLI::Option* chat =
      app.add_flag("--chat", flags->chat, "Talk with the model, by its own chat template")
          ->excludes(app.get_option("--file"));  // messages come on standard input
  app.add_option("--system", flags->system, "Instructions to the model before the conversation")
      ->needs(chat)
      ->type_name("TEXT");
  AddEngineFlags(app, flags->engine);
  app.footer(R"(
The text goes to standard output, the report of speed and memory to standard error.
Ctrl-C ends the generation, a second Ctrl-C the program.

Examples:
  tandem run model.gguf -p "The sea is" -n 100 --temp 0
  tandem run model.gguf -f question.txt --stop "." --json
  tandem run model.gguf --chat --system "Answer in rhymes."
  tandem run deepseek.gguf --ctx 16384 --kv-type q8_0 --kq-limit 512 -p "Hello")");
  return [flags] { return Run(*flags); };
}

}  // namespace tandem
