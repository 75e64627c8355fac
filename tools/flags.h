// Flags that several sub-commands share.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine.h"

namespace CLI {
class App;
}  // namespace CLI

namespace tandem {

struct EngineFlags {
  std::vector<std::string> devices = {"cpu"};
  int threads = 0;
  int64_t context = 0;
  int64_t kq_limit = 256;  // MiB
  std::string kv_type = "f16";
};

// --device, --threads, --ctx, --kq-limit and --kv-type. `flags` must outlive the parsing.
void AddEngineFlags(CLI::App& app, EngineFlags& flags);

// The options that the flags ask for. The KV type was checked when it was parsed.
EngineOptions ToEngineOptions(const EngineFlags& flags);

// Opens the model, with a progress bar and the model's warnings on standard error.
absl::StatusOr<std::shared_ptr<Engine>> OpenEngine(const std::string& model, EngineOptions options);

// Text given as a flag, in a file, or on standard input.
struct TextFlags {
  std::optional<std::string> prompt;
  std::string file;

  // The text that was asked for, or that comes on standard input unless a person is there; "" if
  // there is none.
  absl::StatusOr<std::string> Read() const;
  bool given() const { return prompt.has_value() || !file.empty(); }
};

// -p and -f, of which one may be given.
void AddTextFlags(CLI::App& app, TextFlags& flags);

}  // namespace tandem
