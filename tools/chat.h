// `tandem run --chat`.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "tools/generation.h"

namespace tandem {

struct ChatFlags {
  std::string system;         // instructions before the conversation; may be empty
  std::string first_message;  // said by the user before anything is read; may be empty
};

// Reads messages from standard input, a line each, and prints the model's answers, until the input
// ends or says /quit. FailedPrecondition if the model has no chat template.
absl::StatusOr<int> Chat(const Engine& engine, Session& session, const GenerateOptions& options,
                         bool json, const ChatFlags& flags);

}  // namespace tandem
