#include "runtime/weights.h"

#include <charconv>

#include "backends/device/quant.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

// Alignment that kernels rely on when they read elements or block scales.
size_t ElementAlignment(DType dtype) {
  if (dtype == DType::kF32 || dtype == DType::kI32) return 4;
  return dtype == DType::kMXFP4 ? 1 : 2;
}

absl::StatusOr<Shape> ShapeOf(const FileTensor& tensor) {
  if (tensor.shape.empty() || tensor.shape.size() > kMaxRank) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", Text(tensor.name), " has ", tensor.shape.size(), " dimensions"));
  }
  return Shape(std::span<const int64_t>(tensor.shape.data(), tensor.shape.size()));
}

// Vectors up to this length are converted; models have no longer ones.
constexpr int64_t kMaxVector = int64_t{1} << 24;

bool IsVector(const Shape& shape) { return shape.rows() == 1 && shape.back() <= kMaxVector; }

// An expert's part of a tensor in an old GGUF file, "blk.0.ffn_up.3.weight".
struct ExpertName {
  std::string stacked;  // "blk.0.ffn_up_exps.weight"
  int expert = 0;
};

std::optional<ExpertName> ParseExpertName(std::string_view name) {
  for (const std::string_view part : {"ffn_gate", "ffn_up", "ffn_down"}) {
    const size_t at = name.find(absl::StrCat(".", Text(part), "."));
    if (!name.starts_with("blk.") || at == name.npos) continue;
    const size_t end = at + 1 + part.size();
    std::string_view rest = name.substr(end + 1);
    const auto expert = TakeNumber(rest);
    if (!expert.has_value() || rest != "weight") return std::nullopt;
    return ExpertName{std::string(name.substr(0, end)) + "_exps.weight", *expert};
  }
  return std::nullopt;
}

}  // namespace

bool Weight::in_place() const {
  if (parts.size() != 1) return false;
  return reinterpret_cast<uintptr_t>(parts[0].data()) % ElementAlignment(dtype) == 0;
}

absl::Status WeightMap::Add(std::string_view name, const FileTensor& tensor) {
  TANDEM_ASSIGN_OR_RETURN(const Shape shape, ShapeOf(tensor));
  if (!tensor.dtype.has_value()) {
    unsupported_.emplace(name, tensor.type_name);
    return absl::OkStatus();
  }
  const bool aligned =
      reinterpret_cast<uintptr_t>(tensor.data.data()) % ElementAlignment(*tensor.dtype) == 0;
  if (IsVector(shape) && (*tensor.dtype != DType::kF32 || !aligned)) {
    // Aligned copy, then f32: vectors are small and kernels take them as f32.
    std::vector<std::byte> copy(tensor.data.begin(), tensor.data.end());
    std::vector<float> values(static_cast<size_t>(shape.back()));
    DequantizeRow(*tensor.dtype, copy.data(), values.data(), shape.back());
    AddOwned(name, shape, std::move(values));
    return absl::OkStatus();
  }
  weights_.insert_or_assign(std::string(name), Weight{*tensor.dtype, shape, {tensor.data}});
  return absl::OkStatus();
}

absl::Status WeightMap::AddStacked(std::string_view name,
                                   std::span<const FileTensor* const> tensors) {
  const FileTensor& first = *tensors.front();
  if (!first.dtype.has_value()) {
    unsupported_.emplace(name, first.type_name);
    return absl::OkStatus();
  }
  TANDEM_ASSIGN_OR_RETURN(const Shape one, ShapeOf(first));
  if (one.rank != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", Text(first.name), " has ", one.rank, " dimensions, not 2"));
  }
  Weight weight = {*first.dtype, {static_cast<int64_t>(tensors.size()), one[0], one[1]}, {}};
  for (const FileTensor* tensor : tensors) {
    if (tensor->dtype != first.dtype || tensor->shape != first.shape) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensors ", Text(first.name), " and ", Text(tensor->name), " differ in type or shape"));
    }
    weight.parts.push_back(tensor->data);
  }
  weights_.insert_or_assign(std::string(name), std::move(weight));
  return absl::OkStatus();
}

void WeightMap::AddOwned(std::string_view name, const Shape& shape, std::vector<float> values) {
  owned_.push_back(std::make_shared<const std::vector<float>>(std::move(values)));
  const auto bytes = std::as_bytes(std::span(*owned_.back()));
  weights_.insert_or_assign(std::string(name), Weight{DType::kF32, shape, {bytes}});
}

bool WeightMap::Contains(std::string_view name) const {
  return weights_.contains(name) || unsupported_.contains(name);
}

const Weight* WeightMap::Find(std::string_view name) const {
  const auto it = weights_.find(name);
  return it == weights_.end() ? nullptr : &it->second;
}

absl::StatusOr<const Weight*> WeightMap::Get(std::string_view name) const {
  if (const Weight* weight = Find(name)) return weight;
  const auto it = unsupported_.find(name);
  if (it != unsupported_.end()) {
    return absl::UnimplementedError(absl::StrCat("tensor ", Text(name), " has the type ",
                                                 it->second, ", which is not supported"));
  }
  return absl::NotFoundError(absl::StrCat("the model has no tensor ", Text(name)));
}

absl::Status AddStacks(const ExpertStacks& stacks, WeightMap& map) {
  for (const auto& [name, experts] : stacks) {
    std::vector<const FileTensor*> parts;
    for (const auto& [expert, tensor] : experts) {
      if (expert != static_cast<int>(parts.size())) {
        return absl::NotFoundError(absl::StrCat(name, ": expert ", parts.size(), " is missing"));
      }
      parts.push_back(tensor);
    }
    TANDEM_RETURN_IF_ERROR(map.AddStacked(name, parts));
  }
  return absl::OkStatus();
}

std::optional<int> TakeNumber(std::string_view& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const auto digits = static_cast<size_t>(end - text.data());
  if (error != std::errc() || digits == text.size() || *end != '.') return std::nullopt;
  text.remove_prefix(digits + 1);
  return number;
}

absl::StatusOr<WeightMap> WeightsFromGguf(const TensorTable& tensors) {
  WeightMap map;
  ExpertStacks stacks;
  for (const FileTensor& tensor : tensors) {
    if (const auto name = ParseExpertName(tensor.name)) {
      stacks[name->stacked][name->expert] = &tensor;
    } else {
      TANDEM_RETURN_IF_ERROR(map.Add(tensor.name, tensor));
    }
  }
  TANDEM_RETURN_IF_ERROR(AddStacks(stacks, map));
  return map;
}

}  // namespace tandem
