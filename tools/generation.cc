#include "tools/generation.h"

#include <sys/random.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "backends/device/status.h"
#include "tools/interrupt.h"
#include "tools/json.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

// 32 bits, so that a person can type them.
uint64_t RandomSeed() {
  uint32_t seed = 0;
  if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed)) return seed;
  return static_cast<uint32_t>(Clock::now().time_since_epoch().count());
}

std::string_view ReasonText(StopReason reason) {
  switch (reason) {
    case StopReason::kMaxTokens:
      return "max_tokens";
    case StopReason::kEndToken:
      return "end_token";
    case StopReason::kStopText:
      return "stop_text";
    case StopReason::kCallback:
    case StopReason::kCancelled:
      return "interrupted";
    case StopReason::kContextFull:
      return "context_full";
  }
  return "";
}

double Rate(int64_t count, double seconds) {
  return count > 0 && seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
}

double PromptRate(const GenerateResult& result) {
  return Rate(result.prompt_tokens, result.prompt_seconds);
}

// The first token comes out of the prompt's step; an end token takes a step, but does not count.
double GenerateRate(const GenerateResult& result) {
  const auto tokens = static_cast<int64_t>(result.tokens.size());
  const int64_t steps = result.reason == StopReason::kEndToken ? tokens : tokens - 1;
  return Rate(steps, result.generate_seconds);
}

int64_t PeakResidentBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;  // in KiB on Linux
}

}  // namespace

void AddGenerationFlags(CLI::App& app, GenerationFlags& flags) {
  GenerateOptions& options = flags.options;
  SamplerOptions& sampler = options.sampler;
  app.add_option("-n,--max-tokens", options.max_tokens,
                 "Most tokens to generate; 0: only evaluate the prompt")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40).description(""))
      ->type_name("N");
  app.add_option("--temp", sampler.temperature,
                 "Temperature; 0: always the most likely token, more: more surprising")
      ->type_name("X");
  app.add_option("--top-k", sampler.top_k, "Choose among the K most likely tokens; 0: all")
      ->type_name("K");
  app.add_option("--top-p", sampler.top_p,
                 "Choose among the fewest tokens whose probabilities reach P")
      ->type_name("P");
  app.add_option("--min-p", sampler.min_p,
                 "Drop tokens below P times the probability of the most likely one")
      ->type_name("P");
  app.add_option("--repeat-penalty", sampler.repeat_penalty,
                 "Make the last 64 tokens less likely; 1: do not")
      ->type_name("X");
  app.add_option("--seed", flags.seed, "Start of the random numbers; random unless given")
      ->type_name("N");
  app.add_option("--stop", options.stop, "Stop before this text; may be given several times")
      ->allow_extra_args(false)
      ->default_str("")
      ->type_name("TEXT");
  app.add_flag("--json", flags.json, "Print one JSON object per line: each token, then the report");
}

absl::StatusOr<GenerateOptions> ToGenerateOptions(const GenerationFlags& flags) {
  GenerateOptions options = flags.options;
  options.sampler.seed = flags.seed.has_value() ? *flags.seed : RandomSeed();
  TANDEM_RETURN_IF_ERROR(Sampler::Create(options.sampler).status());
  return options;
}

absl::StatusOr<Report> GenerateAndPrint(Session& session, std::span<const int32_t> prompt,
                                        const GenerateOptions& options, bool json) {
  const InterruptScope interrupt(session);
  const bool terminal = IsTerminal(StandardStream::kOut);
  Report report;
  absl::Status written;
  const Clock::time_point start = Clock::now();
  const auto print = [&](const Token& token) {
    if (report.first_token_seconds == 0.0) {
      report.first_token_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    }
    if (json) {
      written =
          WriteOut(JsonText({{"type", "token"}, {"id", token.id}, {"text", token.text}}) + "\n");
    } else {
      written = WriteOut(terminal ? TerminalSafe(token.text) : std::string(token.text));
    }
    return written.ok() && !interrupt.interrupted();
  };
  TANDEM_ASSIGN_OR_RETURN(report.result, session.Generate(prompt, options, print));
  TANDEM_RETURN_IF_ERROR(written);
  report.interrupted = interrupt.interrupted();
  return report;
}

std::string ReportText(const Report& report, const Engine& engine, uint64_t seed) {
  const GenerateResult& result = report.result;
  std::string text = absl::StrFormat(
      "prompt       %d tokens, %.1f tokens/s\n"
      "generated    %d tokens, %.1f tokens/s\n",
      result.prompt_tokens, PromptRate(result), result.tokens.size(), GenerateRate(result));
  if (!result.tokens.empty()) {
    absl::StrAppendFormat(&text, "first token  after %.3f s\n", report.first_token_seconds);
  }
  for (const MemoryUse& use : engine.memory()) {
    absl::StrAppendFormat(&text, "memory       %s: weights %s, KV cache %s, activations %s\n",
                          use.device, BytesText(use.weights_mapped + use.weights_copied),
                          BytesText(use.kv_cache), BytesText(use.arena));
  }
  absl::StrAppendFormat(&text, "process      %s at most\nseed         %d",
                        BytesText(PeakResidentBytes()), seed);
  if (result.reason == StopReason::kContextFull) {
    absl::StrAppendFormat(&text, "\nstopped: the context of %d tokens is full (--ctx)",
                          engine.options().context);
  }
  return text;
}

std::string ReportJson(const Report& report, const Engine& engine, uint64_t seed) {
  const GenerateResult& result = report.result;
  Json memory = Json::array();
  for (const MemoryUse& use : engine.memory()) {
    memory.push_back({{"device", use.device},
                      {"weights_mapped_bytes", use.weights_mapped},
                      {"weights_copied_bytes", use.weights_copied},
                      {"kv_cache_bytes", use.kv_cache},
                      {"arena_bytes", use.arena}});
  }
  return JsonText({{"type", "report"},
                   {"stop_reason", ReasonText(result.reason)},
                   {"text", result.text},
                   {"prompt_tokens", result.prompt_tokens},
                   {"prompt_seconds", result.prompt_seconds},
                   {"prompt_tokens_per_second", PromptRate(result)},
                   {"generated_tokens", result.tokens.size()},
                   {"generate_seconds", result.generate_seconds},
                   {"generate_tokens_per_second", GenerateRate(result)},
                   {"first_token_seconds", report.first_token_seconds},
                   {"memory", std::move(memory)},
                   {"peak_resident_bytes", PeakResidentBytes()},
                   {"seed", seed}}) +
         "\n";
}

}  // namespace tandem
