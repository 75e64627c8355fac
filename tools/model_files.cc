#include "tools/model_files.h"

#include <filesystem>
#include <utility>

#include "backends/device/status.h"
#include "runtime/gguf_model.h"
#include "runtime/mapped_file.h"
#include "runtime/safetensors.h"
#include "runtime/tokenizer_gguf.h"
#include "runtime/tokenizer_json.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongText = 200;
constexpr int kMaxDepth = 32;  // of config.json

bool IsFolder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// A small file as text. NotFound if there is none.
absl::StatusOr<std::string> ReadText(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat(path.string(), " is missing"));
  }
  TANDEM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path.string()));
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

std::string Shortened(std::string text) {
  if (text.size() <= kLongText) return text;
  const size_t size = text.size();
  size_t end = kLongText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return absl::StrCat(text, "... (", size, " bytes)");
}

// Numbers of the file as numbers; their keys are there, so no getter can fail but by range.
Json ToJson(const GgufMetadata& metadata, const GgufEntry& entry) {
  if (entry.value.is_array) return ToString(entry.value);
  switch (entry.value.type) {
    case GgufType::kString:
      return std::string(metadata.GetString(entry.key).value_or(""));
    case GgufType::kBool:
      return metadata.GetBool(entry.key).value_or(false);
    case GgufType::kF32:
    case GgufType::kF64:
      return metadata.GetF32(entry.key).value_or(0.0f);
    case GgufType::kU64:
      return metadata.GetU64(entry.key).value_or(0);
    default:
      return metadata.GetI64(entry.key).value_or(0);
  }
}

FileFact ToFact(const GgufMetadata& metadata, const GgufEntry& entry) {
  std::string type(GgufTypeName(entry.value.type));
  if (entry.value.is_array) absl::StrAppend(&type, "[", entry.value.count, "]");
  return {std::string(entry.key), std::move(type), Shortened(ToString(entry.value)),
          ToJson(metadata, entry)};
}

absl::StatusOr<ModelFiles> OpenGguf(const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(GgufModel opened, GgufModel::Open(path));
  const auto model = std::make_shared<const GgufModel>(std::move(opened));
  ModelFiles files;
  files.format = absl::StrCat("GGUF version ", model->shards().front().version());
  files.files = static_cast<int>(model->shards().size());
  for (const GgufFile& shard : model->shards()) {
    files.bytes += static_cast<int64_t>(shard.mapping()->bytes().size());
  }
  for (const GgufEntry& entry : model->metadata().entries()) {
    files.facts.push_back(ToFact(model->metadata(), entry));
  }
  files.tensors = model->tensors();
  files.keep_open = model;
  return files;
}

// The members of a config.json; what is nested deeper than any config is left out.
absl::Status AddConfig(const std::string& text, std::vector<FileFact>& facts) {
  const auto keep = [](int depth, Json::parse_event_t, Json&) { return depth < kMaxDepth; };
  const Json config = Json::parse(text, keep, /*allow_exceptions=*/false);
  if (!config.is_object()) return absl::InvalidArgumentError("no object of JSON");
  for (const auto& [key, value] : config.items()) {
    facts.push_back({key, value.type_name(), Shortened(JsonText(value)), value});
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelFiles> OpenSafetensors(const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(SafetensorsModel opened, SafetensorsModel::Open(path));
  const auto model = std::make_shared<const SafetensorsModel>(std::move(opened));
  ModelFiles files;
  files.format = "safetensors";
  files.files = static_cast<int>(model->shards().size());
  if (IsFolder(path)) {
    const auto config = ReadText(fs::path(path) / "config.json");
    if (config.ok()) {
      TANDEM_RETURN_IF_ERROR(Annotate(AddConfig(*config, files.facts), path + "/config.json"));
    }
  }
  for (const SafetensorsFile& shard : model->shards()) {
    files.bytes += static_cast<int64_t>(shard.mapping()->bytes().size());
    for (const auto& [key, value] : shard.metadata()) {
      files.facts.push_back({key, "string", Shortened(JsonText(value)), value});
    }
  }
  files.tensors = model->tensors();
  files.keep_open = model;
  return files;
}

absl::StatusOr<TokenizerSpec> ReadTokenizerSpec(const std::string& path) {
  const bool folder = IsFolder(path);
  if (folder || path.ends_with(".json")) {
    const fs::path file = folder ? fs::path(path) / "tokenizer.json" : fs::path(path);
    TANDEM_ASSIGN_OR_RETURN(const std::string json, ReadText(file));
    const auto config = ReadText(file.parent_path() / "tokenizer_config.json");
    return ParseTokenizerJson(json, config.value_or(""));
  }
  TANDEM_ASSIGN_OR_RETURN(const GgufModel model, GgufModel::Open(path));
  return TokenizerSpecFromGguf(model.metadata());
}

}  // namespace

absl::StatusOr<ModelFiles> OpenModelFiles(const std::string& path) {
  const bool safetensors =
      IsFolder(path) || path.ends_with(".safetensors") || path.ends_with(".json");
  return safetensors ? OpenSafetensors(path) : OpenGguf(path);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& path) {
  auto spec = ReadTokenizerSpec(path);
  if (!spec.ok()) return Annotate(spec.status(), path);
  auto tokenizer = Tokenizer::Create(*std::move(spec));
  return tokenizer.ok() ? std::move(tokenizer) : Annotate(tokenizer.status(), path);
}

}  // namespace tandem
