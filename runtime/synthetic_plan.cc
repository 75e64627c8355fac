#include "runtime/synthetic_plan.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "backends/device/status.h"
#include "nlohmann/json.hpp"
#include "runtime/mapped_file.h"
#include "runtime/quantize_types.h"

namespace tandem {
namespace {

using nlohmann::json;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr double kMaxElements = 0x1p50;  // of a model; a petabyte of weights

absl::StatusOr<std::string> ReadConfig(std::string_view path) {
  TANDEM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const auto bytes = file.bytes();
  if (bytes.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(Text(path), " has ", bytes.size(), " bytes, too many for a config.json"));
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// What a reader of weights learns from them.
struct FromWeights {
  int64_t vocab = 0;
  bool tied_head = false;
};

absl::StatusOr<FromWeights> ReadFromWeights(const std::string& text) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  FromWeights found;
  const auto vocab = object.find("vocab_size");
  if (vocab != object.end() && vocab->is_number_integer()) found.vocab = vocab->get<int64_t>();
  if (found.vocab < 1 || found.vocab > kMaxVocab) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: vocab_size is not an integer from 1 to ", kMaxVocab));
  }
  const auto tied = object.find("tie_word_embeddings");
  found.tied_head = tied != object.end() && tied->is_boolean() && tied->get<bool>();
  return found;
}

absl::Status CutLayers(int64_t layers, ModelConfig& config) {
  if (layers < 0 || layers > config.layers) {
    return absl::InvalidArgumentError(
        absl::StrCat(layers, " layers; the model has ", config.layers));
  }
  if (layers > 0) config.layers = layers;
  config.moe.dense_layers = std::min(config.moe.dense_layers, config.layers);
  return absl::OkStatus();
}

// As the readers of GGUF files see llama's models: neighbours are rotated, not halves.
void UseGgufRope(ModelConfig& config) {
  if (config.architecture == "llama") config.rope.pairing = RopePairing::kInterleaved;
}

absl::StatusOr<DType> ChooseType(const ModelTensor& tensor, Shape shape, bool tied, DType type) {
  FileTensor file;
  file.name = tensor.name;
  file.shape.assign(shape.dims.begin(), shape.dims.begin() + shape.rank);
  return TypeOf(file, DType::kF32, tied, {type, {}});
}

// Weights of a matrix have the size that keeps the variance of what goes through it (1 /
// sqrt(inputs)). What is added to the residual stream is smaller by sqrt(2 * layers), as in GPT-2
// (Radford et al. 2019, section 2.3): else what attention averages over all tokens would outgrow,
// layer by layer, what tells tokens apart, and all of them would choose the same experts. For the
// same reason the embedding has the size of the normed activations.
RandomNumbers NumbersOf(const ModelTensor& tensor, int64_t layers) {
  const double kept = 1.0 / std::sqrt(static_cast<double>(tensor.inputs));
  switch (tensor.role) {
    case TensorRole::kEmbedding:
      return {.deviation = 1.0};
    case TensorRole::kMatrix:
      return {.deviation = kept};
    case TensorRole::kResidualMatrix:
      return {.deviation = kept / std::sqrt(2.0 * static_cast<double>(layers))};
    case TensorRole::kNorm:
      return {.mean = 1.0, .deviation = 0.05};
    case TensorRole::kBias:
      return {.deviation = 0.01};
  }
  return {};
}

absl::Status CheckSize(const std::vector<ModelTensor>& tensors) {
  double elements = 0.0;
  for (const ModelTensor& tensor : tensors) {
    double product = 1.0;
    for (int i = 0; i < tensor.shape.rank; ++i) product *= static_cast<double>(tensor.shape[i]);
    elements += product;
  }
  if (elements <= kMaxElements) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a model of ", elements, " weights is too large"));
}

// Adds a tensor and counts those whose rows do not fill the blocks of the type that they would
// have.
class Planner {
 public:
  Planner(const SyntheticOptions& options, bool tied, SyntheticPlan& plan)
      : options_(options), tied_(tied), plan_(plan) {}

  absl::Status Add(const ModelTensor& tensor) {
    RandomNumbers numbers = NumbersOf(tensor, plan_.config.layers);
    numbers.key = RandomKey(options_.seed, tensor.name);
    TANDEM_ASSIGN_OR_RETURN(numbers.dtype, ChooseType(tensor, tensor.shape, tied_, options_.type));
    Shape long_rows = tensor.shape;
    long_rows.dims[static_cast<size_t>(long_rows.rank - 1)] = 256;  // fills blocks of any type
    TANDEM_ASSIGN_OR_RETURN(const DType wanted,
                            ChooseType(tensor, long_rows, tied_, options_.type));
    if (wanted != numbers.dtype) ++replaced_[{wanted, numbers.dtype}];
    plan_.tensors.push_back({tensor.name, tensor.shape, numbers});
    return absl::OkStatus();
  }

  void Report() {
    for (const auto& [types, count] : replaced_) {
      plan_.warnings.push_back(absl::StrCat(
          count, count == 1 ? " tensor is " : " tensors are ", Text(DTypeName(types.second)),
          ": their rows do not fill blocks of ", Text(DTypeName(types.first))));
    }
  }

 private:
  const SyntheticOptions& options_;
  const bool tied_;
  SyntheticPlan& plan_;
  std::map<std::pair<DType, DType>, int64_t> replaced_;
};

absl::StatusOr<SyntheticPlan> Plan(const std::string& text, const SyntheticOptions& options) {
  if (options.type == DType::kI32) return absl::InvalidArgumentError("weights cannot be i32");
  SyntheticPlan plan;
  TANDEM_ASSIGN_OR_RETURN(plan.config, ConfigFromHuggingFace(text));
  TANDEM_ASSIGN_OR_RETURN(const FromWeights found, ReadFromWeights(text));
  plan.config.vocab = found.vocab;
  TANDEM_RETURN_IF_ERROR(CutLayers(options.layers, plan.config));
  UseGgufRope(plan.config);
  const auto tensors = ListModelTensors(plan.config, {options.layout, found.tied_head});
  TANDEM_RETURN_IF_ERROR(CheckSize(tensors));
  Planner planner(options, found.tied_head, plan);
  for (const ModelTensor& tensor : tensors) TANDEM_RETURN_IF_ERROR(planner.Add(tensor));
  planner.Report();
  return plan;
}

}  // namespace

absl::StatusOr<SyntheticPlan> PlanSyntheticModel(std::string_view config_path,
                                                 const SyntheticOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(const std::string text, ReadConfig(config_path));
  auto plan = Plan(text, options);
  if (!plan.ok()) return Annotate(plan.status(), config_path);
  plan->name = std::filesystem::path(std::string(config_path)).stem();
  plan->config.name = plan->name;
  return plan;
}

}  // namespace tandem
