#include "backends/cuda/lowering.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "backends/cuda/attention_decode.h"
#include "backends/cuda/attention_expanded.h"
#include "backends/cuda/attention_params.h"
#include "backends/cuda/attention_portable.h"
#include "backends/cuda/attention_prompt.h"
#include "backends/cuda/dependencies.h"
#include "backends/cuda/experts_tiles.h"
#include "backends/cuda/fuse.h"
#include "backends/cuda/kernels/params/product_rows.h"
#include "backends/cuda/kernels/params/row_ops.h"
#include "backends/cuda/plain_product.h"
#include "backends/cuda/product_rows.h"
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

constexpr int64_t kMostRows = 8;  // tokens of a step for which weights are read but once

bool InTiles(const TensorView& weight) { return weight.layout == WeightLayout::kTiles; }
bool InTiles(const ExpertsArgs& args) {
  return InTiles(args.gate) && InTiles(args.up) && InTiles(args.down);
}

// Which kernels attend.
enum class AttentionWay { kExpanded, kDecode, kPrompt, kPortable };
AttentionWay WayOf(const AttentionArgs& args, const Target& target) {
  if (args.expansion.present()) return AttentionWay::kExpanded;
  if (PrefersDecode(ShapeOf(args)) && SupportsDecodeAttention(args, target).ok()) {
    return AttentionWay::kDecode;
  }
  if (target.hopper() && SupportsPromptAttention(args, target).ok()) return AttentionWay::kPrompt;
  return AttentionWay::kPortable;
}

struct Supports {
  const Target& target;

  absl::Status operator()(const StoreKvArgs& args) const { return SupportsStoreKv(args); }
  absl::Status operator()(const AttentionArgs& args) const {
    if (WayOf(args, target) != AttentionWay::kExpanded) {
      return SupportsPortableAttention(args, target);
    }
    return SupportsExpandedAttention(args, target);
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

// Which kernels multiply.
enum class ProductWay {
  kRows,       // a few tokens, bound by memory
  kFloatRows,  // the same with plain numbers
  kTiles,      // many tokens, on tensor cores
  kPlain,      // whatever is left
};
ProductWay WayOf(const LinearArgs& args, const Target& target) {
  if (args.x.dim(0) <= kMostRows) {
    if (SupportsRows(args, target).ok()) return ProductWay::kRows;
    if (SupportsFloatRows(args)) return ProductWay::kFloatRows;
    // Tiles made for so few tokens would be read but once.
    if (!InTiles(args.w)) return ProductWay::kPlain;
  }
  return SupportsTiles(args).ok() ? ProductWay::kTiles : ProductWay::kPlain;
}
ProductWay WayOf(const ExpertsArgs& args, const Target& target) {
  if (SupportsRows(args, target).ok()) return ProductWay::kRows;
  return InTiles(args) ? ProductWay::kTiles : ProductWay::kPlain;
}

struct WorkspaceBytes {
  const Target& target;

  int64_t operator()(const AttentionArgs& args) const {
    switch (WayOf(args, target)) {
      case AttentionWay::kExpanded:
        return ExpandedWorkspaceBytes(args, target);
      case AttentionWay::kDecode:
        return DecodeWorkspaceBytes(args, target);
      default:
        return 0;
    }
  }
  int64_t operator()(const LinearArgs& args) const {
    return WayOf(args, target) == ProductWay::kTiles ? TilesWorkspaceBytes(args, target) : 0;
  }
  int64_t operator()(const ExpertsArgs& args) const {
    switch (WayOf(args, target)) {
      case ProductWay::kRows:
        return RowsWorkspaceBytes(args);
      case ProductWay::kTiles:
        return TilesWorkspaceBytes(args, target);
      default:
        return PlainWorkspaceBytes(args);
    }
  }
  template <class Args>
  int64_t operator()(const Args&) const {
    return 0;
  }
};

using Launches = absl::StatusOr<std::vector<Launch>>;

struct LowerArgs {
  const FusedCall& fused;
  const Lowering& lowering;
  const Workspace& workspace = fused.call.workspace;

  Launches operator()(const StoreKvArgs& args) const { return LowerStoreKv(args); }
  Launches operator()(const AttentionArgs& args) const {
    const Target& target = lowering.target;
    switch (WayOf(args, target)) {
      case AttentionWay::kExpanded:
        return LowerExpandedAttention(args, workspace, lowering);
      case AttentionWay::kDecode:
        return LowerDecodeAttention(args, workspace, target);
      case AttentionWay::kPrompt: {
        TANDEM_ASSIGN_OR_RETURN(
            Launch launch, LowerPromptAttention(args, {}, target, lowering.encode_tensor_map));
        return std::vector<Launch>{std::move(launch)};
      }
      default:
        return LowerPortableAttention(args, target);
    }
  }
  Launches operator()(const LinearArgs& args) const {
    switch (WayOf(args, lowering.target)) {
      case ProductWay::kRows:
        return LowerRows(args, fused, lowering.target);
      case ProductWay::kFloatRows:
        return std::vector<Launch>{LowerFloatRows(args, fused)};
      case ProductWay::kTiles:
        return LowerTiles(args, workspace, lowering);
      default:
        return LowerPlain(args);
    }
  }
  Launches operator()(const ExpertsArgs& args) const {
    switch (WayOf(args, lowering.target)) {
      case ProductWay::kRows:
        return LowerRows(args, fused, workspace, lowering.target);
      case ProductWay::kTiles:
        return LowerTiles(args, workspace, lowering);
      default:
        return LowerPlain(args, workspace);
    }
  }
  template <class Args>
  Launches operator()(const Args& args) const {
    return Lower(args);
  }
};

Launches LowerCall(const FusedCall& fused, const Lowering& lowering) {
  TANDEM_ASSIGN_OR_RETURN(std::vector<Launch> launches,
                          std::visit(LowerArgs{fused, lowering}, fused.call.args));
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

std::vector<TensorView*> WeightsOf(KernelArgs& args) {
  if (auto* linear = std::get_if<LinearArgs>(&args)) return {&linear->w};
  if (auto* experts = std::get_if<ExpertsArgs>(&args)) {
    return {&experts->gate, &experts->up, &experts->down};
  }
  auto* attention = std::get_if<AttentionArgs>(&args);
  if (attention != nullptr && attention->expansion.present()) {
    return {&attention->expansion.k_up, &attention->expansion.v_up};
  }
  return {};
}

// The call with its weights in tiles, if there is a kernel for that.
std::optional<KernelArgs> WithTiles(KernelArgs args, const Target& target) {
  const std::vector<TensorView*> weights = WeightsOf(args);
  for (TensorView* weight : weights) {
    if (!CanArrange(WeightLayout::kTiles, *weight)) return std::nullopt;
    weight->layout = WeightLayout::kTiles;
  }
  if (weights.empty() || !std::visit(Supports{target}, args).ok()) return std::nullopt;
  return args;
}

// Without rows, or sequences, there is nothing to start.
bool IsEmpty(const Launch& launch) {
  return launch.grid.x == 0 || launch.grid.y == 0 || launch.grid.z == 0;
}

FusionRules RulesFor(const Target& target) {
  const auto in_rows = [target](const LinearArgs& args) {
    return WayOf(args, target) == ProductWay::kRows && !args.transposed;
  };
  const auto after = [target, in_rows](const KernelArgs& args) {
    if (const auto* linear = std::get_if<LinearArgs>(&args)) {
      return in_rows(*linear) || WayOf(*linear, target) == ProductWay::kFloatRows;
    }
    const auto* experts = std::get_if<ExpertsArgs>(&args);
    return experts != nullptr && WayOf(*experts, target) == ProductWay::kRows;
  };
  return {.before = in_rows, .after = after, .joins = in_rows,
          .most_joined = static_cast<size_t>(kMostJoined)};
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

// The layouts of weights are not known yet when a plan asks.
int64_t CallWorkspaceBytes(const KernelArgs& args, const Target& target) {
  int64_t bytes = std::visit(WorkspaceBytes{target}, args);
  if (const auto in_tiles = WithTiles(args, target)) {
    bytes = std::max(bytes, std::visit(WorkspaceBytes{target}, *in_tiles));
  }
  return bytes;
}

WeightLayout PreferredLayoutOf(const KernelArgs& args, const Target& target) {
  return WithTiles(args, target).has_value() ? WeightLayout::kTiles : WeightLayout::kRows;
}

absl::StatusOr<std::vector<Launch>> LowerProgram(const Program& program,
                                                 const Lowering& lowering) {
  const auto groups =
      GroupRows(Fuse(program, RulesFor(lowering.target)), static_cast<size_t>(kMostRowOps));
  const std::vector<std::vector<int>> dependencies = DependenciesOf(groups);
  std::vector<Launch> launches;
  std::vector<std::vector<int>> ends;  // of each group: the launches after which all of it is done
  for (size_t i = 0; i < groups.size(); ++i) {
    std::vector<int> after;
    for (const int before : dependencies[i]) {
      const std::vector<int>& end = ends[static_cast<size_t>(before)];
      after.insert(after.end(), end.begin(), end.end());
    }
    TANDEM_ASSIGN_OR_RETURN(std::vector<Launch> lowered, LowerGroup(groups[i], lowering));
    for (Launch& launch : lowered) {
      if (IsEmpty(launch)) continue;
      launch.after = std::exchange(after, {static_cast<int>(launches.size())});
      launches.push_back(std::move(launch));
    }
    ends.push_back(std::move(after));
  }
  return launches;
}

}  // namespace tandem::cuda
