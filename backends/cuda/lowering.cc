#include "backends/cuda/lowering.h"

#include <variant>

#include "backends/cuda/plain_product.h"
#include "backends/cuda/rowwise.h"
#include "backends/device/check.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

absl::Status InRows(const TensorView& weight) {
  if (weight.layout == WeightLayout::kRows) return absl::OkStatus();
  return absl::UnimplementedError("this layout of weights is not for GPUs");
}

struct Supports {
  const Target& target;

  absl::Status operator()(const StoreKvArgs&) const {
    return absl::UnimplementedError("cuda has no kernel store_kv");
  }
  absl::Status operator()(const AttentionArgs&) const {
    return absl::UnimplementedError("cuda has no kernel attention");
  }
  absl::Status operator()(const LinearArgs& args) const { return InRows(args.w); }
  absl::Status operator()(const ExpertsArgs& args) const {
    for (const TensorView* w : {&args.gate, &args.up, &args.down}) {
      TANDEM_RETURN_IF_ERROR(InRows(*w));
    }
    return absl::OkStatus();
  }
  template <class Args>
  absl::Status operator()(const Args&) const {
    return absl::OkStatus();
  }
};

struct WorkspaceBytes {
  const Target& target;

  int64_t operator()(const ExpertsArgs& args) const { return PlainWorkspaceBytes(args); }
  template <class Args>
  int64_t operator()(const Args&) const {
    return 0;
  }
};

using Launches = absl::StatusOr<std::vector<Launch>>;

struct LowerArgs {
  const Workspace& workspace;
  const Lowering& lowering;

  Launches operator()(const StoreKvArgs&) const { return absl::InternalError("store_kv"); }
  Launches operator()(const AttentionArgs&) const { return absl::InternalError("attention"); }
  Launches operator()(const LinearArgs& args) const { return LowerPlain(args); }
  Launches operator()(const ExpertsArgs& args) const { return LowerPlain(args, workspace); }
  template <class Args>
  Launches operator()(const Args& args) const {
    return Lower(args);
  }
};

}  // namespace

absl::Status SupportsCall(const KernelArgs& args, const Target& target) {
  TANDEM_RETURN_IF_ERROR(CheckArgs(args));
  return std::visit(Supports{target}, args);
}

int64_t CallWorkspaceBytes(const KernelArgs& args, const Target& target) {
  return std::visit(WorkspaceBytes{target}, args);
}

absl::StatusOr<std::vector<Launch>> LowerCall(const Call& call, const Lowering& lowering) {
  TANDEM_ASSIGN_OR_RETURN(std::vector<Launch> launches,
                          std::visit(LowerArgs{call.workspace, lowering}, call.args));
  for (Launch& launch : launches) launch.label = call.name;
  return launches;
}

}  // namespace tandem::cuda
