#include "runtime/gguf_model.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "runtime/quoted.h"

namespace tandem {
namespace {

// A path "<prefix>-00002-of-00003.gguf" in parts.
struct ShardName {
  std::string_view prefix;
  uint32_t number;  // from 1
  uint32_t count;
};

std::string ShardPath(std::string_view prefix, uint32_t number, uint32_t count) {
  return absl::StrFormat("%s-%05d-of-%05d.gguf", Text(prefix), number, count);
}

std::optional<ShardName> ParseShardName(std::string_view path) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";  // 0 stands for a digit
  if (path.size() < kPattern.size()) return std::nullopt;
  const std::string_view tail = path.substr(path.size() - kPattern.size());
  const auto matches = [](char c, char pattern) {
    return pattern == '0' ? c >= '0' && c <= '9' : c == pattern;
  };
  if (!std::ranges::equal(tail, kPattern, matches)) return std::nullopt;
  ShardName name = {path.substr(0, path.size() - tail.size()), 0, 0};
  if (!absl::SimpleAtoi(Text(tail.substr(1, 5)), &name.number) ||
      !absl::SimpleAtoi(Text(tail.substr(10, 5)), &name.count)) {
    return std::nullopt;
  }
  return name;
}

absl::Status CheckNumber(const GgufFile& shard, std::string_view key, uint64_t expected) {
  TANDEM_ASSIGN_OR_RETURN(const uint64_t value, shard.metadata().GetU64(key));
  if (value == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("metadata key ", Quoted(key), " is ", value,
                                                 " where ", expected, " is expected"));
}

// All shards of the model whose `split.count` is `count`, in order.
absl::StatusOr<std::vector<GgufFile>> OpenShards(std::string_view path, uint64_t count) {
  const auto name = ParseShardName(path);
  if (!name.has_value() || name->count != count) {
    return absl::InvalidArgumentError(absl::StrCat(
        Text(path), " is one of ", count, " shards by its metadata, but its name does not end in ",
        absl::StrFormat("\"-<number>-of-%05d.gguf\"", count), ", so the others cannot be found"));
  }
  std::vector<GgufFile> shards;
  for (uint32_t i = 0; i < count; ++i) {
    const std::string shard_path = ShardPath(name->prefix, i + 1, name->count);
    auto shard = GgufFile::Open(shard_path);
    if (!shard.ok()) {
      return Annotate(shard.status(), absl::StrCat("shard ", i + 1, " of ", count));
    }
    TANDEM_RETURN_IF_ERROR(Annotate(CheckNumber(*shard, "split.no", i), shard_path));
    TANDEM_RETURN_IF_ERROR(Annotate(CheckNumber(*shard, "split.count", count), shard_path));
    shards.push_back(*std::move(shard));
  }
  return shards;
}

absl::StatusOr<TensorTable> Merge(std::span<const GgufFile> shards) {
  std::vector<FileTensor> tensors;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const FileTensor& tensor : shards[i].tensors()) {
      tensors.push_back(tensor);
      tensors.back().shard = static_cast<int>(i);
    }
  }
  return TensorTable::Create(std::move(tensors));
}

// Each shard that states the total of tensors must state the true one; the first has to.
absl::Status CheckTotal(std::span<const GgufFile> shards, uint64_t total) {
  constexpr std::string_view kKey = "split.tensors.count";
  for (const GgufFile& shard : shards) {
    const bool required = &shard == &shards.front();
    if (!required && shard.metadata().Find(kKey) == nullptr) continue;
    TANDEM_RETURN_IF_ERROR(Annotate(CheckNumber(shard, kKey, total), shard.mapping()->path()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufModel> GgufModel::Open(std::string_view path) {
  TANDEM_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
  const auto count = file.metadata().FindU64("split.count");
  if (!count.ok()) return Annotate(count.status(), path);
  std::vector<GgufFile> shards;
  if (count->value_or(0) > 1) {
    TANDEM_ASSIGN_OR_RETURN(shards, OpenShards(path, **count));
  } else {
    shards.push_back(std::move(file));
  }
  auto tensors = Merge(shards);
  if (!tensors.ok()) return Annotate(tensors.status(), path);
  if (shards.size() > 1) TANDEM_RETURN_IF_ERROR(CheckTotal(shards, tensors->size()));
  return GgufModel(std::move(shards), *std::move(tensors));
}

}  // namespace tandem
