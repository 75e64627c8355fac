// The kernels of the CPU device: for each argument struct, its limits, its workspace and its plan.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "backends/cpu/instruction_set.h"
#include "backends/cpu/phase.h"
#include "backends/device/kernels.h"
#include "backends/device/program.h"

namespace tandem::cpu {

// Limits of the device beyond the contract. Only attention has any.
absl::Status CheckLimits(const AttentionArgs& args);
template <typename Args>
absl::Status CheckLimits(const Args&) {
  return absl::OkStatus();
}

// Bytes of workspace. It must be aligned to 64 bytes.
int64_t WorkspaceBytesOf(const LinearArgs& args);
int64_t WorkspaceBytesOf(const AttentionArgs& args);
int64_t WorkspaceBytesOf(const RouteArgs& args);
int64_t WorkspaceBytesOf(const ExpertsArgs& args);
template <typename Args>
int64_t WorkspaceBytesOf(const Args&) {
  return 0;
}

// What a call is planned with.
struct PlanContext {
  const InstructionSet& instructions;
  Workspace workspace;
};

// Appends the phases of a call.
void Plan(const EmbedArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const RmsNormArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const RopeArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const LinearArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const AddArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const SwiGluArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const ConcatArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const GatherRowsArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const StoreKvArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const AttentionArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const RouteArgs& args, const PlanContext& context, std::vector<Phase>& phases);
void Plan(const ExpertsArgs& args, const PlanContext& context, std::vector<Phase>& phases);

}  // namespace tandem::cpu
