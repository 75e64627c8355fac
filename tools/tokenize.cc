// `tandem tokenize`: text to tokens and back.
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "backends/device/status.h"
#include "tools/command.h"
#include "tools/flags.h"
#include "tools/json.h"
#include "tools/model_files.h"
#include "tools/terminal.h"
#include "tools/token_ids.h"

namespace tandem {
namespace {

struct TokenizeFlags {
  std::string model;
  TextFlags text;
  bool ids_only = false;
  bool no_special = false;
  bool parse_special = false;
  bool decode = false;
};

absl::StatusOr<std::string> Encode(const Tokenizer& tokenizer, const TokenizeFlags& flags,
                                   const std::string& text) {
  TANDEM_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                          tokenizer.Encode(text, {.add_special = !flags.no_special,
                                                  .parse_special = flags.parse_special}));
  if (flags.ids_only) return absl::StrJoin(ids, " ") + "\n";
  std::string lines;
  for (const int32_t id : ids) {
    absl::StrAppendFormat(&lines, "%6d  %s\n", id, JsonText(tokenizer.TokenText(id)));
  }
  return lines;
}

absl::StatusOr<std::string> Decode(const Tokenizer& tokenizer, const TokenizeFlags& flags,
                                   const std::string& text) {
  TANDEM_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                          ParseTokenIds(text, tokenizer.vocab_size()));
  return tokenizer.Decode(ids, flags.no_special);
}

absl::StatusOr<int> Tokenize(const TokenizeFlags& flags) {
  TANDEM_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(flags.model));
  for (const std::string& warning : tokenizer->spec().warnings) {
    PrintNote("tandem: warning: " + OneLine(warning));
  }
  TANDEM_ASSIGN_OR_RETURN(const std::string text, flags.text.Read());
  TANDEM_ASSIGN_OR_RETURN(const std::string output, flags.decode ? Decode(*tokenizer, flags, text)
                                                                 : Encode(*tokenizer, flags, text));
  TANDEM_RETURN_IF_ERROR(WriteOut(output));
  return kExitOk;
}

}  // namespace

Action SetUpTokenize(CLI::App& app) {
  auto flags = std::make_shared<TokenizeFlags>();
  app.add_option("MODEL", flags->model,
                 "A GGUF file (a vocabulary is enough), a Hugging Face folder, or a tokenizer.json")
      ->required();
  AddTextFlags(app, flags->text);
  app.add_flag("--ids-only", flags->ids_only, "Print the ids alone, in one line");
  app.add_flag("--no-special", flags->no_special,
               "Do not add the tokens that start or end a text; with --decode, leave out such "
               "tokens");
  app.add_flag("--parse-special", flags->parse_special,
               "Read special tokens where the text spells them");
  app.add_flag("--decode", flags->decode, "Turn ids, separated by white space, into text");
  app.footer(R"(
The text is taken as it is, line ends included.

Examples:
  tandem tokenize model.gguf -p "Once upon a time"
  tandem tokenize model.gguf -f story.txt --ids-only | tandem tokenize model.gguf --decode)");
  return [flags] { return Tokenize(*flags); };
}

}  // namespace tandem
