// `tandem perplexity`: how well a model predicts a text.
#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "backends/device/status.h"
#include "tools/command.h"
#include "tools/flags.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

constexpr std::string_view kMarker = "<|endoftext|>";
constexpr int64_t kDefaultWindow = 512;
constexpr size_t kChunk = 512;  // tokens whose logits are in memory at a time

struct PerplexityFlags {
  std::string model;
  EngineFlags engine;
  std::string file;
  int64_t documents = 0;
};

using Tokens = std::vector<int32_t>;

// The parts between markers, without the line ends beside them; empty ones are left out.
std::vector<std::string_view> SplitDocuments(std::string_view text) {
  std::vector<std::string_view> documents;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(kMarker, begin), text.size());
    std::string_view document = text.substr(begin, end - begin);
    document.remove_prefix(std::min(document.find_first_not_of("\r\n"), document.size()));
    document = document.substr(0, document.find_last_not_of("\r\n") + 1);
    if (!document.empty()) documents.push_back(document);
    begin = end + kMarker.size();
  }
  return documents;
}

// A piece with the start token, if the model has one, cut to `window` tokens in all.
Tokens MakeWindow(const Tokenizer& tokenizer, std::span<const int32_t> ids, size_t window) {
  Tokens tokens;
  if (tokenizer.bos_id().has_value()) tokens.push_back(*tokenizer.bos_id());
  const auto piece = ids.first(std::min(ids.size(), window - tokens.size()));
  tokens.insert(tokens.end(), piece.begin(), piece.end());
  return tokens;
}

// What is evaluated: the start of each document, or all of a text without markers, window by
// window. At most `limit` of them.
absl::StatusOr<std::vector<Tokens>> MakeWindows(const Tokenizer& tokenizer, std::string_view text,
                                                size_t window, size_t limit) {
  const bool running = text.find(kMarker) == text.npos;
  std::vector<std::string_view> documents = SplitDocuments(text);
  if (running) documents = {text};
  std::vector<Tokens> windows;
  for (const std::string_view document : documents) {
    if (windows.size() >= limit) break;
    TANDEM_ASSIGN_OR_RETURN(const Tokens ids, tokenizer.Encode(document, {.add_special = false}));
    std::span<const int32_t> rest = ids;
    const size_t step = window - (tokenizer.bos_id().has_value() ? 1 : 0);
    do {
      Tokens tokens = MakeWindow(tokenizer, rest, window);
      if (tokens.size() >= 2) windows.push_back(std::move(tokens));
      rest = rest.subspan(std::min(rest.size(), step));
    } while (running && !rest.empty() && windows.size() < limit);
  }
  return windows;
}

// -log softmax(logits)[target], in nats.
double NegativeLogLikelihood(std::span<const float> logits, int32_t target) {
  const double most = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  return most + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(target)]);
}

// The sum over all tokens but the first.
absl::StatusOr<double> Evaluate(Session& session, const Tokens& tokens, size_t vocab) {
  session.Reset();
  double sum = 0;
  const size_t predicted = tokens.size() - 1;
  for (size_t begin = 0; begin < predicted; begin += kChunk) {
    const size_t count = std::min(kChunk, predicted - begin);
    TANDEM_ASSIGN_OR_RETURN(const std::vector<float> logits,
                            session.Evaluate(std::span(tokens).subspan(begin, count)));
    for (size_t i = 0; i < count; ++i) {
      sum +=
          NegativeLogLikelihood(std::span(logits).subspan(i * vocab, vocab), tokens[begin + i + 1]);
    }
  }
  if (!std::isfinite(sum)) return absl::InternalError("the model gave logits that are not finite");
  return sum;
}

absl::StatusOr<int> Perplexity(PerplexityFlags flags) {
  TANDEM_ASSIGN_OR_RETURN(const std::string text, ReadAll(flags.file));
  if (flags.engine.context == 0) flags.engine.context = kDefaultWindow;
  if (flags.engine.context < 2) {
    return absl::InvalidArgumentError("a context of 1 token leaves nothing to predict (--ctx)");
  }
  EngineOptions options = ToEngineOptions(flags.engine);
  options.all_logits = true;
  TANDEM_ASSIGN_OR_RETURN(const auto engine, OpenEngine(flags.model, options));
  const Tokenizer* tokenizer = engine->model().tokenizer();
  if (tokenizer == nullptr) {
    return absl::FailedPreconditionError(flags.model + " has no tokenizer");
  }
  const size_t limit = flags.documents == 0 ? text.size() : static_cast<size_t>(flags.documents);
  TANDEM_ASSIGN_OR_RETURN(
      const std::vector<Tokens> windows,
      MakeWindows(*tokenizer, text, static_cast<size_t>(flags.engine.context), limit));
  if (windows.empty()) return absl::InvalidArgumentError(flags.file + " has nothing to predict");
  TANDEM_ASSIGN_OR_RETURN(const auto session, engine->NewSession());
  const auto vocab = static_cast<size_t>(engine->model().config().vocab);
  double sum = 0;
  size_t predicted = 0;
  for (size_t i = 0; i < windows.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(const double part, Evaluate(*session, windows[i], vocab));
    sum += part;
    predicted += windows[i].size() - 1;
    PrintNote(absl::StrFormat("%d/%d  %d tokens  perplexity %.5f", i + 1, windows.size(), predicted,
                              std::exp(sum / static_cast<double>(predicted))));
  }
  TANDEM_RETURN_IF_ERROR(WriteOut(absl::StrFormat("tokens %d\nperplexity %.5f\n", predicted,
                                                  std::exp(sum / static_cast<double>(predicted)))));
  return kExitOk;
}

}  // namespace

Action SetUpPerplexity(CLI::App& app) {
  auto flags = std::make_shared<PerplexityFlags>();
  app.add_option("MODEL", flags->model, "A GGUF file or a Hugging Face folder")->required();
  app.add_option("--file", flags->file, "The text; - is standard input")
      ->required()
      ->type_name("FILE");
  app.add_option("--documents", flags->documents, "Most documents (or windows); 0: all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40).description(""))
      ->type_name("N");
  AddEngineFlags(app, flags->engine);
  app.footer(R"(
A text with markers <|endoftext|> is a list of documents: of each, the start token and the first
tokens that fit --ctx (here 512 unless given) are evaluated on their own. A text without markers is
cut into windows of that size. The perplexity is exp(mean negative log likelihood) of all tokens but
the first of each document or window; it is the last line of the output.

Example:
  tandem perplexity model.gguf --file heldout.txt --documents 64)");
  return [flags] { return Perplexity(*flags); };
}

}  // namespace tandem
