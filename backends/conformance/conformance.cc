#include "backends/conformance/conformance.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "backends/conformance/cases.h"
#include "backends/conformance/compare.h"
#include "backends/conformance/run_case.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

// Workspace limits for attention besides none at all, in bytes.
constexpr int64_t kLimits[] = {1, 64 << 10, 1 << 20};
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

void SetLimit(Case& the_case, int64_t limit) {
  for (KernelArgs& args : the_case.calls) {
    if (auto* attention = std::get_if<AttentionArgs>(&args)) attention->workspace_limit = limit;
  }
}

absl::Status Fault(std::string text) { return absl::InternalError(text); }

// Bytes of the rows of an output that are specified, in the memory of a run.
bool SameBits(const Output& output, const CaseRun& run, const std::vector<std::byte>& before) {
  const auto* begin = run.After(output.view.data);
  TensorView now = output.view, then = output.view;
  now.data = const_cast<std::byte*>(begin);
  then.data = const_cast<std::byte*>(before.data());
  const int64_t bytes = RowBytes(output.view.dtype, output.view.shape.back());
  const int64_t d1 = output.view.shape.rank == 3 ? output.view.dim(1) : 1;
  for (int64_t i = 0; i < output.rows * d1; ++i) {
    if (std::memcmp(now.row(i / d1, i % d1), then.row(i / d1, i % d1), bytes) != 0) return false;
  }
  return true;
}

// The bytes from the start of an output to the end of its memory.
std::vector<std::byte> Snapshot(const Case& the_case, const Output& output, const CaseRun& run) {
  const Storage& storage = the_case.StorageOf(output.view.data);
  const auto* data = static_cast<const std::byte*>(output.view.data);
  const std::byte* begin = run.After(data);
  return {begin, begin + (storage.bytes.data() + storage.bytes.size() - data)};
}

using Snapshots = std::vector<std::vector<std::byte>>;

Snapshots SnapshotAll(const Case& the_case, const CaseRun& run) {
  Snapshots snapshots;
  for (const Output& output : the_case.outputs) {
    snapshots.push_back(Snapshot(the_case, output, run));
  }
  return snapshots;
}

absl::Status CheckOutputs(const Case& the_case, const Snapshots& actual, const Snapshots& expected,
                          std::optional<double> tolerance) {
  for (size_t i = 0; i < actual.size(); ++i) {
    const Output& output = the_case.outputs[i];
    const double allowed = tolerance.value_or(output.tolerance);
    const double error = RelativeError(output, actual[i].data(), expected[i].data());
    if (error <= allowed) continue;
    return Fault(absl::StrFormat("output %d %s: relative error %.3g, allowed %.3g", i,
                                 output.view.shape.ToString(), error, allowed));
  }
  return absl::OkStatus();
}

class Suite {
 public:
  Suite(Device& subject, Device& oracle, const ConformanceOptions& options)
      : subject_(subject), oracle_(oracle), options_(options) {}

  ConformanceReport Run();

 private:
  bool Wanted(KernelId kernel) const {
    if (options_.stop_at_failure && !report_.failures.empty()) return false;
    return options_.kernels.empty() || std::ranges::count(options_.kernels, kernel) > 0;
  }
  void RunCase(Case the_case);
  void RunBadCall(const BadCall& call);
  void Note(KernelId kernel, const std::string& name, const absl::Status& status);
  absl::Status CheckCase(const Case& the_case, Snapshots& results);
  absl::Status CheckLayouts(const Case& the_case, const CaseRun& expected);
  absl::Status CheckLimits(Case& the_case, const Snapshots& unlimited);
  absl::Status CheckLimit(const Case& the_case, const Snapshots& unlimited) const;
  absl::Status CheckRefused(const KernelArgs& args);
  absl::Status CheckEstimates(const Case& the_case) const;

  Device& subject_;
  Device& oracle_;
  const ConformanceOptions& options_;
  ConformanceReport report_;
};

ConformanceReport Suite::Run() {
  const CaseSink sink = [this](Case the_case) {
    if (Wanted(the_case.kernel)) RunCase(std::move(the_case));
  };
  RowwiseCases(options_.seed, sink);
  if (Wanted(KernelId::kLinear)) LinearCases(options_.seed, sink);
  if (Wanted(KernelId::kStoreKv)) StoreKvCases(options_.seed, sink);
  if (Wanted(KernelId::kAttention)) AttentionCases(options_.seed, sink);
  if (Wanted(KernelId::kRoute)) RouteCases(options_.seed, sink);
  if (Wanted(KernelId::kExperts)) ExpertsCases(options_.seed, sink);
  if (Wanted(KernelId::kLinear) || Wanted(KernelId::kExperts)) ChainCases(options_.seed, sink);
  for (const BadCall& call : BadCalls()) {
    if (Wanted(GetKernelId(call.args))) RunBadCall(call);
  }
  return std::move(report_);
}

// An Unimplemented status stands for a refusal with a reason.
void Suite::Note(KernelId kernel, const std::string& name, const absl::Status& status) {
  KernelReport& counts = report_.kernels[static_cast<size_t>(kernel)];
  const CaseNote note = {kernel, name, std::string(status.message())};
  if (status.ok()) {
    ++counts.passed;
  } else if (absl::IsUnimplemented(status)) {
    ++counts.unsupported;
    report_.unsupported.push_back(note);
  } else {
    if (counts.failed++ == 0) counts.first_failure = absl::StrCat(name, ": ", note.reason);
    report_.failures.push_back(note);
  }
}

void Suite::RunCase(Case the_case) {
  for (const KernelArgs& args : the_case.calls) {
    const absl::Status supported = subject_.Supports(args);
    if (supported.ok()) continue;
    const absl::Status refused = CheckRefused(args);
    return Note(the_case.kernel, the_case.name,
                refused.ok() ? absl::UnimplementedError(supported.message()) : refused);
  }
  Snapshots results;
  absl::Status status = CheckCase(the_case, results);
  if (status.ok() && the_case.kernel == KernelId::kAttention) {
    status = CheckLimits(the_case, results);
  }
  Note(the_case.kernel, the_case.name, status);
}

absl::Status Suite::CheckCase(const Case& the_case, Snapshots& results) {
  TANDEM_RETURN_IF_ERROR(CheckEstimates(the_case));
  auto expected = CaseRun::Create(oracle_, the_case);
  if (!expected.ok()) return Fault(absl::StrCat("oracle: ", expected.status().message()));
  TANDEM_RETURN_IF_ERROR(Annotate(expected->Run(std::byte{0}), "oracle"));
  TANDEM_ASSIGN_OR_RETURN(CaseRun actual, CaseRun::Create(subject_, the_case));
  TANDEM_RETURN_IF_ERROR(actual.Run(std::byte{0xff}));
  results = SnapshotAll(the_case, actual);
  TANDEM_RETURN_IF_ERROR(
      CheckOutputs(the_case, results, SnapshotAll(the_case, *expected), std::nullopt));
  TANDEM_RETURN_IF_ERROR(actual.Run(std::byte{0}));
  for (size_t i = 0; i < results.size(); ++i) {
    if (!SameBits(the_case.outputs[i], actual, results[i])) {
      return Fault(absl::StrCat("output ", i, ": a second run gives other bits"));
    }
  }
  if (!PrefersOtherLayouts(subject_, the_case)) return absl::OkStatus();
  return Annotate(CheckLayouts(the_case, *expected), "weights in the preferred layout");
}

absl::Status Suite::CheckLayouts(const Case& the_case, const CaseRun& expected) {
  auto actual = CaseRun::Create(subject_, the_case, /*preferred_layouts=*/true);
  if (!actual.ok()) return Fault(std::string(actual.status().message()));
  TANDEM_RETURN_IF_ERROR(actual->Run(std::byte{0xff}));
  return CheckOutputs(the_case, SnapshotAll(the_case, *actual), SnapshotAll(the_case, expected),
                      std::nullopt);
}

absl::Status Suite::CheckEstimates(const Case& the_case) const {
  for (const KernelArgs& args : the_case.calls) {
    const double cost = subject_.Cost(args, 100);
    if (!(cost >= 0) || std::isinf(cost)) return Fault(absl::StrCat("Cost is ", cost));
  }
  return absl::OkStatus();
}

// Limits that lead to the same workspace count as one.
absl::Status Suite::CheckLimits(Case& the_case, const Snapshots& unlimited) {
  absl::Status status;
  int64_t checked = -1;
  for (const int64_t limit : kLimits) {
    SetLimit(the_case, limit);
    // A device may need more room than the smallest limits give.
    if (!std::ranges::all_of(the_case.calls,
                             [this](const auto& args) { return subject_.Supports(args).ok(); })) {
      continue;
    }
    const int64_t bytes = subject_.WorkspaceBytes(the_case.calls.back());
    if (bytes > limit) status = Fault(absl::StrCat("workspace of ", bytes, " bytes"));
    if (status.ok() && bytes != checked) status = CheckLimit(the_case, unlimited);
    if (!status.ok()) {
      status = Annotate(status, absl::StrCat("workspace_limit ", limit));
      break;
    }
    checked = bytes;
  }
  SetLimit(the_case, kNoLimit);
  return status;
}

absl::Status Suite::CheckLimit(const Case& the_case, const Snapshots& unlimited) const {
  TANDEM_ASSIGN_OR_RETURN(CaseRun run, CaseRun::Create(subject_, the_case));
  TANDEM_RETURN_IF_ERROR(run.Run(std::byte{0xff}));
  return CheckOutputs(the_case, SnapshotAll(the_case, run), unlimited, kSameTolerance);
}

absl::Status Suite::CheckRefused(const KernelArgs& args) {
  const absl::Status status = subject_.Supports(args);
  if (status.ok()) return Fault("Supports agrees");
  if (status.message().empty()) return Fault("Supports refuses without a reason");
  Program program;
  program.calls.push_back({.args = args, .name = "refused"});
  if (subject_.Prepare(std::move(program)).ok()) {
    return Fault(absl::StrCat("Prepare accepts what Supports refuses: ", status.message()));
  }
  return absl::OkStatus();
}

void Suite::RunBadCall(const BadCall& call) {
  Note(GetKernelId(call.args), absl::StrCat("refusal of ", call.name), CheckRefused(call.args));
}

void AppendFailures(const std::vector<CaseNote>& notes, std::string& text) {
  if (!notes.empty()) absl::StrAppend(&text, "\nfailed:\n");
  for (const CaseNote& note : notes) {
    absl::StrAppend(&text, "  ", Text(KernelName(note.kernel)), ": ", note.name, ": ", note.reason,
                    "\n");
  }
}

// A line for each reason: a device that lacks a kernel gives the same one for all of its cases.
void AppendReasons(const std::vector<CaseNote>& notes, std::string& text) {
  std::map<std::pair<KernelId, std::string>, int> counts;
  for (const CaseNote& note : notes) ++counts[{note.kernel, note.reason}];
  if (!counts.empty()) absl::StrAppend(&text, "\nnot supported:\n");
  for (const auto& [key, count] : counts) {
    absl::StrAppend(&text, "  ", Text(KernelName(key.first)), ", ", count,
                    count == 1 ? " case: " : " cases: ", key.second, "\n");
  }
}

}  // namespace

bool ConformanceReport::ok() const {
  return failures.empty() &&
         std::ranges::any_of(kernels, [](const KernelReport& kernel) { return kernel.passed > 0; });
}

ConformanceReport CheckDevice(Device& subject, Device& oracle, const ConformanceOptions& options) {
  return Suite(subject, oracle, options).Run();
}

std::string ToString(const ConformanceReport& report) {
  std::string text =
      absl::StrFormat("%-12s %7s %7s %12s\n", "kernel", "passed", "failed", "unsupported");
  for (int i = 0; i < kKernelCount; ++i) {
    const KernelReport& kernel = report.kernels[i];
    absl::StrAppendFormat(&text, "%-12s %7d %7d %12d\n", Text(KernelName(static_cast<KernelId>(i))),
                          kernel.passed, kernel.failed, kernel.unsupported);
  }
  AppendFailures(report.failures, text);
  AppendReasons(report.unsupported, text);
  return text;
}

}  // namespace tandem
