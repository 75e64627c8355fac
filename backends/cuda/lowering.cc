#include "backends/cuda/lowering.h"

#include <utility>
#include <variant>

#include "backends/cuda/attention_portable.h"
#include "backends/cuda/experts_tiles.h"
#include "backends/cuda/fuse.h"
#include "backends/cuda/kernels/params/row_ops.h"
#include "backends/cuda/plain_product.h"
#include "backends/cuda/product_tiles.h"
#include "backends/cuda/row_groups.h"
#include "backends/cuda/row_ops.h"
#include "backends/cuda/rowwise.h"
#include "backends/cuda/store_kv.h"
#include "backends/device/check.h"
#include "backends/device/layout.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

bool InTiles(const TensorView& weight) { return weight.layout == WeightLayout::kTiles; }
bool InTiles(const ExpertsArgs& args) {
  return InTiles(args.gate) && InTiles(args.up) && InTiles(args.down);
}

struct Supports {
  const Target& target;

  absl::Status operator()(const StoreKvArgs& args) const { return SupportsStoreKv(args); }
  absl::Status operator()(const AttentionArgs& args) const {
    return SupportsPortableAttention(args, target);
  }
  absl::Status operator()(const LinearArgs& args) const {
    return InTiles(args.w) ? SupportsTiles(args) : absl::OkStatus();
  }
  absl::Status operator()(const ExpertsArgs& args) const {
    if (InTiles(args)) return SupportsTiles(args);
    const bool any = InTiles(args.gate) || InTiles(args.up) || InTiles(args.down);
    return any ? absl::UnimplementedError("only some of the experts' matrices lie in tiles")
               : absl::OkStatus();
  }
  template <class Args>
  absl::Status operator()(const Args&) const {
    return absl::OkStatus();
  }
};

struct WorkspaceBytes {
  const Target& target;

  int64_t operator()(const LinearArgs& args) const {
    return InTiles(args.w) ? TilesWorkspaceBytes(args) : 0;
  }
  int64_t operator()(const ExpertsArgs& args) const {
    return InTiles(args) ? TilesWorkspaceBytes(args, target) : PlainWorkspaceBytes(args);
  }
  template <class Args>
  int64_t operator()(const Args&) const {
    return 0;
  }
};

using Launches = absl::StatusOr<std::vector<Launch>>;

struct LowerArgs {
  const Workspace& workspace;
  const Lowering& lowering;

  Launches operator()(const StoreKvArgs& args) const { return LowerStoreKv(args); }
  Launches operator()(const AttentionArgs& args) const {
    return LowerPortableAttention(args, lowering.target);
  }
  Launches operator()(const LinearArgs& args) const {
    return InTiles(args.w) ? LowerTiles(args, workspace, lowering) : LowerPlain(args);
  }
  Launches operator()(const ExpertsArgs& args) const {
    return InTiles(args) ? LowerTiles(args, workspace, lowering) : LowerPlain(args, workspace);
  }
  template <class Args>
  Launches operator()(const Args& args) const {
    return Lower(args);
  }
};

Launches LowerCall(const FusedCall& fused, const Lowering& lowering) {
  TANDEM_ASSIGN_OR_RETURN(std::vector<Launch> launches,
                          std::visit(LowerArgs{fused.call.workspace, lowering}, fused.call.args));
  for (Launch& launch : launches) launch.label = fused.call.name;
  if (!launches.empty()) launches[0].work = WorkOf(fused.call.args, 0);
  return launches;
}

Launches LowerGroup(const std::vector<FusedCall>& group, const Lowering& lowering) {
  if (group.size() == 1) {
    auto launches = LowerCall(group[0], lowering);
    if (!launches.ok()) return Annotate(launches.status(), group[0].call.name);
    return launches;
  }
  TANDEM_ASSIGN_OR_RETURN(Launch launch, LowerRowOps(group));
  return std::vector<Launch>{std::move(launch)};
}

// No kernel takes anything over yet.
FusionRules RulesFor(const Target&) {
  return {.before = [](const LinearArgs&) { return false; },
          .after = [](const KernelArgs&) { return false; }};
}

}  // namespace

absl::Status SupportsCall(const KernelArgs& args, const Target& target) {
  TANDEM_RETURN_IF_ERROR(CheckArgs(args));
  for (const TensorView& view : Reads(args)) {
    if (view.layout == WeightLayout::kInterleaved) {
      return absl::UnimplementedError("interleaved weights are not for GPUs");
    }
  }
  return std::visit(Supports{target}, args);
}

int64_t CallWorkspaceBytes(const KernelArgs& args, const Target& target) {
  return std::visit(WorkspaceBytes{target}, args);
}

WeightLayout PreferredLayoutOf(const KernelArgs& args, const TensorView& weight,
                               const Target& target) {
  if (!CanArrange(WeightLayout::kTiles, weight)) return WeightLayout::kRows;
  KernelArgs in_tiles = args;
  if (auto* linear = std::get_if<LinearArgs>(&in_tiles)) {
    linear->w.layout = WeightLayout::kTiles;
    return SupportsCall(in_tiles, target).ok() ? WeightLayout::kTiles : WeightLayout::kRows;
  }
  if (auto* experts = std::get_if<ExpertsArgs>(&in_tiles)) {
    for (TensorView* w : {&experts->gate, &experts->up, &experts->down}) {
      w->layout = WeightLayout::kTiles;
    }
    return SupportsCall(in_tiles, target).ok() ? WeightLayout::kTiles : WeightLayout::kRows;
  }
  return WeightLayout::kRows;
}

absl::StatusOr<std::vector<Launch>> LowerProgram(const Program& program,
                                                 const Lowering& lowering) {
  std::vector<Launch> launches;
  for (const auto& group :
       GroupRows(Fuse(program, RulesFor(lowering.target)), static_cast<size_t>(kMostRowOps))) {
    TANDEM_ASSIGN_OR_RETURN(std::vector<Launch> lowered, LowerGroup(group, lowering));
    for (Launch& launch : lowered) launches.push_back(std::move(launch));
  }
  return launches;
}

}  // namespace tandem::cuda
