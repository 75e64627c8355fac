#include "runtime/importance.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "backends/device/status.h"
#include "runtime/byte_reader.h"
#include "runtime/gguf.h"
#include "runtime/mapped_file.h"
#include "runtime/quoted.h"

namespace tandem {
namespace {

absl::StatusOr<std::vector<float>> Floats(const FileTensor& tensor) {
  if (tensor.dtype != DType::kF32) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", Quoted(tensor.name), " is ", tensor.type_name, ", not f32"));
  }
  std::vector<float> values(tensor.data.size() / sizeof(float));
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

// A length of 4 bytes, then that many bytes of text.
absl::StatusOr<std::string_view> ReadShortString(ByteReader& reader, std::string_view what) {
  TANDEM_ASSIGN_OR_RETURN(const auto length, reader.ReadNumber<int32_t>(what));
  if (length < 0) {
    return absl::InvalidArgumentError(absl::StrCat(Text(what), " has ", length, " bytes"));
  }
  TANDEM_ASSIGN_OR_RETURN(const auto bytes, reader.ReadBytes(static_cast<uint64_t>(length), what));
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace

absl::StatusOr<ImportanceMatrix> ImportanceMatrix::Open(std::string_view path) {
  TANDEM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  auto matrix = Parse(file.bytes());
  if (!matrix.ok()) return Annotate(matrix.status(), path);
  return matrix;
}

absl::StatusOr<ImportanceMatrix> ImportanceMatrix::Parse(std::span<const std::byte> bytes) {
  ImportanceMatrix matrix;
  const bool gguf = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  TANDEM_RETURN_IF_ERROR(gguf ? matrix.ParseGguf(bytes) : matrix.ParseOldFormat(bytes));
  return matrix;
}

std::span<const float> ImportanceMatrix::Find(std::string_view name) const {
  const auto entry = entries_.find(name);
  if (entry == entries_.end()) return {};
  return entry->second;
}

absl::Status ImportanceMatrix::Add(std::string_view name, std::vector<float> values) {
  for (const float value : values) {
    if (!std::isfinite(value) || value < 0.0f) {
      return absl::InvalidArgumentError(
          absl::StrCat("the entry ", Quoted(name), " has the value ", value));
    }
  }
  if (!entries_.emplace(name, std::move(values)).second) {
    return absl::InvalidArgumentError(absl::StrCat("the entry ", Quoted(name), " occurs twice"));
  }
  return absl::OkStatus();
}

// "<weight>.in_sum2" [matrices, ne0]: sums of squares; "<weight>.counts" [matrices]: how many
// squares were added. Dimensions of 1 may be left out.
absl::Status ImportanceMatrix::ParseGguf(std::span<const std::byte> bytes) {
  constexpr std::string_view kSuffix = ".in_sum2";
  TANDEM_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(bytes));
  for (const FileTensor& tensor : file.tensors()) {
    if (!tensor.name.ends_with(kSuffix)) continue;
    const std::string name(tensor.name.substr(0, tensor.name.size() - kSuffix.size()));
    TANDEM_ASSIGN_OR_RETURN(const FileTensor* counted, file.tensors().Get(name + ".counts"));
    TANDEM_ASSIGN_OR_RETURN(std::vector<float> values, Floats(tensor));
    TANDEM_ASSIGN_OR_RETURN(const std::vector<float> counts, Floats(*counted));
    if (counts.empty() || values.size() % counts.size() != 0) {
      return absl::InvalidArgumentError(absl::StrCat("the entry ", Quoted(name), " has ",
                                                     values.size(), " sums and ", counts.size(),
                                                     " counts"));
    }
    const size_t columns = values.size() / counts.size();
    for (size_t i = 0; i < values.size(); ++i) {
      const float count = counts[i / columns];
      values[i] = count > 0.0f ? values[i] / count : 0.0f;
    }
    TANDEM_RETURN_IF_ERROR(Add(name, std::move(values)));
  }
  return absl::OkStatus();
}

// Number of entries; for each its name, the number of calls, the number of values, and the values:
// means of squares times the number of calls. What follows, if anything, is about the text.
absl::Status ImportanceMatrix::ParseOldFormat(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  TANDEM_ASSIGN_OR_RETURN(const auto entries, reader.ReadNumber<int32_t>("the number of entries"));
  if (entries < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("no importance matrix: it has ", entries, " entries"));
  }
  for (int32_t i = 0; i < entries; ++i) {
    TANDEM_ASSIGN_OR_RETURN(const std::string_view name, ReadShortString(reader, "a name"));
    TANDEM_ASSIGN_OR_RETURN(const auto calls, reader.ReadNumber<int32_t>("a number of calls"));
    TANDEM_ASSIGN_OR_RETURN(const auto count, reader.ReadNumber<int32_t>("a number of values"));
    if (count < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("the entry ", Quoted(name), " has ", count, " values"));
    }
    const uint64_t size = static_cast<uint64_t>(count) * sizeof(float);
    TANDEM_ASSIGN_OR_RETURN(const auto data, reader.ReadBytes(size, "the values"));
    std::vector<float> values(static_cast<size_t>(count));
    std::memcpy(values.data(), data.data(), data.size());
    for (float& value : values) value /= static_cast<float>(std::max(calls, 1));
    TANDEM_RETURN_IF_ERROR(Add(name, std::move(values)));
  }
  return absl::OkStatus();
}

}  // namespace tandem
