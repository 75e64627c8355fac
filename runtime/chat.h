// The simple case of a chat template: messages of plain text.
#pragma once

#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/chat_template.h"

namespace tandem {

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
};

struct ChatOptions {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  bool add_generation_prompt = true;    // ends the prompt where the assistant is to go on
  std::optional<bool> enable_thinking;  // absent: as the template likes it
  std::optional<std::tm> now;           // local time, for templates that print the date
};

// The prompt that `chat_template` makes of `messages`. Errors as of ChatTemplate::Render, and
// InvalidArgument for text that is no valid UTF-8.
absl::StatusOr<std::string> RenderChat(const ChatTemplate& chat_template,
                                       std::span<const ChatMessage> messages,
                                       const ChatOptions& options);

}  // namespace tandem
