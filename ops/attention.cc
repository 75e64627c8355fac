// attention over a paged cache, and store_kv, which fills the cache.
#include "backends/device/status.h"
#include "ops/family.h"

namespace tandem::internal {
namespace {

// Inputs of attention, in the order of AttentionArgs.
enum Input : size_t { kQ, kK, kV, kKUp, kVUp, kSeqStart, kKvLen, kPageTable, kSinks };

bool Has(Types inputs, Input i) { return i < inputs.size() && inputs[i].present(); }

absl::StatusOr<int64_t> ValueDim(const AttentionAttrs& attrs, Types inputs) {
  const bool from_k = attrs.v_from_k_offset >= 0;
  const int sources = Has(inputs, kV) + Has(inputs, kVUp) + from_k;
  if (sources != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "V must come from one source (a cache, a view of K, an expansion), not ", sources));
  }
  if (from_k) return attrs.v_dim;
  if (Has(inputs, kV)) {
    TANDEM_RETURN_IF_ERROR(NeedRank(inputs, kV, "v", 4, 4));
    return inputs[kV].shape[3];
  }
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, kVUp, "v_up", 3, 3));
  return inputs[kVUp].shape[1];
}

}  // namespace

Inferred Infer(const StoreKvAttrs&, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 0, "x", 3, 3));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 1, "slots", 1, 1));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, 2, "cache", 4, 4));
  return std::vector<TensorType>{};
}

StoreKvArgs LowerOp(const StoreKvAttrs&, const Operands& o) {
  return {o.in(0), o.in(1), o.in(2), o.live};
}

Inferred Infer(const AttentionAttrs& attrs, Types inputs) {
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, kQ, "q", 3, 3));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, kK, "k", 4, 4));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, kSeqStart, "seq_start", 1, 1));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, kKvLen, "kv_len", 1, 1));
  TANDEM_RETURN_IF_ERROR(NeedRank(inputs, kPageTable, "page_table", 2, 2));
  TANDEM_ASSIGN_OR_RETURN(const int64_t v_dim, ValueDim(attrs, inputs));
  const Shape& q = inputs[kQ].shape;
  std::vector<TensorType> types = {{DType::kF32, {q[0], q[1], v_dim}}};
  if (attrs.with_lse) types.push_back({DType::kF32, {q[0], q[1]}});
  return types;
}

AttentionArgs LowerOp(const AttentionAttrs& attrs, const Operands& o) {
  AttentionArgs args;
  args.q = o.in(kQ);
  args.k = o.in(kK);
  args.v = o.in(kV);
  args.v_from_k_offset = attrs.v_from_k_offset;
  args.expansion = {o.in(kKUp), o.in(kVUp), attrs.k_up_transposed};
  args.batch = {o.in(kSeqStart), o.in(kKvLen), o.in(kPageTable), o.live};
  args.causal = attrs.causal;
  args.window = attrs.window;
  args.sinks = o.in(kSinks);
  args.scale = attrs.scale;
  args.soft_cap = attrs.soft_cap;
  args.out = o.out(0);
  args.lse = o.out(1);
  args.workspace_limit = attrs.workspace_limit;
  return args;
}

}  // namespace tandem::internal
