// The smallest program around the library: opens a model, generates, prints as tokens come.
//
//   embed MODEL PROMPT DEVICE...
#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/engine.h"

namespace {

constexpr int64_t kTokens = 8;

absl::Status Generate(tandem::Engine& engine, std::string_view prompt,
                      std::vector<int32_t>* tokens) {
  auto session = engine.NewSession();
  if (!session.ok()) return session.status();
  const tandem::GenerateOptions options = {.max_tokens = kTokens, .ignore_end = true};
  const auto print = [tokens](const tandem::Token& token) {
    tokens->push_back(token.id);
    std::cout << token.text << std::flush;
    return true;  // false would stop
  };
  const auto result = (*session)->Generate(prompt, options, print);
  std::cout << '\n';
  if (!result.ok()) return result.status();
  const bool whole = static_cast<int64_t>(tokens->size()) == kTokens && result->tokens == *tokens;
  return whole ? absl::OkStatus() : absl::InternalError("the callback did not see every token");
}

absl::Status Run(std::string_view model, std::string_view prompt,
                 const std::vector<std::string>& devices) {
  auto engine = tandem::Engine::Open(model, {.devices = devices, .context = 128});
  if (!engine.ok()) return engine.status();
  std::vector<int32_t> first, second;
  if (auto status = Generate(**engine, prompt, &first); !status.ok()) return status;
  if (auto status = Generate(**engine, prompt, &second); !status.ok()) return status;
  return first == second ? absl::OkStatus() : absl::InternalError("two runs gave different tokens");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: embed MODEL PROMPT DEVICE...\n";
    return 2;
  }
  const absl::Status status = Run(argv[1], argv[2], {argv + 3, argv + argc});
  if (!status.ok()) std::cerr << "embed: " << status << '\n';
  return status.ok() ? 0 : 1;
}
