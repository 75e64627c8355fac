// Chat templates: the small Jinja programs that come with a model and turn a conversation into the
// text of its prompt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tandem {

namespace jinja {
struct Template;
}

// What one rendering may cost. Templates come from model files and are not trusted.
struct ChatTemplateLimits {
  uint64_t max_steps = 10'000'000;             // evaluated nodes, and work in proportion to sizes
  uint64_t max_allocated_bytes = 1ull << 30;   // sum over all strings and lists ever built
  size_t max_output_bytes = size_t{64} << 20;  // of the result
  int max_depth = 800;                         // nested evaluation; about 1 KB of stack per level
};

// What a template sees. The views must stay valid during the call only.
struct ChatTemplateInputs {
  std::string_view messages_json;        // an array of objects: role, content, tool_calls, ...
  std::string_view tools_json;           // empty: `tools` is none
  std::string_view variables_json;       // empty, or an object: enable_thinking, documents, ...
  std::optional<std::string> bos_token;  // absent: undefined in the template
  std::optional<std::string> eos_token;
  bool add_generation_prompt = false;
  std::optional<std::tm> now;  // local time for strftime_now; absent: calling it is an error
  ChatTemplateLimits limits;
};

// A parsed template. Immutable: one object may render on several threads at once.
//
// The language is Jinja 3.1 as the Hugging Face libraries set it up for chat templates: an
// immutable sandbox, trim_blocks, lstrip_blocks, loop controls, the `generation` tag, `tojson`
// that does not escape, and the functions raise_exception and strftime_now. Not supported are the
// tags that need other templates (extends, include, import, block), autoescape, and integers
// beyond 64 bits.
//
//   TANDEM_ASSIGN_OR_RETURN(ChatTemplate chat_template, ChatTemplate::Parse(source));
//   TANDEM_ASSIGN_OR_RETURN(std::string prompt, chat_template.Render({.messages_json = json}));
class ChatTemplate {
 public:
  // Parses `source` (UTF-8). InvalidArgument, with the line, where it is no valid template.
  static absl::StatusOr<ChatTemplate> Parse(std::string source);

  // The prompt for `inputs`. InvalidArgument, with the line, where the template fails or calls
  // raise_exception; ResourceExhausted where a limit is met.
  absl::StatusOr<std::string> Render(const ChatTemplateInputs& inputs) const;

 private:
  explicit ChatTemplate(std::shared_ptr<const jinja::Template> parsed)
      : parsed_(std::move(parsed)) {}

  std::shared_ptr<const jinja::Template> parsed_;
};

}  // namespace tandem
