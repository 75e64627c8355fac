#include "runtime/model.h"

#include <filesystem>

#include "backends/device/status.h"
#include "runtime/gguf_model.h"
#include "runtime/safetensors.h"
#include "runtime/tokenizer_gguf.h"
#include "runtime/tokenizer_json.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

// Larger files of text are not part of a model.
constexpr size_t kMaxTextBytes = size_t{256} << 20;

// The text of a small file beside the weights. NotFound if there is none.
absl::StatusOr<std::string> ReadText(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error))
    return absl::NotFoundError(absl::StrCat(path.string(), " is missing"));
  TANDEM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path.string()));
  const auto bytes = file.bytes();
  if (bytes.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), " has ", bytes.size(), " bytes, too many for a text"));
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::string TextOrNothing(const fs::path& path) {
  auto text = ReadText(path);
  return text.ok() ? *std::move(text) : "";
}

int64_t TotalBytes(const TensorTable& tensors) {
  int64_t bytes = 0;
  for (const FileTensor& tensor : tensors) bytes += static_cast<int64_t>(tensor.data.size());
  return bytes;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Model>> Model::Open(std::string_view path) {
  auto model = std::shared_ptr<Model>(new Model());
  model->path_ = std::string(path);
  std::error_code error;
  const bool folder = fs::is_directory(model->path_, error);
  TANDEM_RETURN_IF_ERROR(folder ? model->OpenFolder(model->path_) : model->OpenGguf(model->path_));
  TANDEM_RETURN_IF_ERROR(Annotate(model->Finish(), path));
  return model;
}

absl::StatusOr<std::shared_ptr<const Model>> Model::Assemble(ModelParts parts) {
  auto model = std::shared_ptr<Model>(new Model());
  model->path_ = std::move(parts.name);
  model->memory_ = std::move(parts.memory);
  model->config_ = std::move(parts.config);
  model->weights_ = std::move(parts.weights);
  for (const auto& [name, weight] : model->weights_.all()) model->file_bytes_ += weight.bytes();
  TANDEM_RETURN_IF_ERROR(Annotate(model->Finish(), model->path_));
  model->warnings_ = std::move(parts.warnings);
  return model;
}

absl::Status Model::OpenGguf(const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(GgufModel opened, GgufModel::Open(path));
  auto file = std::make_shared<const GgufModel>(std::move(opened));
  memory_ = file;
  file_bytes_ = TotalBytes(file->tensors());
  auto config = ConfigFromGguf(file->metadata());
  if (!config.ok()) return Annotate(config.status(), path);
  config_ = *std::move(config);
  auto weights = WeightsFromGguf(file->tensors());
  if (!weights.ok()) return Annotate(weights.status(), path);
  weights_ = *std::move(weights);
  TANDEM_ASSIGN_OR_RETURN(const auto kind, file->metadata().FindString("tokenizer.ggml.model"));
  if (kind.value_or("none") == "none") return absl::OkStatus();
  auto spec = TokenizerSpecFromGguf(file->metadata());
  if (!spec.ok()) return Annotate(spec.status(), path);
  auto tokenizer = Tokenizer::Create(*std::move(spec));
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), path);
  tokenizer_ = *std::move(tokenizer);
  return absl::OkStatus();
}

absl::Status Model::OpenFolder(const std::string& path) {
  const fs::path folder(path);
  TANDEM_ASSIGN_OR_RETURN(const std::string config, ReadText(folder / "config.json"));
  auto parsed = ConfigFromHuggingFace(config);
  if (!parsed.ok()) return Annotate(parsed.status(), path);
  config_ = *std::move(parsed);
  TANDEM_ASSIGN_OR_RETURN(SafetensorsModel opened, SafetensorsModel::Open(path));
  auto file = std::make_shared<const SafetensorsModel>(std::move(opened));
  memory_ = file;
  file_bytes_ = TotalBytes(file->tensors());
  auto weights = WeightsFromHuggingFace(file->tensors());
  if (!weights.ok()) return Annotate(weights.status(), path);
  weights_ = *std::move(weights);
  const auto json = ReadText(folder / "tokenizer.json");
  if (absl::IsNotFound(json.status())) return absl::OkStatus();
  TANDEM_RETURN_IF_ERROR(json.status());
  auto spec = ParseTokenizerJson(*json, TextOrNothing(folder / "tokenizer_config.json"));
  if (!spec.ok()) return Annotate(spec.status(), (folder / "tokenizer.json").string());
  auto tokenizer = Tokenizer::Create(*std::move(spec));
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), path);
  tokenizer_ = *std::move(tokenizer);
  return absl::OkStatus();
}

// What follows from the weights: the vocabulary, and rope frequencies as a weight of their own.
absl::Status Model::Finish() {
  TANDEM_ASSIGN_OR_RETURN(const Weight* embedding, weights_.Get("token_embd.weight"));
  if (embedding->shape.rank != 2) {
    return absl::InvalidArgumentError(absl::StrCat("tensor token_embd.weight is ",
                                                   embedding->shape.ToString(), ", not a matrix"));
  }
  config_.vocab = embedding->shape[0];
  if (tokenizer_ != nullptr && tokenizer_->vocab_size() > config_.vocab) {
    return absl::InvalidArgumentError(absl::StrCat("the tokenizer has ", tokenizer_->vocab_size(),
                                                   " tokens, the embedding ", config_.vocab,
                                                   " rows"));
  }
  if (tokenizer_ != nullptr) warnings_ = tokenizer_->spec().warnings;
  if (const Weight* divisors = weights_.Find("rope_freqs.weight")) {
    if (divisors->dtype != DType::kF32 || divisors->shape.rank != 1) {
      return absl::InvalidArgumentError("tensor rope_freqs.weight is not a vector of f32");
    }
    const auto* values = reinterpret_cast<const float*>(divisors->parts[0].data());
    config_.rope.divisors.assign(values, values + divisors->shape[0]);
    TANDEM_RETURN_IF_ERROR(ValidateRope(config_.rope));
  }
  weights_.AddOwned("rope.inv_freq", {config_.rope.dim / 2}, RopeFrequencies(config_.rope));
  return absl::OkStatus();
}

}  // namespace tandem
