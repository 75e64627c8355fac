// The command line tool: finds the sub-command and reports its errors.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "CLI/CLI.hpp"
#include "runtime/quoted.h"
#include "tools/command.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

constexpr Command kCommands[] = {
    {"run", "Generate text, or chat with a model", &SetUpRun},
    {"inspect", "Show what is in a model file", &SetUpInspect},
    {"tokenize", "Turn text into tokens, or back", &SetUpTokenize},
    {"perplexity", "Measure how well a model predicts a text", &SetUpPerplexity},
    {"logits", "Write a model's logits after each token to a file", &SetUpLogits},
    {"convert", "Turn a Hugging Face folder into a GGUF file", &SetUpConvert},
    {"quantize", "Make a GGUF file smaller", &SetUpQuantize},
    {"synthesize", "Write a GGUF file with the shape of a model and random weights",
     &SetUpSynthesize},
    {"devices", "List what models can run on", &SetUpDevices},
    {"bench", "Measure how fast a model runs", &SetUpBench},
    {"kernels", "Compile the kernels of GPUs ahead of time", &SetUpKernels},
    {"machine", "Measure what this machine can do at best", &SetUpMachine},
    {"check-device", "Compare a device's kernels with the reference", &SetUpCheckDevice},
};

constexpr std::string_view kExamples = R"(
Examples:
  tandem run                                    a story by the small model that comes along
  tandem run model.gguf -p "The sea is" -n 100  go on from a text
  tandem run model.gguf --chat                  a conversation
  tandem inspect model.gguf                     what is in a model file
  tandem COMMAND --help                         all flags of a command
A MODEL is a GGUF file (any part of a split one) or a folder with config.json and safetensors.)";

// CLI11 reads "-amb" as three flags of one letter.
std::vector<const char*> Arguments(int argc, char** argv) {
  std::vector<const char*> arguments;
  for (int i = 0; i < argc; ++i) {
    const bool amb = std::string_view(argv[i]) == "-amb";
    arguments.push_back(amb ? "--kq-limit" : argv[i]);
  }
  return arguments;
}

int Finish(const absl::Status& status, int code) {
  if (status.ok()) return code;
  PrintNote(ErrorLine(status));
  return kExitFailure;
}

// CLI11 would only say that a command is missing.
bool IsUnknownCommand(int argc, char** argv) {
  if (argc < 2 || *argv[1] == '-') return false;
  return std::ranges::none_of(kCommands, [argv](const Command& command) {
    return std::string_view(argv[1]) == command.name;
  });
}

int UsageError(std::string_view message) {
  PrintNote("tandem: " + OneLine(message) + " (see tandem --help)");
  return kExitUsage;
}

int Main(int argc, char** argv) {
  CLI::App app("Runs large language models on CPUs and GPUs.", "tandem");
  app.footer(std::string(kExamples));
  app.set_version_flag("--version", "tandem " TANDEM_VERSION);
  app.set_help_flag("-h,--help", "Print this and exit");
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();
  Action action;
  for (const Command& command : kCommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    sub->final_callback([&action, chosen = command.set_up(*sub)] { action = chosen; });
  }
  if (IsUnknownCommand(argc, argv)) {
    return UsageError("there is no command " + Quoted(argv[1]));
  }
  const std::vector<const char*> arguments = Arguments(argc, argv);
  try {
    app.parse(static_cast<int>(arguments.size()), arguments.data());
  } catch (const CLI::Success& success) {  // --help and --version
    std::ostringstream text;
    app.exit(success, text, text);
    return Finish(WriteOut(text.str()), kExitOk);
  } catch (const CLI::Error& error) {
    return UsageError(error.what());
  }
  const absl::StatusOr<int> code = action();
  return Finish(code.status(), code.value_or(kExitFailure));
}

// A standard stream that the caller closed must not become a model file by having its number free.
void FillStandardStreams() {
  int file = 0;
  while ((file = open("/dev/null", O_RDONLY)) >= 0 && file <= STDERR_FILENO) continue;
  if (file > STDERR_FILENO) close(file);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  tandem::FillStandardStreams();
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is a failed write
  try {
    return tandem::Main(argc, argv);
  } catch (const std::bad_alloc&) {
    tandem::PrintNote("tandem: out of memory");
    return tandem::kExitFailure;
  }
}
