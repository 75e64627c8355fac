#include "tools/chat.h"

#include <algorithm>
#include <ctime>
#include <iostream>
#include <utility>
#include <vector>

#include "backends/device/status.h"
#include "runtime/chat.h"
#include "tools/command.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

std::optional<std::string> SpecialText(const Tokenizer& tokenizer, std::optional<int32_t> id) {
  const std::vector<std::string>& tokens = tokenizer.spec().tokens;
  if (!id.has_value() || *id < 0 || static_cast<size_t>(*id) >= tokens.size()) return std::nullopt;
  return tokens[static_cast<size_t>(*id)];
}

class Conversation {
 public:
  Conversation(const Engine& engine, Session& session, ChatTemplate chat_template)
      : engine_(engine), session_(session), template_(std::move(chat_template)) {}

  void Restart(const std::string& system) {
    session_.Reset();
    messages_.clear();
    if (!system.empty()) messages_.push_back({"system", system});
  }

  // One turn. After an error the conversation is as it was before.
  absl::StatusOr<Report> Say(const std::string& message, const GenerateOptions& options,
                             bool json) {
    messages_.push_back({"user", message});
    absl::StatusOr<Report> report = Answer(options, json);
    if (report.ok()) {
      messages_.push_back({"assistant", report->result.text});
    } else {
      messages_.pop_back();
      session_.Reset();
    }
    return report;
  }

 private:
  // Renders the whole conversation, and runs only what the session has not seen of it.
  absl::StatusOr<Report> Answer(const GenerateOptions& options, bool json) {
    const Tokenizer& tokenizer = *engine_.model().tokenizer();
    const std::time_t now = std::time(nullptr);
    std::tm local = {};
    localtime_r(&now, &local);
    TANDEM_ASSIGN_OR_RETURN(const std::string prompt,
                            RenderChat(template_, messages_,
                                       {.bos_token = SpecialText(tokenizer, tokenizer.bos_id()),
                                        .eos_token = SpecialText(tokenizer, tokenizer.eos_id()),
                                        .now = local}));
    // The template writes the start token itself where the model wants one.
    TANDEM_ASSIGN_OR_RETURN(
        const std::vector<int32_t> ids,
        tokenizer.Encode(prompt, {.add_special = false, .parse_special = true}));
    const auto known = std::ranges::mismatch(ids, session_.history()).in1;
    session_.Truncate(known - ids.begin());
    return GenerateAndPrint(
        session_, std::span(ids).subspan(static_cast<size_t>(known - ids.begin())), options, json);
  }

  const Engine& engine_;
  Session& session_;
  ChatTemplate template_;
  std::vector<ChatMessage> messages_;
};

absl::StatusOr<ChatTemplate> ReadTemplate(const Model& model) {
  if (model.tokenizer() == nullptr || model.tokenizer()->chat_template().empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        model.path(), " has no chat template, so it cannot chat; run it without --chat"));
  }
  auto parsed = ChatTemplate::Parse(model.tokenizer()->chat_template());
  return parsed.ok() ? std::move(parsed) : Annotate(parsed.status(), "the model's chat template");
}

bool ReadMessage(std::string& message) {
  if (IsTerminal(StandardStream::kIn)) std::cerr << "> " << std::flush;
  return static_cast<bool>(std::getline(std::cin, message));
}

}  // namespace

absl::StatusOr<int> Chat(const Engine& engine, Session& session, const GenerateOptions& options,
                         bool json, const ChatFlags& flags) {
  TANDEM_ASSIGN_OR_RETURN(ChatTemplate chat_template, ReadTemplate(engine.model()));
  Conversation conversation(engine, session, std::move(chat_template));
  conversation.Restart(flags.system);
  if (IsTerminal(StandardStream::kIn)) {
    PrintNote("/reset starts anew, /quit ends, Ctrl-C stops an answer.");
  }
  std::string message = flags.first_message;
  for (bool more = !message.empty() || ReadMessage(message); more; more = ReadMessage(message)) {
    if (message == "/quit") break;
    if (message == "/reset") {
      conversation.Restart(flags.system);
      continue;
    }
    if (message.empty()) continue;
    auto report = conversation.Say(message, options, json);
    if (absl::IsResourceExhausted(report.status())) {
      PrintNote(ErrorLine(report.status()) + "; /reset starts anew");
      continue;
    }
    TANDEM_RETURN_IF_ERROR(report.status());
    TANDEM_RETURN_IF_ERROR(
        WriteOut(json ? ReportJson(*report, engine, options.sampler.seed) : "\n"));
    if (report->result.reason == StopReason::kContextFull) {
      PrintNote("tandem: the context is full; /reset starts anew");
    }
  }
  return kExitOk;
}

}  // namespace tandem
