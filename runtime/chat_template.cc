#include "runtime/chat_template.h"

#include <utility>

#include "backends/device/status.h"
#include "runtime/jinja/budget.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/parser.h"

namespace tandem {
namespace {

// The variables of a rendering, in the order in which later ones replace earlier ones.
absl::StatusOr<jinja::Dict> MakeVariables(const ChatTemplateInputs& inputs) {
  jinja::Dict variables;
  if (inputs.bos_token) variables.InsertText("bos_token", jinja::Value(*inputs.bos_token));
  if (inputs.eos_token) variables.InsertText("eos_token", jinja::Value(*inputs.eos_token));
  if (!inputs.variables_json.empty()) {
    TANDEM_ASSIGN_OR_RETURN(const jinja::Value extra,
                            jinja::ParseJson(inputs.variables_json, "the template variables"));
    if (!extra.dict()) {
      return absl::InvalidArgumentError("the template variables must be a JSON object, not " +
                                        extra.TypeName());
    }
    for (const auto& [name, value] : extra.dict()->items) {
      variables.InsertText(name.string()->text, value);
    }
  }
  TANDEM_ASSIGN_OR_RETURN(jinja::Value messages,
                          jinja::ParseJson(inputs.messages_json, "the messages"));
  if (!messages.list()) {
    return absl::InvalidArgumentError("the messages must be a JSON array, not " +
                                      messages.TypeName());
  }
  variables.InsertText("messages", std::move(messages));
  jinja::Value tools = jinja::None{};
  if (!inputs.tools_json.empty()) {
    TANDEM_ASSIGN_OR_RETURN(tools, jinja::ParseJson(inputs.tools_json, "the tools"));
  }
  variables.InsertText("tools", std::move(tools));
  variables.InsertText("add_generation_prompt", inputs.add_generation_prompt);
  return variables;
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(std::string source) {
  TANDEM_ASSIGN_OR_RETURN(auto parsed, jinja::ParseTemplate(source));
  return ChatTemplate(std::move(parsed));
}

absl::StatusOr<std::string> ChatTemplate::Render(const ChatTemplateInputs& inputs) const {
  TANDEM_ASSIGN_OR_RETURN(const jinja::Dict variables, MakeVariables(inputs));
  jinja::Budget budget(inputs.limits);
  return jinja::Interpreter(variables, inputs.now, budget).Render(*parsed_);
}

}  // namespace tandem
