// What a sub-command of `tandem` is.
#pragma once

#include <functional>

#include "absl/status/statusor.h"

namespace CLI {
class App;
}

namespace tandem {

// The work of a sub-command, run once its flags are parsed. Gives the exit code; an error is
// printed and makes it 1.
using Action = std::function<absl::StatusOr<int>()>;

constexpr int kExitOk = 0;
constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitInterrupted = 130;

// One row of the table in main.cc.
struct Command {
  const char* name;
  const char* summary;
  Action (*set_up)(CLI::App& app);  // adds the flags to `app`
};

Action SetUpBench(CLI::App& app);
Action SetUpCheckDevice(CLI::App& app);
Action SetUpConvert(CLI::App& app);
Action SetUpDevices(CLI::App& app);
Action SetUpInspect(CLI::App& app);
Action SetUpKernels(CLI::App& app);
Action SetUpLogits(CLI::App& app);
Action SetUpMachine(CLI::App& app);
Action SetUpPerplexity(CLI::App& app);
Action SetUpQuantize(CLI::App& app);
Action SetUpRun(CLI::App& app);
Action SetUpSynthesize(CLI::App& app);
Action SetUpTokenize(CLI::App& app);

}  // namespace tandem
