#include "runtime/gguf.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "runtime/byte_reader.h"
#include "runtime/gguf_types.h"
#include "runtime/quoted.h"

namespace tandem {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kDefaultAlignment = 32;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kMaxTensorName = 63;

// The fewest bytes that a record can take: a name of one byte after its length, the type, and a
// value of one byte; or the number of dimensions, one dimension, the type, and the offset.
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

struct Header {
  uint32_t version;
  uint64_t tensor_count;
  uint64_t entry_count;
};

absl::Status CheckVersion(uint32_t version) {
  if ((version & 0xffff) == 0) {
    return absl::UnimplementedError(
        "the file is big endian; only little-endian GGUF files are supported");
  }
  if (version < 2 || version > 3) {
    return absl::UnimplementedError(
        absl::StrCat("GGUF version ", version, " is not supported; 2 and 3 are"));
  }
  return absl::OkStatus();
}

absl::Status CheckCount(std::string_view what, uint64_t count, uint64_t remaining,
                        uint64_t min_bytes) {
  if (count <= remaining / min_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the header promises ", count, " ", Text(what),
                                                 ", for which the ", remaining,
                                                 " bytes that follow are too few"));
}

absl::StatusOr<Header> ReadHeader(ByteReader& reader) {
  Header header;
  TANDEM_ASSIGN_OR_RETURN(const auto magic, reader.ReadNumber<uint32_t>("the magic number"));
  if (magic != kMagic) {
    return absl::InvalidArgumentError(
        "not a GGUF file: it does not begin with the magic number 'GGUF'");
  }
  TANDEM_ASSIGN_OR_RETURN(header.version, reader.ReadNumber<uint32_t>("the version"));
  TANDEM_RETURN_IF_ERROR(CheckVersion(header.version));
  TANDEM_ASSIGN_OR_RETURN(header.tensor_count, reader.ReadNumber<uint64_t>("the tensor count"));
  TANDEM_ASSIGN_OR_RETURN(header.entry_count, reader.ReadNumber<uint64_t>("the metadata count"));
  TANDEM_RETURN_IF_ERROR(
      CheckCount("metadata keys", header.entry_count, reader.remaining(), kMinEntryBytes));
  TANDEM_RETURN_IF_ERROR(
      CheckCount("tensors", header.tensor_count, reader.remaining(), kMinTensorBytes));
  return header;
}

// Moves `reader` over `count` strings; gives their bytes.
absl::StatusOr<std::span<const std::byte>> ReadStrings(ByteReader& reader, uint64_t count) {
  ByteReader start = reader;
  for (uint64_t i = 0; i < count; ++i) {
    TANDEM_RETURN_IF_ERROR(reader.ReadString("a string").status());
  }
  return start.ReadBytes(reader.position() - start.position(), "strings");
}

absl::Status CheckBools(std::span<const std::byte> bytes) {
  const auto bad = std::ranges::find_if(bytes, [](std::byte b) { return b > std::byte{1}; });
  if (bad == bytes.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("holds a bool of ", static_cast<int>(*bad), "; only 0 and 1 are bools"));
}

// Reads the elements that `value` announces and sets its bytes.
absl::Status ReadElements(ByteReader& reader, GgufValue& value) {
  const auto bytes = GgufTypeBytes(value.type);
  if (!bytes.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("has the unknown type number ", static_cast<uint32_t>(value.type)));
  }
  if (value.type == GgufType::kArray) {
    return absl::InvalidArgumentError("is an array of arrays, which the format does not allow");
  }
  const uint64_t min_bytes = value.type == GgufType::kString ? 8 : *bytes;
  if (value.count > reader.remaining() / min_bytes) {
    return absl::OutOfRangeError(
        absl::StrCat("holds ", value.count, " elements of type ", Text(GgufTypeName(value.type)),
                     ", more than the ", reader.remaining(), " bytes left in the file can hold"));
  }
  if (value.type == GgufType::kString) {
    TANDEM_ASSIGN_OR_RETURN(value.bytes, ReadStrings(reader, value.count));
    return absl::OkStatus();
  }
  TANDEM_ASSIGN_OR_RETURN(value.bytes, reader.ReadBytes(value.count * *bytes, "a value"));
  return value.type == GgufType::kBool ? CheckBools(value.bytes) : absl::OkStatus();
}

absl::StatusOr<GgufValue> ReadValue(ByteReader& reader) {
  GgufValue value = {};
  TANDEM_ASSIGN_OR_RETURN(const auto type, reader.ReadNumber<uint32_t>("a value's type"));
  value.type = static_cast<GgufType>(type);
  value.is_array = value.type == GgufType::kArray;
  value.count = 1;
  if (value.is_array) {
    TANDEM_ASSIGN_OR_RETURN(const auto element, reader.ReadNumber<uint32_t>("an array's type"));
    value.type = static_cast<GgufType>(element);
    TANDEM_ASSIGN_OR_RETURN(value.count, reader.ReadNumber<uint64_t>("an array's length"));
  }
  TANDEM_RETURN_IF_ERROR(ReadElements(reader, value));
  return value;
}

absl::StatusOr<GgufMetadata> ReadMetadata(ByteReader& reader, uint64_t count) {
  // No reservation: `count` is only a promise, so memory grows with the entries that are read.
  std::vector<GgufEntry> entries;
  for (uint64_t i = 0; i < count; ++i) {
    GgufEntry entry;
    const std::string which = absl::StrCat("metadata key ", i, " of ", count);
    TANDEM_ASSIGN_OR_RETURN(entry.key, reader.ReadString(which));
    auto value = ReadValue(reader);
    if (!value.ok()) {
      return absl::Status(value.status().code(), absl::StrCat("metadata key ", Quoted(entry.key),
                                                              " ", value.status().message()));
    }
    entry.value = *value;
    entries.push_back(entry);
  }
  return GgufMetadata::Create(std::move(entries));
}

absl::StatusOr<uint32_t> ReadAlignment(const GgufMetadata& metadata) {
  const GgufValue* value = metadata.Find("general.alignment");
  if (value == nullptr) return kDefaultAlignment;
  if (value->is_array || value->type != GgufType::kU32) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata key 'general.alignment' must be u32, not ",
                     value->is_array ? "an array of " : "", Text(GgufTypeName(value->type))));
  }
  const auto alignment = LoadNumber<uint32_t>(value->bytes, 0);
  if (!std::has_single_bit(alignment)) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata key 'general.alignment' is ", alignment, ", not a power of two"));
  }
  return alignment;
}

// Reads the dimensions, innermost first in the file, into the row-major `shape`.
absl::Status ReadShape(ByteReader& reader, FileShape& shape) {
  TANDEM_ASSIGN_OR_RETURN(const auto rank, reader.ReadNumber<uint32_t>("a tensor's rank"));
  if (rank < 1 || rank > kMaxDimensions) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", rank, " dimensions; 1 to ", kMaxDimensions, " are allowed"));
  }
  shape.resize(rank);
  int64_t elements = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    TANDEM_ASSIGN_OR_RETURN(const auto size, reader.ReadNumber<int64_t>("a tensor's shape"));
    if (size < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("has size ", size, " in dimension ", i, "; at least 1 is needed"));
    }
    if (size > std::numeric_limits<int64_t>::max() / elements) {
      return absl::InvalidArgumentError(
          absl::StrCat("has too many elements: size ", size, " in dimension ", i, " overflows"));
    }
    elements *= size;
    shape[rank - 1 - i] = size;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> DataBytes(const GgufTensorType& type, const FileShape& shape) {
  const auto columns = static_cast<uint64_t>(shape.back());
  const auto block_size = static_cast<uint64_t>(type.block_size);
  if (columns % block_size != 0) {
    return absl::InvalidArgumentError(absl::StrCat("has rows of ", columns,
                                                   " elements, not a multiple of the ", block_size,
                                                   " in a block of ", Text(type.name)));
  }
  uint64_t bytes = columns / block_size;
  const auto multiply = [&bytes](uint64_t factor) {
    return !__builtin_mul_overflow(bytes, factor, &bytes);
  };
  bool fits = multiply(type.block_bytes) &&
              !__builtin_add_overflow(bytes, uint64_t(type.row_bytes), &bytes);
  for (size_t i = 0; i + 1 < shape.size(); ++i) fits = fits && multiply(shape[i]);
  if (!fits || bytes > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return absl::InvalidArgumentError(
        absl::StrCat("of shape ", ShapeText(shape), " has more bytes than 64 bits can count"));
  }
  return bytes;
}

// A tensor whose data is not yet found: its offset is relative to the start of the data.
struct PendingTensor {
  FileTensor tensor;
  uint64_t bytes = 0;
};

// Reads what follows the name.
absl::Status ReadTensorBody(ByteReader& reader, uint32_t alignment, PendingTensor& pending) {
  FileTensor& tensor = pending.tensor;
  TANDEM_RETURN_IF_ERROR(ReadShape(reader, tensor.shape));
  TANDEM_ASSIGN_OR_RETURN(const auto number, reader.ReadNumber<uint32_t>("a tensor's type"));
  const auto type = FindGgufTensorType(number);
  if (!type.has_value()) {
    return absl::UnimplementedError(absl::StrCat("has the unknown type number ", number));
  }
  tensor.dtype = type->dtype;
  tensor.type_name = std::string(type->name);
  TANDEM_ASSIGN_OR_RETURN(pending.bytes, DataBytes(*type, tensor.shape));
  TANDEM_ASSIGN_OR_RETURN(tensor.offset, reader.ReadNumber<uint64_t>("a tensor's offset"));
  if (tensor.offset % alignment != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "is at offset ", tensor.offset, ", not a multiple of the alignment ", alignment));
  }
  return absl::OkStatus();
}

absl::Status AnnotateTensor(const absl::Status& status, std::string_view name) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("tensor ", Quoted(name), " ", status.message()));
}

absl::StatusOr<std::vector<PendingTensor>> ReadTensorInfos(ByteReader& reader, uint64_t count,
                                                           uint32_t alignment) {
  std::vector<PendingTensor> pending;
  for (uint64_t i = 0; i < count; ++i) {
    PendingTensor& next = pending.emplace_back();
    const std::string which = absl::StrCat("the name of tensor ", i, " of ", count);
    TANDEM_ASSIGN_OR_RETURN(next.tensor.name, reader.ReadString(which));
    if (next.tensor.name.size() > kMaxTensorName) {
      return absl::InvalidArgumentError(absl::StrCat("the tensor name ", Quoted(next.tensor.name),
                                                     " is longer than ", kMaxTensorName, " bytes"));
    }
    TANDEM_RETURN_IF_ERROR(
        AnnotateTensor(ReadTensorBody(reader, alignment, next), next.tensor.name));
  }
  return pending;
}

// The format wants the tensors one after another; files whose tensors stand in another order, or
// with gaps, are as safe to read, so only an overlap is refused.
absl::Status CheckNoOverlap(const std::vector<PendingTensor>& pending) {
  std::vector<uint32_t> order(pending.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](uint32_t i) { return pending[i].tensor.offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const PendingTensor& before = pending[order[i - 1]];
    const PendingTensor& after = pending[order[i]];
    if (after.tensor.offset - before.tensor.offset < before.bytes) {
      return absl::InvalidArgumentError(absl::StrCat("tensors ", Quoted(before.tensor.name),
                                                     " and ", Quoted(after.tensor.name),
                                                     " overlap at offset ", after.tensor.offset));
    }
  }
  return absl::OkStatus();
}

// Sets the data of each tensor; `data_start` may lie behind the end of a file without tensors.
absl::Status Locate(std::span<const std::byte> file, uint64_t data_start,
                    std::vector<PendingTensor>& pending) {
  const uint64_t available = file.size() - std::min<uint64_t>(data_start, file.size());
  for (PendingTensor& next : pending) {
    FileTensor& tensor = next.tensor;
    if (tensor.offset > available || next.bytes > available - tensor.offset) {
      return AnnotateTensor(
          absl::OutOfRangeError(absl::StrCat("needs ", next.bytes, " bytes at offset ",
                                             tensor.offset, " of the data, which ends at ",
                                             available, ": the file is cut short or damaged")),
          tensor.name);
    }
    tensor.offset += data_start;
    tensor.data = file.subspan(tensor.offset, next.bytes);
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorTable> ReadTensors(std::span<const std::byte> file, ByteReader& reader,
                                        uint64_t count, uint32_t alignment) {
  TANDEM_ASSIGN_OR_RETURN(auto pending, ReadTensorInfos(reader, count, alignment));
  TANDEM_RETURN_IF_ERROR(CheckNoOverlap(pending));
  const uint64_t data_start = (reader.position() + alignment - 1) / alignment * alignment;
  TANDEM_RETURN_IF_ERROR(Locate(file, data_start, pending));
  std::vector<FileTensor> tensors;
  tensors.reserve(pending.size());
  for (PendingTensor& next : pending) tensors.push_back(std::move(next.tensor));
  return TensorTable::Create(std::move(tensors));
}

}  // namespace

absl::StatusOr<GgufFile> GgufFile::Parse(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  TANDEM_ASSIGN_OR_RETURN(const Header header, ReadHeader(reader));
  TANDEM_ASSIGN_OR_RETURN(GgufMetadata metadata, ReadMetadata(reader, header.entry_count));
  TANDEM_ASSIGN_OR_RETURN(const uint32_t alignment, ReadAlignment(metadata));
  TANDEM_ASSIGN_OR_RETURN(TensorTable tensors,
                          ReadTensors(bytes, reader, header.tensor_count, alignment));
  return GgufFile(header.version, alignment, std::move(metadata), std::move(tensors));
}

absl::StatusOr<GgufFile> GgufFile::Open(std::string_view path) {
  TANDEM_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
  auto file = Parse(mapping.bytes());
  if (!file.ok()) return Annotate(file.status(), path);
  file->mapping_ = std::move(mapping);
  return file;
}

}  // namespace tandem
