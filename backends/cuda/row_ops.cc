#include "backends/cuda/row_ops.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <variant>

#include "absl/strings/str_cat.h"
#include "backends/cuda/attention_params.h"
#include "backends/cuda/kernels/params/row_ops.h"
#include "backends/cuda/rowwise.h"
#include "backends/cuda/store_kv.h"

namespace tandem::cuda {
namespace {

// What a call is in the kernel, and its launch by itself, whose parameters it keeps.
struct Part {
  RowOpKind kind = RowOpKind::kAdd;
  std::vector<Launch> alone;
};

struct MakePart {
  Part operator()(const RmsNormArgs& a) const { return {RowOpKind::kRmsNorm, Lower(a)}; }
  Part operator()(const RopeArgs& a) const {
    const bool halves = a.pairing == RopePairing::kHalves;
    return {halves ? RowOpKind::kRopeHalves : RowOpKind::kRopePairs, Lower(a)};
  }
  Part operator()(const AddArgs& a) const { return {RowOpKind::kAdd, Lower(a)}; }
  Part operator()(const SwiGluArgs& a) const { return {RowOpKind::kSwiGlu, Lower(a)}; }
  Part operator()(const ConcatArgs& a) const { return {RowOpKind::kConcat, Lower(a)}; }
  Part operator()(const StoreKvArgs& a) const { return {RowOpKind::kStoreKv, LowerStoreKv(a)}; }
  template <class Args>
  Part operator()(const Args&) const {
    return {};
  }
};

}  // namespace

absl::StatusOr<Launch> LowerRowOps(std::span<const FusedCall> group) {
  RowOpsParams params = {};
  DType stored = DType::kF16;
  std::string label;
  unsigned blocks = 0, threads = 32;
  for (const FusedCall& fused : group) {
    const Part part = std::visit(MakePart(), fused.call.args);
    if (part.alone.size() != 1 || params.count == kMostRowOps) {
      return absl::InternalError(absl::StrCat(fused.call.name, " is no part of a group"));
    }
    const Launch& alone = part.alone[0];
    RowOp& op = params.ops[params.count++];
    op.kind = part.kind;
    std::memcpy(op.params, alone.params.data(), std::min(alone.params.size(), sizeof(op.params)));
    threads = std::max(threads, alone.block.x);
    if (const auto* store = std::get_if<StoreKvArgs>(&fused.call.args)) {
      stored = store->cache.dtype;
      params.live = store->live_rows;
      blocks = static_cast<unsigned>(store->x.dim(0));
    }
    absl::StrAppend(&label, label.empty() ? "" : " + ", fused.call.name);
  }
  std::visit(
      [&](const auto& args) {
        if constexpr (requires { args.live_rows; args.out; }) {
          params.live = args.live_rows;
          blocks = static_cast<unsigned>(args.out.dim(0));
        }
      },
      group[0].call.args);
  Launch launch = MakeLaunch(
      {"row_ops.cuh", absl::StrCat("tandem::cuda::RowOps<", KvArg(ToKv(stored)), ">")}, {blocks},
      {threads}, 0, params);
  launch.label = label;
  launch.waits_itself = true;
  return launch;
}

}  // namespace tandem::cuda
