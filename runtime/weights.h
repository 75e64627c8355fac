// The weights of a model under GGUF's names, whichever files they lie in.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/device/tensor.h"
#include "runtime/tensor_file.h"

namespace tandem {

// A weight in host memory: one piece, or several that follow each other (experts that a file keeps
// apart). The bytes belong to the file or to the WeightMap.
struct Weight {
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::span<const std::byte>> parts;  // of whole panels, if they are interleaved
  WeightLayout layout = WeightLayout::kRows;

  int64_t bytes() const { return ContiguousBytes(dtype, shape); }
  // Its bytes can be used where they are: one piece, aligned for its element type.
  bool in_place() const;
};

// Name to weight. Names are those of GGUF, such as "blk.0.attn_q.weight". A copy shares the bytes.
class WeightMap {
 public:
  // Takes a tensor of a file. InvalidArgument, naming it, for a rank above 4; the element type may
  // be unsupported, which Get reports. Vectors (norms, biases) that are not f32 are converted, also
  // those that a file keeps as a matrix of one row.
  absl::Status Add(std::string_view name, const FileTensor& tensor);
  // Experts kept apart become one weight with a leading dimension; they must agree in type and
  // shape.
  absl::Status AddStacked(std::string_view name, std::span<const FileTensor* const> tensors);
  // An f32 weight made by the loader, such as rope frequencies.
  void AddOwned(std::string_view name, const Shape& shape, std::vector<float> values);

  // True if the model has this tensor, even if its type is not supported.
  bool Contains(std::string_view name) const;
  // Null if there is none that can be computed with.
  const Weight* Find(std::string_view name) const;
  // NotFound; or Unimplemented for an element type that cannot be computed with.
  absl::StatusOr<const Weight*> Get(std::string_view name) const;

  // Says how the bytes of a weight that is here lie.
  void SetLayout(std::string_view name, WeightLayout layout) {
    weights_.find(name)->second.layout = layout;
  }

  const std::map<std::string, Weight, std::less<>>& all() const { return weights_; }

 private:
  std::map<std::string, Weight, std::less<>> weights_;
  std::map<std::string, std::string, std::less<>> unsupported_;  // name to type
  std::vector<std::shared_ptr<const std::vector<float>>> owned_;
};

// Experts that a file keeps apart: for each stacked name the tensors by number of expert.
using ExpertStacks = std::map<std::string, std::map<int, const FileTensor*>>;

// Adds each stack as one weight. NotFound if an expert is missing; the errors of AddStacked.
absl::Status AddStacks(const ExpertStacks& stacks, WeightMap& map);

// Takes "12." from the front of `text`; nothing, leaving it, if it does not begin so.
std::optional<int> TakeNumber(std::string_view& text);

// The tensors of a GGUF file. Experts that an old file keeps apart ("blk.0.ffn_up.3.weight") are
// stacked.
absl::StatusOr<WeightMap> WeightsFromGguf(const TensorTable& tensors);

// The tensors of a Hugging Face checkpoint; experts that are kept apart are stacked. Tensors that
// no supported model uses (further-token prediction) are left out.
absl::StatusOr<WeightMap> WeightsFromHuggingFace(const TensorTable& tensors);

}  // namespace tandem
