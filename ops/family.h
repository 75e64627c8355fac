// How a family of ops is written down: an Op<Attrs> for each, found by overload.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ops/op.h"

namespace tandem::internal {

using Types = std::span<const TensorType>;
using Inferred = absl::StatusOr<std::vector<TensorType>>;

// The operands of a call being lowered; an input beyond the given ones is absent.
struct Operands {
  std::span<const TensorView> inputs, outputs;
  LiveCount live = nullptr;
  TensorView in(size_t i) const { return i < inputs.size() ? inputs[i] : TensorView(); }
  TensorView out(size_t i) const { return i < outputs.size() ? outputs[i] : TensorView(); }
};

// InvalidArgument unless inputs[i] is present with a rank in [low, high].
absl::Status NeedRank(Types inputs, size_t i, std::string_view what, int low, int high);

// rowwise.cc
Inferred Infer(const EmbedAttrs&, Types inputs);
Inferred Infer(const RmsNormAttrs&, Types inputs);
Inferred Infer(const RopeAttrs&, Types inputs);
Inferred Infer(const AddAttrs&, Types inputs);
Inferred Infer(const SwiGluAttrs&, Types inputs);
Inferred Infer(const ConcatAttrs&, Types inputs);
Inferred Infer(const GatherRowsAttrs&, Types inputs);
EmbedArgs LowerOp(const EmbedAttrs&, const Operands& o);
RmsNormArgs LowerOp(const RmsNormAttrs&, const Operands& o);
RopeArgs LowerOp(const RopeAttrs&, const Operands& o);
AddArgs LowerOp(const AddAttrs&, const Operands& o);
SwiGluArgs LowerOp(const SwiGluAttrs&, const Operands& o);
ConcatArgs LowerOp(const ConcatAttrs&, const Operands& o);
GatherRowsArgs LowerOp(const GatherRowsAttrs&, const Operands& o);

// linear.cc
Inferred Infer(const LinearAttrs&, Types inputs);
LinearArgs LowerOp(const LinearAttrs&, const Operands& o);

// attention.cc
Inferred Infer(const StoreKvAttrs&, Types inputs);
Inferred Infer(const AttentionAttrs&, Types inputs);
StoreKvArgs LowerOp(const StoreKvAttrs&, const Operands& o);
AttentionArgs LowerOp(const AttentionAttrs&, const Operands& o);

// moe.cc
Inferred Infer(const RouteAttrs&, Types inputs);
Inferred Infer(const ExpertsAttrs&, Types inputs);
RouteArgs LowerOp(const RouteAttrs&, const Operands& o);
ExpertsArgs LowerOp(const ExpertsAttrs&, const Operands& o);

}  // namespace tandem::internal
