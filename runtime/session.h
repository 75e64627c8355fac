// One conversation with a model.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/sampler.h"

namespace tandem {

class Engine;
struct Sequence;

struct Token {
  int32_t id = 0;
  std::string_view text;  // complete UTF-8 characters; may be empty while one is being made
};

struct GenerateOptions {
  int64_t max_tokens = 256;  // most tokens to generate; 0: run the prompt alone
  SamplerOptions sampler;
  std::vector<std::string> stop;  // texts that end the generation; they are not given out
  bool ignore_end = false;        // go on after an end-of-generation token
};

enum class StopReason { kMaxTokens, kEndToken, kStopText, kCallback, kCancelled, kContextFull };

struct GenerateResult {
  StopReason reason = StopReason::kMaxTokens;
  std::vector<int32_t> tokens;  // generated ones
  std::string text;
  int64_t prompt_tokens = 0;
  double prompt_seconds = 0.0;    // until the logits after the prompt
  double generate_seconds = 0.0;  // from there to the last token
};

class Session;

// What RunTogether does with one session.
struct Turn {
  Session* session = nullptr;
  std::span<const int32_t> tokens;       // appended to the conversation, at least one
  std::vector<float>* logits = nullptr;  // out: after the last token, [vocabulary]
};

// Called with each generated token; returning false stops.
using TokenCallback = std::function<bool(const Token&)>;

// Belongs to one thread at a time; Cancel alone may be called from any. Sessions of one engine run
// side by side, their tokens sharing steps.
class Session {
 public:
  ~Session();

  // Appends the prompt and the tokens of the result to the conversation; when the context is full,
  // or after Cancel, the last token of the result is left out. The text is encoded with the model's
  // tokenizer, with its start token if the conversation is new; `parse_special` reads special
  // tokens (chat templates). Errors: FailedPrecondition without a tokenizer, ResourceExhausted when
  // the prompt does not fit the context, the device's errors. After an error Reset must be called.
  absl::StatusOr<GenerateResult> Generate(std::string_view prompt, const GenerateOptions& options,
                                          const TokenCallback& callback,
                                          bool parse_special = false);
  // The same with token ids; an empty prompt goes on from where the conversation is.
  absl::StatusOr<GenerateResult> Generate(std::span<const int32_t> prompt,
                                          const GenerateOptions& options,
                                          const TokenCallback& callback);

  // Appends tokens and returns the logits after each of them, [tokens, vocabulary]. Needs
  // EngineOptions::all_logits.
  absl::StatusOr<std::vector<float>> Evaluate(std::span<const int32_t> tokens);

  // Runs turns of different sessions of one engine side by side, for a caller that samples by
  // itself: their tokens share steps, as those of sessions on several threads do. Errors:
  // InvalidArgument for a token that is not in the vocabulary, or sessions that do not belong
  // together; those of Generate. After an error of a step all of the sessions must be Reset.
  static absl::Status RunTogether(std::span<const Turn> turns);

  // Forgets the conversation.
  void Reset();
  // Forgets all but the first `tokens` tokens; more than there are keeps all.
  void Truncate(int64_t tokens);
  // Ends a running Generate after its current step; the next one is not affected.
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }

  // Tokens of the conversation.
  const std::vector<int32_t>& history() const;

 private:
  friend class Engine;
  Session(std::shared_ptr<Engine> engine, std::unique_ptr<Sequence> sequence);
  static absl::Status CheckTurns(std::span<const Turn> turns);
  absl::Status CheckPrompt(std::span<const int32_t> prompt) const;
  absl::Status AppendPrompt(std::span<const int32_t> prompt);

  std::shared_ptr<Engine> engine_;
  std::unique_ptr<Sequence> sequence_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace tandem
