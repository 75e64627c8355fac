// What `run` does with a prompt, once or in each turn of a conversation: generate, print, report.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine.h"

namespace CLI {
class App;
}

namespace tandem {

struct GenerationFlags {
  GenerateOptions options = {
      .max_tokens = 256, .sampler = {.temperature = 0.8f, .top_p = 0.95f}, .stop = {}};
  std::optional<uint64_t> seed;
  bool json = false;
};

// -n, the sampler's flags, --stop and --json. `flags` must outlive the parsing.
void AddGenerationFlags(CLI::App& app, GenerationFlags& flags);

// The options with a random seed where none was given. InvalidArgument, naming the option, for one
// that the sampler refuses.
absl::StatusOr<GenerateOptions> ToGenerateOptions(const GenerationFlags& flags);

// A generation and its measures.
struct Report {
  GenerateResult result;
  double first_token_seconds = 0.0;  // from the start; 0 if there was none
  bool interrupted = false;
};

// Generates after `prompt`, printing each token as it comes, as text or as an object of JSON.
// Ctrl-C ends it early. Unavailable if the output cannot be written.
absl::StatusOr<Report> GenerateAndPrint(Session& session, std::span<const int32_t> prompt,
                                        const GenerateOptions& options, bool json);

// The report for a person: speeds, and the memory of the engine and the process.
std::string ReportText(const Report& report, const Engine& engine, uint64_t seed);

// The same as one line of JSON, with its line end.
std::string ReportJson(const Report& report, const Engine& engine, uint64_t seed);

}  // namespace tandem
