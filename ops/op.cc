#include "ops/op.h"

#include "backends/device/status.h"
#include "ops/family.h"

namespace tandem {
namespace internal {

absl::Status NeedRank(Types inputs, size_t i, std::string_view what, int low, int high) {
  const int rank = i < inputs.size() ? inputs[i].shape.rank : 0;
  if (rank >= low && rank <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      rank == 0 ? absl::StrCat(Text(what), " is missing")
                : absl::StrCat(Text(what), " has rank ", rank, ", not ", low,
                               low == high ? "" : absl::StrCat(" to ", high)));
}

}  // namespace internal

int MaxInputs(KernelId id) {
  switch (id) {
    case KernelId::kAttention:
      return 9;
    case KernelId::kExperts:
      return 6;
    case KernelId::kRope:
    case KernelId::kLinear:
    case KernelId::kStoreKv:
      return 3;
    default:
      return 2;
  }
}

absl::StatusOr<std::vector<TensorType>> InferTypes(const OpAttrs& attrs,
                                                   std::span<const TensorType> inputs) {
  const KernelId id = GetKernelId(attrs);
  const auto too_many = static_cast<int>(inputs.size()) > MaxInputs(id);
  auto types = too_many
                   ? absl::InvalidArgumentError(
                         absl::StrCat(inputs.size(), " inputs, at most ", MaxInputs(id)))
                   : std::visit([&](const auto& a) { return internal::Infer(a, inputs); }, attrs);
  if (!types.ok()) return Annotate(types.status(), KernelName(id));
  return types;
}

KernelArgs Lower(const OpAttrs& attrs, std::span<const TensorView> inputs,
                 std::span<const TensorView> outputs, LiveCount live) {
  const internal::Operands operands = {inputs, outputs, live};
  return std::visit([&](const auto& a) -> KernelArgs { return internal::LowerOp(a, operands); },
                    attrs);
}

}  // namespace tandem
