#include "runtime/chat.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "runtime/jinja/text.h"

namespace tandem {

absl::StatusOr<std::string> RenderChat(const ChatTemplate& chat_template,
                                       std::span<const ChatMessage> messages,
                                       const ChatOptions& options) {
  // Keeps the order of keys, which templates that print whole messages show.
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const ChatMessage& message : messages) {
    if (!jinja::IsValidUtf8(message.role) || !jinja::IsValidUtf8(message.content)) {
      return absl::InvalidArgumentError(
          absl::StrCat("chat message ", json.size() + 1, " is no valid UTF-8"));
    }
    json.push_back({{"role", message.role}, {"content", message.content}});
  }
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
  if (options.enable_thinking) variables["enable_thinking"] = *options.enable_thinking;
  const std::string messages_json = json.dump();
  const std::string variables_json = variables.dump();
  ChatTemplateInputs inputs;
  inputs.messages_json = messages_json;
  inputs.variables_json = variables_json;
  inputs.bos_token = options.bos_token;
  inputs.eos_token = options.eos_token;
  inputs.add_generation_prompt = options.add_generation_prompt;
  inputs.now = options.now;
  return chat_template.Render(inputs);
}

}  // namespace tandem
