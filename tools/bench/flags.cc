#include "tools/bench/flags.h"

#include "CLI/CLI.hpp"

namespace tandem {
namespace {

constexpr int kRepetitions = 3;
constexpr double kSecondsOfSmallTests = 0.4;

template <typename T>
CLI::Option* AddList(CLI::App& app, const char* names, std::vector<T>& values, const char* help) {
  return app.add_option(names, values, help)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("N,...");
}

void AddTests(CLI::App& app, BenchFlags& flags) {
  const auto tokens = CLI::Range(int64_t{0}, int64_t{1} << 30).description("");
  AddList(app, "-p,--prompt-tokens", flags.prompts, "Prompts to time, in tokens; 0: none")
      ->check(tokens)
      ->default_str("512,2048");
  AddList(app, "-n,--max-tokens", flags.generations, "Generations to time, in tokens; 0: none")
      ->check(tokens)
      ->default_str("128");
  AddList(app, "-d,--depth", flags.depths, "Tokens in the context before, not timed")
      ->check(tokens)
      ->default_str("0,4096,16384");
  app.add_flag("--sweep", flags.request.sweep,
               "Time at all depths from 0 to the largest, a prompt apart");
  AddList(app, "--parallel", flags.request.parallel,
          "Sessions that generate side by side; their speeds are added")
      ->check(CLI::Range(1, 4096).description(""))
      ->default_str("1");
  app.add_option("-r,--repetitions", flags.repetitions, "How often each test is timed")
      ->check(CLI::Range(1, 1000).description(""))
      ->default_str("3")
      ->type_name("N");
}

void AddSettings(CLI::App& app, BenchFlags& flags) {
  AddList(app, "--device", flags.request.devices,
          "Where to run, one after the other; a+b is one that runs on both, best first")
      ->default_str("cpu")
      ->type_name("NAME,...");
  AddList(app, "--threads", flags.request.threads, "CPU threads; 0: one for each core")
      ->check(CLI::Range(0, 512).description(""))
      ->default_str("0");
  AddList(app, "--micro-batch", flags.request.micro_batches, "Most tokens of a step")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20).description(""))
      ->default_str("2048");
  AddList(app, "--kv-type", flags.request.kv_types, "Number formats of the KV cache")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0", "q4_0"}))
      ->default_str("f16")
      ->type_name("TYPE,...");
  app.add_option("--kq-limit", flags.kq_limit, "Most memory for temporaries of attention")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30).description(""))
      ->type_name("MiB");
}

void AddOutputs(CLI::App& app, BenchFlags& flags) {
  CLI::Option* json =
      app.add_flag("--json", flags.json, "Print one JSON object per line: a test each");
  app.add_flag("--csv", flags.csv, "Print comma-separated values with a line of names")
      ->excludes(json);
  app.add_flag("--profile", flags.profile,
               "After each test run it once more and tell the time of each kernel (CUDA)")
      ->excludes(json)
      ->excludes("--csv");
  app.add_option("--plot", flags.plot, "Write the speed along the context as a chart")
      ->type_name("FILE.svg");
}

template <typename T>
std::vector<T> Or(const std::vector<T>& asked, const std::vector<T>& otherwise) {
  return asked.empty() ? otherwise : asked;
}

}  // namespace

void AddBenchFlags(CLI::App& app, BenchFlags& flags) {
  CLI::Option* model = app.add_option(
      "MODEL", flags.model,
      "A GGUF file or a Hugging Face folder; without it, the small model that comes along");
  CLI::Option* synthetic =
      app.add_option("--synthetic", flags.synthetic,
                     "Instead of a MODEL: random weights of TYPE in the shape of a config.json")
          ->excludes(model)
          ->type_name("CONFIG.json:TYPE");
  app.add_option("--layers", flags.layers, "Layers of the synthetic model; 0: all")
      ->needs(synthetic)
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 16).description(""))
      ->type_name("N");
  AddTests(app, flags);
  AddSettings(app, flags);
  AddOutputs(app, flags);
  app.footer(R"(
Each value of a list is combined with each of the others. A test runs once before it is timed; the
speed is that of the median repetition, beside the slowest and the fastest. ppN@dM is a prompt of N
tokens, up to the logits of its last token, after M others; tgN@dM a generation of N tokens. MB and
Mflop are what a token has to move and compute at least; "of max" is the part, in per cent, of what this machine
can do (tandem machine) where the test comes closest: reading memory, or multiplying.
First the logits of 64 tokens are compared with those of the reference device (by the first two
layers alone if the model is above 256 MB). If they differ by more than 0.001 (f32, f16 or bf16
weights and an f32 cache), 0.01 (f16 or bf16 cache), 0.03 (quantised) or 0.1 (quantised, with
experts), there are no figures and the exit code is 1.
Without a MODEL: -p 128,512 -n 64 -d 0,1024, and repetitions of a test end after 0.4 seconds.

Examples:
  tandem bench
  tandem bench model.gguf -p 512 -n 32 --threads 1,2,4 --json
  tandem bench model.gguf -p 1024 -n 16 -d 16384 --sweep --plot speed.svg)");
}

void ApplyDefaults(BenchFlags& flags) {
  const bool small = flags.model.empty() && flags.synthetic.empty();
  using Sizes = std::vector<int64_t>;
  flags.request.prompts = Or(flags.prompts, small ? Sizes{128, 512} : Sizes{512, 2048});
  flags.request.generations = Or(flags.generations, small ? Sizes{64} : Sizes{128});
  flags.request.depths = Or(flags.depths, small ? Sizes{0, 1024} : Sizes{0, 4096, 16384});
  flags.repeat.repetitions = flags.repetitions.value_or(kRepetitions);
  flags.repeat.most_seconds = small && !flags.repetitions.has_value() ? kSecondsOfSmallTests : 0;
}

}  // namespace tandem
