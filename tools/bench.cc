// `tandem bench`: how fast models run, and what part of what the machine can do that is.
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "backends/device/status.h"
#include "runtime/atomic_file.h"
#include "runtime/expert_load.h"
#include "tools/bench/check.h"
#include "tools/bench/flags.h"
#include "tools/bench/model.h"
#include "tools/bench/plan.h"
#include "tools/bench/plot.h"
#include "tools/bench/profile.h"
#include "tools/bench/report.h"
#include "tools/bench/runner.h"
#include "tools/command.h"
#include "tools/machine/cpu.h"
#include "tools/machine_cache.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

// The work of one call of the command.
class Bench {
 public:
  Bench(const BenchFlags& flags, BenchModel model) : flags_(flags), model_(std::move(model)) {}

  absl::StatusOr<int> Run() {
    TANDEM_ASSIGN_OR_RETURN(const BenchPlan plan,
                            PlanBench(flags_.request, CpuCores(), model_.model->config().context));
    if (!plan.left_out.empty()) {
      PrintNote(absl::StrCat("tandem: left out, as the model's context is ",
                             model_.model->config().context,
                             " tokens: ", absl::StrJoin(plan.left_out, ", ")));
    }
    MeasureCeilings(plan);
    TANDEM_RETURN_IF_ERROR(WriteOut(Heading()));
    if (model_.synthetic) TANDEM_RETURN_IF_ERROR(ShowExpertLoad(plan));
    if (flags_.csv) TANDEM_RETURN_IF_ERROR(WriteOut(CsvHeader()));
    // Runs of one setting follow each other.
    for (const BenchRun& run : plan.runs) TANDEM_RETURN_IF_ERROR(RunTests(run));
    if (!flags_.plot.empty()) TANDEM_RETURN_IF_ERROR(WritePlot());
    return failed_ ? kExitFailure : kExitOk;
  }

 private:
  bool table() const { return !flags_.json && !flags_.csv; }

  void MeasureCeilings(const BenchPlan& plan) {
    std::vector<int> threads;
    for (const BenchRun& run : plan.runs) threads.push_back(run.setting.threads);
    auto machine = CachedOrQuickMachine(threads);
    if (machine.ok()) {
      machine_ = *std::move(machine);
    } else {
      PrintNote("tandem: warning: what this machine can do was not measured: " +
                OneLine(std::string(machine.status().message())));
    }
  }

  // What the machine can do for this model on a setting's device, if that was measured.
  Ceilings CeilingsOf(const BenchSetting& setting) const {
    const Processor* processor = machine_.Find(ProcessorOf(setting.device));
    if (processor == nullptr) return {};
    return {
        ReadCeiling(*processor, setting.threads),
        MultiplyCeiling(*processor, MultiplyTypeOf(*model_.model, *processor), setting.threads)};
  }

  std::string Heading() const {
    if (!table()) return "";
    const Model& model = *model_.model;
    std::string text = absl::StrFormat(
        "model    %s, %d layers, %s, mostly %s\n", OneLine(model_.name), model.config().layers,
        BytesText(model.file_bytes()), std::string(DTypeName(MainWeightType(model))));
    const Processor* cpu = machine_.Find("cpu");
    if (cpu == nullptr) return text;
    const std::string type = MultiplyTypeOf(model, *cpu);
    absl::StrAppendFormat(&text, "machine  %s: reads %.1f GB/s, %s %.0f Gop/s with %d threads\n",
                          OneLine(cpu->model), ReadCeiling(*cpu, cpu->cores) / 1e9, type,
                          MultiplyCeiling(*cpu, type, cpu->cores) / 1e9, cpu->cores);
    return text;
  }

  absl::Status ShowExpertLoad(const BenchPlan& plan) const {
    const EngineOptions options =
        BenchEngineOptions(plan.runs.front().setting, flags_.kq_limit << 20);
    TANDEM_ASSIGN_OR_RETURN(const auto loads, MeasureExpertLoad(model_.model, options));
    if (loads.empty()) return absl::OkStatus();
    if (table()) return WriteOut(ExpertLoadText(loads));
    PrintNote(ExpertLoadText(loads));
    return absl::OkStatus();
  }

  // Compares the setting's logits with the reference, once; nothing if they are wrong.
  absl::StatusOr<std::optional<double>> Check(const BenchSetting& setting) {
    const auto key = std::tuple(setting.device, setting.threads, setting.kv_type);
    const auto known = checks_.find(key);
    if (known != checks_.end()) return known->second;
    TANDEM_ASSIGN_OR_RETURN(
        const LogitsCheck check,
        CheckLogits(model_.model, BenchEngineOptions(setting, flags_.kq_limit << 20)));
    const std::string where = absl::StrFormat(
        "%s, %d threads, KV %s: logits of 64 tokens differ from the reference by %.2g (relative "
        "RMS, %d of %d layers); %.2g is tolerated",
        OneLine(setting.device), setting.threads, setting.kv_type, check.error, check.layers,
        model_.model->config().layers, check.tolerance);
    if (!check.ok()) {
      failed_ = true;
      PrintNote("tandem: " + where + ": no figures");
    } else if (table()) {
      TANDEM_RETURN_IF_ERROR(WriteOut("check    " + where + "\n"));
    }
    return checks_[key] = check.ok() ? std::optional(check.error) : std::nullopt;
  }

  absl::Status RunTests(const BenchRun& run) {
    TANDEM_ASSIGN_OR_RETURN(const std::optional<double> error, Check(run.setting));
    if (!error.has_value()) return absl::OkStatus();
    TANDEM_ASSIGN_OR_RETURN(const auto runner,
                            BenchRunner::Open(model_.model, run, flags_.kq_limit << 20));
    if (table()) TANDEM_RETURN_IF_ERROR(WriteOut("\n" + TableHeader()));
    BenchRow row;
    for (const BenchTest& test : run.tests) {
      TANDEM_ASSIGN_OR_RETURN(const Measured measured, runner->Measure(test, flags_.repeat));
      row = MakeRow(run.setting, test, measured, CeilingsOf(run.setting));
      row.error = *error;
      row.planned = TotalMemory(runner->engine().memory());
      row.process = runner->memory();
      TANDEM_RETURN_IF_ERROR(WriteOut(flags_.json  ? JsonRow(model_.name, row)
                                      : flags_.csv ? CsvRow(row)
                                                   : TableRow(row)));
      rows_.push_back(row);
      if (!flags_.profile) continue;
      TANDEM_ASSIGN_OR_RETURN(const auto times, runner->Profile(test));
      TANDEM_RETURN_IF_ERROR(WriteOut(ProfileText(test.name(), times)));
    }
    return table() ? WriteOut(MemoryText(row)) : absl::OkStatus();
  }

  absl::Status WritePlot() const {
    const std::string svg = PlotRows(model_.name + ": speed along the context", rows_);
    TANDEM_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(flags_.plot));
    TANDEM_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(svg))));
    return file.Commit();
  }

  const BenchFlags& flags_;
  const BenchModel model_;
  Machine machine_;
  // By device, threads and KV type: the error of the logits; nothing if it is too large.
  std::map<std::tuple<std::string, int, std::string>, std::optional<double>> checks_;
  std::vector<BenchRow> rows_;
  bool failed_ = false;
};

absl::StatusOr<int> RunBench(BenchFlags flags) {
  TANDEM_ASSIGN_OR_RETURN(BenchModel model, OpenBenchModel(flags));
  return Bench(flags, std::move(model)).Run();
}

}  // namespace

Action SetUpBench(CLI::App& app) {
  auto flags = std::make_shared<BenchFlags>();
  AddBenchFlags(app, *flags);
  return [flags] {
    ApplyDefaults(*flags);
    return RunBench(*flags);
  };
}

}  // namespace tandem
