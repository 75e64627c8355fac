#include "runtime/session.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "backends/device/status.h"
#include "runtime/engine.h"
#include "runtime/step_queue.h"
#include "runtime/stop_detector.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Turns ids into text as they come, and finds the reason to stop.
class Output {
 public:
  Output(const Tokenizer* tokenizer, const GenerateOptions& options, const TokenCallback& callback)
      : tokenizer_(tokenizer), options_(options), callback_(callback), stops_(options.stop) {
    if (tokenizer != nullptr) decoder_.emplace(*tokenizer);
  }

  // True if generation ends with this token.
  bool Put(int32_t id, GenerateResult& result) {
    const bool end = tokenizer_ != nullptr && tokenizer_->IsEndOfGeneration(id);
    if (end && !options_.ignore_end) {
      result.reason = StopReason::kEndToken;
      return true;
    }
    result.tokens.push_back(id);
    const std::string text = stops_.Put(decoder_.has_value() ? decoder_->Put(id) : "");
    if (stops_.found()) result.reason = StopReason::kStopText;
    return !Give({id, text}, result) || stops_.found();
  }

  // Gives out what was held back.
  void Finish(GenerateResult& result) {
    std::string text =
        stops_.found() ? "" : stops_.Put(decoder_.has_value() ? decoder_->Finish() : "");
    if (!stops_.found()) text += stops_.Finish();
    if (!text.empty()) Give({result.tokens.empty() ? -1 : result.tokens.back(), text}, result);
  }

 private:
  bool Give(const Token& token, GenerateResult& result) {
    result.text.append(token.text);
    if (!callback_ || callback_(token)) return true;
    result.reason = StopReason::kCallback;
    return false;
  }

  const Tokenizer* tokenizer_;
  const GenerateOptions& options_;
  const TokenCallback& callback_;
  StopDetector stops_;
  std::optional<StreamDecoder> decoder_;
};

}  // namespace

Session::Session(std::shared_ptr<Engine> engine, std::unique_ptr<Sequence> sequence)
    : engine_(std::move(engine)), sequence_(std::move(sequence)) {}

Session::~Session() {
  Reset();
  engine_->open_sessions_.fetch_sub(1);
}

void Session::Reset() { engine_->queue_->Release(*sequence_); }

void Session::Truncate(int64_t tokens) {
  const auto size = static_cast<int64_t>(sequence_->tokens.size());
  const int64_t keep = std::clamp<int64_t>(tokens, 0, size);
  sequence_->tokens.resize(static_cast<size_t>(keep));
  sequence_->cached = std::min(sequence_->cached, keep);
}

const std::vector<int32_t>& Session::history() const { return sequence_->tokens; }

absl::Status Session::CheckPrompt(std::span<const int32_t> prompt) const {
  const int64_t vocab = engine_->model().config().vocab;
  for (const int32_t id : prompt) {
    if (id < 0 || id >= vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", id, " is not in the vocabulary of ", vocab));
    }
  }
  const int64_t total = static_cast<int64_t>(sequence_->tokens.size() + prompt.size());
  const int64_t context = engine_->options().context;
  if (total > context) {
    return absl::ResourceExhaustedError(absl::StrCat("the conversation would have ", total,
                                                     " tokens, the context holds ", context));
  }
  return absl::OkStatus();
}

absl::Status Session::AppendPrompt(std::span<const int32_t> prompt) {
  TANDEM_RETURN_IF_ERROR(CheckPrompt(prompt));
  std::vector<int32_t>& tokens = sequence_->tokens;
  tokens.insert(tokens.end(), prompt.begin(), prompt.end());
  if (tokens.empty()) return absl::InvalidArgumentError("the conversation has no token yet");
  // The last token is run again if all of them were, since its logits are needed.
  sequence_->cached = std::min(sequence_->cached, static_cast<int64_t>(tokens.size()) - 1);
  return absl::OkStatus();
}

absl::StatusOr<GenerateResult> Session::Generate(std::string_view prompt,
                                                 const GenerateOptions& options,
                                                 const TokenCallback& callback,
                                                 bool parse_special) {
  const Tokenizer* tokenizer = engine_->model().tokenizer();
  if (tokenizer == nullptr) {
    return absl::FailedPreconditionError("the model has no tokenizer; give token ids");
  }
  const EncodeOptions encode = {.add_special = sequence_->tokens.empty(),
                                .parse_special = parse_special};
  TANDEM_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer->Encode(prompt, encode));
  return Generate(ids, options, callback);
}

absl::StatusOr<GenerateResult> Session::Generate(std::span<const int32_t> prompt,
                                                 const GenerateOptions& options,
                                                 const TokenCallback& callback) {
  if (options.max_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot generate ", options.max_tokens, " tokens"));
  }
  TANDEM_ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(options.sampler));
  TANDEM_RETURN_IF_ERROR(AppendPrompt(prompt));
  std::vector<int32_t>& tokens = sequence_->tokens;
  cancelled_.store(false, std::memory_order_relaxed);
  GenerateResult result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  Output output(engine_->model().tokenizer(), options, callback);
  std::vector<float> logits;
  const StepRequest request = {sequence_.get(), LogitsWanted::kLast, &logits, &cancelled_};
  auto start = Clock::now();
  for (int64_t i = 0; i < options.max_tokens || i == 0; ++i) {
    const absl::Status status = engine_->queue_->Submit(request);
    if (i == 0) result.prompt_seconds = SecondsSince(std::exchange(start, Clock::now()));
    if (absl::IsCancelled(status)) {
      // Tokens that did not run are not part of the conversation.
      tokens.resize(static_cast<size_t>(sequence_->cached));
      result.reason = StopReason::kCancelled;
      break;
    }
    TANDEM_RETURN_IF_ERROR(status);
    if (options.max_tokens == 0) break;
    TANDEM_ASSIGN_OR_RETURN(const int32_t id, sampler.Sample(logits, tokens));
    const bool stop = output.Put(id, result);
    if (result.reason == StopReason::kEndToken) break;
    if (static_cast<int64_t>(tokens.size()) == engine_->options().context) {
      if (!stop && i + 1 < options.max_tokens) result.reason = StopReason::kContextFull;
      break;
    }
    tokens.push_back(id);
    if (stop) break;
  }
  output.Finish(result);
  result.generate_seconds = SecondsSince(start);
  return result;
}

absl::Status Session::CheckTurns(std::span<const Turn> turns) {
  for (size_t i = 0; i < turns.size(); ++i) {
    const Session& session = *turns[i].session;
    if (session.engine_ != turns[0].session->engine_) {
      return absl::InvalidArgumentError("turns of sessions of different engines");
    }
    if (std::ranges::count(turns, turns[i].session, &Turn::session) != 1) {
      return absl::InvalidArgumentError("two turns of the same session");
    }
    if (turns[i].tokens.empty()) return absl::InvalidArgumentError("a turn without tokens");
    TANDEM_RETURN_IF_ERROR(session.CheckPrompt(turns[i].tokens));
  }
  return absl::OkStatus();
}

absl::Status Session::RunTogether(std::span<const Turn> turns) {
  if (turns.empty()) return absl::OkStatus();
  TANDEM_RETURN_IF_ERROR(CheckTurns(turns));
  std::vector<StepRequest> requests;
  for (const Turn& turn : turns) {
    Session& session = *turn.session;
    TANDEM_RETURN_IF_ERROR(session.AppendPrompt(turn.tokens));
    requests.push_back({session.sequence_.get(), LogitsWanted::kLast, turn.logits, nullptr});
  }
  return turns[0].session->engine_->queue_->Submit(requests);
}

absl::StatusOr<std::vector<float>> Session::Evaluate(std::span<const int32_t> ids) {
  if (!engine_->options().all_logits) {
    return absl::FailedPreconditionError("the engine was opened without all_logits");
  }
  TANDEM_RETURN_IF_ERROR(CheckPrompt(ids));
  std::vector<float> logits;
  if (ids.empty()) return logits;
  // A token that was generated last has not run yet; its row is not asked for.
  if (sequence_->cached < static_cast<int64_t>(sequence_->tokens.size())) {
    TANDEM_RETURN_IF_ERROR(
        engine_->queue_->Submit({sequence_.get(), LogitsWanted::kNone, nullptr, nullptr}));
  }
  sequence_->tokens.insert(sequence_->tokens.end(), ids.begin(), ids.end());
  TANDEM_RETURN_IF_ERROR(
      engine_->queue_->Submit({sequence_.get(), LogitsWanted::kAll, &logits, nullptr}));
  return logits;
}

}  // namespace tandem
