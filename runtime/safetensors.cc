#include "runtime/safetensors.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <tuple>

#include "absl/strings/ascii.h"
#include "runtime/byte_reader.h"
#include "runtime/quoted.h"
#include "runtime/safetensors_header.h"

namespace tandem {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own library

struct ElementType {
  std::string_view name;
  uint64_t bits;
  std::optional<DType> dtype;
};

constexpr ElementType kElementTypes[] = {
    {"F64", 64, {}},
    {"F32", 32, DType::kF32},
    {"F16", 16, DType::kF16},
    {"BF16", 16, DType::kBF16},
    {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
    {"C64", 64, {}},
    {"I64", 64, {}},
    {"I32", 32, DType::kI32},
    {"I16", 16, {}},
    {"I8", 8, {}},
    {"U64", 64, {}},
    {"U32", 32, {}},
    {"U16", 16, {}},
    {"U8", 8, {}},
    {"BOOL", 8, {}},
};

// The product of `shape`, which must not overflow even where another size is 0.
absl::StatusOr<int64_t> CountElements(const FileShape& shape) {
  bool fits = true;
  bool is_empty = false;
  int64_t elements = 1;
  for (const int64_t size : shape) {
    is_empty = is_empty || size == 0;
    fits = fits && !__builtin_mul_overflow(elements, std::max<int64_t>(size, 1), &elements);
  }
  if (!fits) {
    return absl::InvalidArgumentError(
        absl::StrCat("of shape ", ShapeText(shape), " has more elements than 64 bits can count"));
  }
  return is_empty ? 0 : elements;
}

absl::Status CheckBytes(const SafetensorsEntry& entry, int64_t elements, const ElementType& type) {
  uint64_t bits = 0;
  if (__builtin_mul_overflow(static_cast<uint64_t>(elements), type.bits, &bits)) {
    return absl::InvalidArgumentError(
        absl::StrCat("of shape ", ShapeText(entry.shape), " has more bits than 64 bits can count"));
  }
  if (bits % 8 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("of shape ", ShapeText(entry.shape), " does not end at a whole byte"));
  }
  if (bits / 8 == entry.end - entry.begin) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "has ", entry.end - entry.begin, " bytes at data_offsets [", entry.begin, ", ", entry.end,
      "], but ", bits / 8, " are needed for shape ", ShapeText(entry.shape), " of ", entry.type));
}

absl::Status CheckRange(const SafetensorsEntry& entry, uint64_t data_size) {
  if (entry.begin <= entry.end && entry.end <= data_size) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("has data_offsets [", entry.begin, ", ", entry.end,
                                            "], which do not lie in order within the ", data_size,
                                            " bytes of data: the file is cut short or damaged"));
}

// The tensor of `entry`, whose name stays in `entry`.
absl::StatusOr<FileTensor> MakeTensor(const SafetensorsEntry& entry,
                                      std::span<const std::byte> data) {
  TANDEM_RETURN_IF_ERROR(CheckRange(entry, data.size()));
  TANDEM_ASSIGN_OR_RETURN(const int64_t elements, CountElements(entry.shape));
  const auto* type = std::ranges::find(kElementTypes, entry.type, &ElementType::name);
  FileTensor tensor;
  tensor.type_name = absl::AsciiStrToLower(entry.type);
  if (type != std::end(kElementTypes)) {
    TANDEM_RETURN_IF_ERROR(CheckBytes(entry, elements, *type));
    tensor.dtype = type->dtype;
  }
  tensor.shape = entry.shape;
  tensor.data = data.subspan(entry.begin, entry.end - entry.begin);
  return tensor;
}

// The format wants the data filled without gaps, so that nothing can hide in a file.
absl::Status CheckNoGaps(const std::vector<SafetensorsEntry>& sorted, uint64_t data_size) {
  uint64_t end = 0;
  for (const SafetensorsEntry& entry : sorted) {
    if (entry.begin != end) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", Quoted(entry.name), " begins at byte ", entry.begin, " of the data, ",
          entry.begin < end ? "inside the tensor before, which ends at "
                            : "leaving a gap after the tensor before, which ends at ",
          end));
    }
    end = entry.end;
  }
  if (end == data_size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the tensors end at byte ", end, " of the data, but the file goes on to ", data_size));
}

absl::StatusOr<std::string_view> ReadHeaderText(ByteReader& reader) {
  TANDEM_ASSIGN_OR_RETURN(const auto length, reader.ReadNumber<uint64_t>("the header's length"));
  if (length > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the header's length is ", length,
                                                   " bytes; at most ", kMaxHeaderBytes,
                                                   " are allowed (not a safetensors file?)"));
  }
  TANDEM_ASSIGN_OR_RETURN(const auto bytes, reader.ReadBytes(length, "the header"));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with('{')) {
    return absl::InvalidArgumentError("not a safetensors file: the header does not begin with '{'");
  }
  return text;
}

absl::StatusOr<std::string> ReadWholeFile(std::string_view path, uint64_t max_bytes) {
  TANDEM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const auto bytes = file.bytes();
  if (bytes.size() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(Text(path), " has ", bytes.size(),
                                                   " bytes; at most ", max_bytes, " are allowed"));
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

absl::StatusOr<TensorTable> Merge(std::span<const SafetensorsFile> shards) {
  std::vector<FileTensor> tensors;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const FileTensor& tensor : shards[i].tensors()) {
      tensors.push_back(tensor);
      tensors.back().shard = static_cast<int>(i);
    }
  }
  return TensorTable::Create(std::move(tensors));
}

// `path` up to and with its last slash.
std::string_view DirectoryPart(std::string_view path) {
  return path.substr(0, path.rfind('/') + 1);  // npos + 1 is 0
}

struct Shards {
  std::vector<SafetensorsFile> files;
  std::map<std::string, size_t> index_of;  // a file's name to its place in `files`
};

absl::StatusOr<Shards> OpenListed(const std::map<std::string, std::string>& file_of,
                                  std::string_view directory) {
  Shards shards;
  for (const auto& [tensor, name] : file_of) {
    if (shards.index_of.contains(name)) continue;
    TANDEM_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(absl::StrCat(Text(directory), name)));
    shards.index_of.emplace(name, shards.files.size());
    shards.files.push_back(std::move(file));
  }
  for (const auto& [tensor, name] : file_of) {
    if (shards.files[shards.index_of.at(name)].tensors().Find(tensor) != nullptr) continue;
    return absl::NotFoundError(absl::StrCat("tensor ", Quoted(tensor), " is not in ", Quoted(name),
                                            ", where the index puts it"));
  }
  return shards;
}

absl::StatusOr<std::vector<SafetensorsFile>> OpenIndexed(std::string_view path) {
  TANDEM_ASSIGN_OR_RETURN(const std::string json, ReadWholeFile(path, kMaxHeaderBytes));
  const auto file_of = ParseSafetensorsIndex(json);
  if (!file_of.ok()) return Annotate(file_of.status(), path);
  auto shards = OpenListed(*file_of, DirectoryPart(path));
  if (!shards.ok()) return Annotate(shards.status(), path);
  return std::move(shards->files);
}

// The file to open for what the user gave: itself, or the index or the only file of a directory.
std::string ResolvePath(std::string_view path) {
  std::string text(path);
  struct stat info;
  if (stat(text.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return text;
  if (!text.ends_with('/')) text += '/';
  const std::string index = text + "model.safetensors.index.json";
  return stat(index.c_str(), &info) == 0 ? index : text + "model.safetensors";
}

}  // namespace

absl::StatusOr<SafetensorsFile> SafetensorsFile::Parse(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  TANDEM_ASSIGN_OR_RETURN(const std::string_view text, ReadHeaderText(reader));
  TANDEM_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseSafetensorsHeader(text));
  std::ranges::sort(header.entries, {}, [](const SafetensorsEntry& entry) {
    return std::make_pair(entry.begin, entry.end);
  });

  SafetensorsFile file;
  file.metadata_ = std::move(header.metadata);
  file.names_.reserve(header.entries.size());  // the names must not move once they are viewed
  std::vector<FileTensor> tensors;
  tensors.reserve(header.entries.size());
  for (SafetensorsEntry& entry : header.entries) {
    auto tensor = MakeTensor(entry, bytes.subspan(reader.position()));
    if (!tensor.ok()) {
      return absl::Status(tensor.status().code(), absl::StrCat("tensor ", Quoted(entry.name), " ",
                                                               tensor.status().message()));
    }
    tensor->name = file.names_.emplace_back(entry.name);
    tensor->offset = reader.position() + entry.begin;
    tensors.push_back(*std::move(tensor));
  }
  TANDEM_RETURN_IF_ERROR(CheckNoGaps(header.entries, reader.remaining()));
  TANDEM_ASSIGN_OR_RETURN(file.tensors_, TensorTable::Create(std::move(tensors)));
  return file;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(std::string_view path) {
  TANDEM_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
  auto file = Parse(mapping.bytes());
  if (!file.ok()) return Annotate(file.status(), path);
  file->mapping_ = std::move(mapping);
  return file;
}

absl::StatusOr<SafetensorsModel> SafetensorsModel::Open(std::string_view given_path) {
  const std::string path = ResolvePath(given_path);
  std::vector<SafetensorsFile> shards;
  if (path.ends_with(".json")) {
    TANDEM_ASSIGN_OR_RETURN(shards, OpenIndexed(path));
  } else {
    TANDEM_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
    shards.push_back(std::move(file));
  }
  auto tensors = Merge(shards);
  if (!tensors.ok()) return Annotate(tensors.status(), path);
  return SafetensorsModel(std::move(shards), *std::move(tensors));
}

}  // namespace tandem
