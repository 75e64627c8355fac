#include "backends/cpu/cpu_device.h"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/cpu/kernel_set.h"
#include "backends/cpu/merge.h"
#include "backends/cpu/team.h"
#include "backends/device/check.h"
#include "backends/device/host_device.h"
#include "backends/device/layout.h"
#include "backends/device/status.h"

namespace tandem::cpu {
namespace {

// Rough rates of one core, for Cost.
constexpr Work kCoreRates = {.bytes = 8e9, .flops = 40e9};
constexpr double kCallSeconds = 2e-6;
constexpr int kMostThreads = 512;

class CpuExecutable final : public Executable {
 public:
  CpuExecutable(std::shared_ptr<Team> team, std::vector<Phase> phases)
      : team_(std::move(team)), segment_(team_->MakeSegment(std::move(phases))) {}

  absl::Status Run(Stream&) override {
    team_->Run(segment_);
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<Team> team_;
  std::shared_ptr<Segment> segment_;
};

// One past the last of the calls that may run together with call `first`.
size_t EndOfGroup(std::span<const Call> calls, size_t first) {
  size_t last = first + 1;
  if (calls[first].group < 0) return last;
  while (last < calls.size() && calls[last].group == calls[first].group) ++last;
  return last;
}

// Products read panels fastest. Attention expands latents from either layout at the same speed, so
// it wants the one of the products that the absorbed form has with the same weights.
bool TakesPanels(const KernelArgs& args) {
  if (const auto* linear = std::get_if<LinearArgs>(&args)) return !linear->transposed;
  if (const auto* attention = std::get_if<AttentionArgs>(&args)) {
    return attention->expansion.k_transposed;
  }
  return std::holds_alternative<ExpertsArgs>(args);
}

class CpuDevice final : public Device {
 public:
  CpuDevice(DeviceInfo info, const InstructionSet& instructions, std::shared_ptr<Team> team)
      : info_(std::move(info)), instructions_(instructions), team_(std::move(team)) {}

  const DeviceInfo& info() const override { return info_; }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    auto buffer = AllocateHost(bytes);
    if (!buffer.ok()) return Annotate(buffer.status(), info_.name);
    return buffer;
  }
  absl::StatusOr<std::unique_ptr<Stream>> CreateStream() override { return CreateHostStream(); }
  absl::StatusOr<std::unique_ptr<Event>> CreateEvent() override { return CreateHostEvent(); }

  absl::Status Supports(const KernelArgs& args) const override {
    TANDEM_RETURN_IF_ERROR(CheckArgs(args));
    const auto* linear = std::get_if<LinearArgs>(&args);
    const bool rows_alone = linear != nullptr && linear->transposed;
    for (const TensorView& view : Reads(args)) {
      if (view.layout == WeightLayout::kTiles ||
          (view.layout == WeightLayout::kInterleaved && rows_alone)) {
        return absl::UnimplementedError(absl::StrCat("cpu does not read weights of layout ",
                                                     Text(LayoutName(view.layout)), " here"));
      }
    }
    return std::visit([](const auto& a) { return CheckLimits(a); }, args);
  }

  int64_t WorkspaceBytes(const KernelArgs& args) const override {
    return std::visit([](const auto& a) { return WorkspaceBytesOf(a); }, args);
  }

  WeightLayout PreferredLayout(const KernelArgs& args, const TensorView& weight) const override {
    return TakesPanels(args) && CanInterleave(weight) ? WeightLayout::kInterleaved
                                                      : WeightLayout::kRows;
  }

  double Cost(const KernelArgs& args, int64_t kv_tokens) const override {
    const Work work = WorkOf(args, kv_tokens);
    const double seconds = std::max(work.bytes / kCoreRates.bytes, work.flops / kCoreRates.flops);
    return kCallSeconds + seconds / team_->threads();
  }

  absl::StatusOr<std::unique_ptr<Executable>> Prepare(Program program) override {
    TANDEM_RETURN_IF_ERROR(CheckProgram(*this, program));
    std::vector<Phase> phases;
    for (size_t first = 0; first < program.calls.size();) {
      const size_t last = EndOfGroup(program.calls, first);
      MergePhases(PlanGroup(std::span(program.calls).subspan(first, last - first)), phases);
      first = last;
    }
    return std::make_unique<CpuExecutable>(team_, std::move(phases));
  }

 private:
  std::vector<std::vector<Phase>> PlanGroup(std::span<const Call> calls) const {
    std::vector<std::vector<Phase>> parts;
    SharedActivations activations;
    for (const Call& call : calls) {
      const PlanContext context = {instructions_, call.workspace, activations};
      std::visit([&](const auto& a) { Plan(a, context, parts.emplace_back()); }, call.args);
    }
    return parts;
  }

  const DeviceInfo info_;
  const InstructionSet& instructions_;
  const std::shared_ptr<Team> team_;
};

// The newest set that this processor has, or the one asked for.
absl::StatusOr<const InstructionSet*> ChooseInstructions(std::string_view wanted) {
  const InstructionSet* chosen = nullptr;
  std::string known;
  bool named = wanted.empty();
  for (const InstructionSet& set : InstructionSets()) {
    absl::StrAppend(&known, known.empty() ? "" : ", ", Text(set.name));
    named |= set.name == wanted;
    if (set.is_present() && (wanted.empty() || set.name == wanted)) chosen = &set;
  }
  if (chosen != nullptr) return chosen;
  if (!named) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpu: there is no instruction set ", Text(wanted), "; known are ", known));
  }
  const InstructionSet& least = InstructionSets().front();
  return absl::UnimplementedError(
      absl::StrCat("cpu: this processor lacks ", Text(wanted.empty() ? least.name : wanted)));
}

// What a thread may fetch ahead: half of the cache of a core, which also holds what it works on.
int64_t AheadBytes() {
  constexpr int64_t kUsual = int64_t{1} << 19;
  const int64_t cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return (cache > 0 ? cache : kUsual) / 2;
}

int64_t SystemMemory() {
  const int64_t pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
  return pages > 0 && page_bytes > 0 ? pages * page_bytes : 0;
}

}  // namespace
}  // namespace tandem::cpu

namespace tandem {

absl::StatusOr<std::unique_ptr<Device>> CreateCpuDevice(const DeviceOptions& options,
                                                        std::string_view wanted) {
  using namespace cpu;
  TANDEM_ASSIGN_OR_RETURN(const InstructionSet* instructions, ChooseInstructions(wanted));
  if (options.threads < 0 || options.threads > kMostThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpu: threads = ", options.threads, " is not in [0, ", kMostThreads, "]"));
  }
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int threads = options.threads > 0 ? options.threads : std::min(cores, kMostThreads);
  try {
    auto team =
        std::make_shared<Team>(TeamOptions{.threads = threads, .ahead_bytes = AheadBytes()});
    DeviceInfo info = {.name = "cpu",
                       .description = absl::StrCat(Text(instructions->description), ", ",
                                                   team->threads(), " threads"),
                       .host_memory = true,
                       .memory_bytes = SystemMemory()};
    return std::make_unique<CpuDevice>(std::move(info), *instructions, std::move(team));
  } catch (const std::exception& error) {
    return absl::ResourceExhaustedError(absl::StrCat("cpu: no threads: ", error.what()));
  }
}

}  // namespace tandem
