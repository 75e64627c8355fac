#include "runtime/quantize_types.h"

#include "backends/device/status.h"

namespace tandem {
namespace {

double BitsPerWeight(DType type) {
  const DTypeInfo& info = GetDTypeInfo(type);
  return 8.0 * info.block_bytes / info.block_size;
}

std::optional<DType> SmallBlockType(DType type) {
  switch (type) {
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kIQ4_XS:
      return DType::kIQ4_NL;
    case DType::kQ4_K:
      return DType::kQ5_0;
    case DType::kQ5_K:
      return DType::kQ5_1;
    case DType::kQ6_K:
      return DType::kQ8_0;
    default:
      return std::nullopt;
  }
}

std::optional<DType> RuleFor(std::string_view name, const QuantizeTypes& types) {
  for (const TensorTypeRule& rule : types.rules) {
    if (MatchesPattern(rule.pattern, name)) return rule.type;
  }
  return std::nullopt;
}

DType DefaultType(std::string_view name, bool tied, const QuantizeTypes& types) {
  if (name != (tied ? "token_embd.weight" : "output.weight")) return types.type;
  const bool small = BitsPerWeight(types.type) < BitsPerWeight(DType::kQ6_K);
  return small ? DType::kQ6_K : types.type;
}

}  // namespace

bool MatchesPattern(std::string_view pattern, std::string_view text) {
  // After a star, its match is lengthened by one wherever the rest fails; only the last star needs
  // to be tried again.
  size_t p = 0, t = 0, star = pattern.npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::optional<DType> TypeForColumns(DType type, int64_t columns) {
  if (columns % GetDTypeInfo(type).block_size == 0) return type;
  const std::optional<DType> other = SmallBlockType(type);
  if (other.has_value() && columns % GetDTypeInfo(*other).block_size == 0) return other;
  return std::nullopt;
}

absl::StatusOr<DType> TypeOf(const FileTensor& tensor, DType current, bool tied,
                             const QuantizeTypes& types) {
  const std::string_view name = tensor.name;
  const bool weight = tensor.shape.size() >= 2 && name.ends_with(".weight") &&
                      !name.ends_with("_norm.weight") && current != DType::kI32;
  if (!weight) return current;
  const std::optional<DType> rule = RuleFor(name, types);
  if (name.ends_with(".ffn_gate_inp.weight")) {
    if (!rule.has_value()) return current;
    if (!IsQuantized(*rule)) return *rule;
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor ", Text(name), " routes tokens and cannot become ", Text(DTypeName(*rule))));
  }
  const DType wanted = rule.value_or(DefaultType(name, tied, types));
  return TypeForColumns(wanted, tensor.shape.back()).value_or(current);
}

}  // namespace tandem
