#include "backends/conformance/compile.h"

#include <cstdint>
#include <string>
#include <utility>

#include "backends/conformance/bind.h"
#include "backends/conformance/cases.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

constexpr uint32_t kSeed = 1;
constexpr uintptr_t kNowhere = uintptr_t{1} << 40;

void PreferLayouts(const Device& device, KernelArgs& args) {
  for (TensorView* weight : WeightsOf(args)) {
    weight->layout = device.PreferredLayout(args, *weight);
  }
}

absl::Status CompileCase(Device& device, const Case& the_case, bool preferred_layouts) {
  Program program;
  for (const KernelArgs& args : the_case.calls) {
    Call call = {.args = args, .name = std::string(KernelName(GetKernelId(args)))};
    if (preferred_layouts) PreferLayouts(device, call.args);
    if (!device.Supports(call.args).ok()) return absl::OkStatus();
    call.workspace = {reinterpret_cast<void*>(kNowhere), device.WorkspaceBytes(call.args)};
    program.calls.push_back(std::move(call));
  }
  program.results.emplace();
  for (const Output& output : the_case.outputs) program.results->push_back(output.view);
  return Annotate(device.Prepare(std::move(program)).status(), the_case.name);
}

}  // namespace

absl::Status CompileCases(Device& device) {
  absl::Status status;
  const CaseSink sink = [&](const Case& the_case) {
    for (const bool preferred : {false, true}) {
      if (status.ok()) status = CompileCase(device, the_case, preferred);
    }
  };
  for (const auto cases :
       {RowwiseCases, LinearCases, StoreKvCases, AttentionCases, RouteCases,
                           ExpertsCases, ChainCases}) {
    cases(kSeed, sink);
  }
  return status;
}

}  // namespace tandem
