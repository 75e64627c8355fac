#include "runtime/gguf_writer.h"

#include <cstring>
#include <limits>
#include <unordered_set>

#include "runtime/quoted.h"
#include "runtime/tensor_file.h"

namespace tandem {
namespace {

constexpr uint32_t kVersion = 3;
constexpr size_t kMaxDimensions = 4;
constexpr size_t kMaxTensorName = 63;

template <typename T>
void AppendNumber(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void AppendString(std::string& bytes, std::string_view text) {
  AppendNumber<uint64_t>(bytes, text.size());
  bytes.append(text);
}

uint64_t AlignUp(uint64_t n) {
  constexpr uint64_t kMask = GgufHeader::kAlignment - 1;
  return (n + kMask) & ~kMask;
}

absl::StatusOr<uint64_t> DataBytes(const GgufHeader::Tensor& tensor) {
  if (tensor.shape.empty() || tensor.shape.size() > kMaxDimensions) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", tensor.shape.size(), " dimensions; 1 to 4 are allowed in GGUF"));
  }
  const DTypeInfo& info = GetDTypeInfo(tensor.dtype);
  if (tensor.shape.back() % info.block_size != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("has rows of ", tensor.shape.back(), " elements, not a multiple of the ",
                     info.block_size, " in a block of ", Text(info.name)));
  }
  int64_t elements = 1;
  for (const int64_t size : tensor.shape) {
    // A block takes at most 8 bytes per element, so the bytes cannot overflow either.
    if (size < 1 || size > std::numeric_limits<int64_t>::max() / 8 / elements) {
      return absl::InvalidArgumentError(
          absl::StrCat("has the shape ", ShapeText(tensor.shape), ", empty or too large"));
    }
    elements *= size;
  }
  return static_cast<uint64_t>(elements / info.block_size * info.block_bytes);
}

absl::Status CheckName(std::string_view name) {
  if (!name.empty() && name.size() <= kMaxTensorName) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the tensor name ", Quoted(name), " must have 1 to ", kMaxTensorName, " bytes"));
}

}  // namespace

template <typename T>
void GgufHeader::SetNumbers(std::string_view key, GgufType type, bool is_array,
                            std::span<const T> values) {
  Entry& entry = entries_.emplace_back(Entry{std::string(key), type, is_array, values.size(), ""});
  for (const T value : values) AppendNumber(entry.bytes, value);
}

void GgufHeader::SetU8(std::string_view key, uint8_t value) {
  SetNumbers<uint8_t>(key, GgufType::kU8, false, {&value, 1});
}
void GgufHeader::SetI8(std::string_view key, int8_t value) {
  SetNumbers<int8_t>(key, GgufType::kI8, false, {&value, 1});
}
void GgufHeader::SetU16(std::string_view key, uint16_t value) {
  SetNumbers<uint16_t>(key, GgufType::kU16, false, {&value, 1});
}
void GgufHeader::SetI16(std::string_view key, int16_t value) {
  SetNumbers<int16_t>(key, GgufType::kI16, false, {&value, 1});
}
void GgufHeader::SetU32(std::string_view key, uint32_t value) {
  SetNumbers<uint32_t>(key, GgufType::kU32, false, {&value, 1});
}
void GgufHeader::SetI32(std::string_view key, int32_t value) {
  SetNumbers<int32_t>(key, GgufType::kI32, false, {&value, 1});
}
void GgufHeader::SetU64(std::string_view key, uint64_t value) {
  SetNumbers<uint64_t>(key, GgufType::kU64, false, {&value, 1});
}
void GgufHeader::SetI64(std::string_view key, int64_t value) {
  SetNumbers<int64_t>(key, GgufType::kI64, false, {&value, 1});
}
void GgufHeader::SetF32(std::string_view key, float value) {
  SetNumbers<float>(key, GgufType::kF32, false, {&value, 1});
}
void GgufHeader::SetF64(std::string_view key, double value) {
  SetNumbers<double>(key, GgufType::kF64, false, {&value, 1});
}
void GgufHeader::SetBool(std::string_view key, bool value) {
  const uint8_t byte = value ? 1 : 0;
  SetNumbers<uint8_t>(key, GgufType::kBool, false, {&byte, 1});
}
void GgufHeader::SetString(std::string_view key, std::string_view value) {
  SetStringArray(key, {&value, 1});
  entries_.back().is_array = false;
}
void GgufHeader::SetU32Array(std::string_view key, std::span<const uint32_t> values) {
  SetNumbers(key, GgufType::kU32, true, values);
}
void GgufHeader::SetI32Array(std::string_view key, std::span<const int32_t> values) {
  SetNumbers(key, GgufType::kI32, true, values);
}
void GgufHeader::SetF32Array(std::string_view key, std::span<const float> values) {
  SetNumbers(key, GgufType::kF32, true, values);
}
void GgufHeader::SetBoolArray(std::string_view key, const std::vector<bool>& values) {
  const std::vector<uint8_t> bytes(values.begin(), values.end());
  SetNumbers<uint8_t>(key, GgufType::kBool, true, bytes);
}
void GgufHeader::SetStringArray(std::string_view key, std::span<const std::string_view> values) {
  Entry& entry =
      entries_.emplace_back(Entry{std::string(key), GgufType::kString, true, values.size(), ""});
  for (const std::string_view value : values) AppendString(entry.bytes, value);
}

void GgufHeader::SetValue(std::string_view key, const GgufValue& value) {
  entries_.push_back(
      {std::string(key), value.type, value.is_array, value.count,
       std::string(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size())});
}

void GgufHeader::AddTensor(std::string_view name, DType dtype, std::span<const int64_t> shape) {
  tensors_.push_back({std::string(name), dtype, {shape.begin(), shape.end()}});
}

absl::StatusOr<std::vector<GgufHeader::Tensor>> GgufHeader::Layout() const {
  std::vector<Tensor> tensors = tensors_;
  std::unordered_set<std::string_view> names;
  uint64_t offset = 0;
  for (Tensor& tensor : tensors) {
    TANDEM_RETURN_IF_ERROR(CheckName(tensor.name));
    if (!names.insert(tensor.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(tensor.name), " is declared twice"));
    }
    const auto bytes = DataBytes(tensor);
    if (!bytes.ok()) {
      return absl::Status(bytes.status().code(), absl::StrCat("tensor ", Quoted(tensor.name), " ",
                                                              bytes.status().message()));
    }
    tensor.offset = offset;
    tensor.bytes = *bytes;
    if (tensor.bytes > uint64_t{std::numeric_limits<int64_t>::max()} - kAlignment - offset) {
      return absl::InvalidArgumentError("the tensors have more bytes than a file can hold");
    }
    offset = AlignUp(offset + tensor.bytes);
  }
  return tensors;
}

absl::Status GgufHeader::CheckEntries() const {
  std::unordered_set<std::string_view> keys;
  for (const Entry& entry : entries_) {
    if (entry.key.empty()) return absl::InvalidArgumentError("a metadata key is empty");
    if (!keys.insert(entry.key).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key ", Quoted(entry.key), " is set twice"));
    }
    if (entry.key != "general.alignment") continue;
    uint32_t alignment = 0;
    if (entry.type == GgufType::kU32 && !entry.is_array) {
      std::memcpy(&alignment, entry.bytes.data(), sizeof(alignment));
    }
    if (alignment != kAlignment) {
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key 'general.alignment' must be u32 ", kAlignment));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::byte>> GgufHeader::Serialize() const {
  TANDEM_RETURN_IF_ERROR(CheckEntries());
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Tensor> tensors, Layout());
  std::string bytes = "GGUF";
  AppendNumber<uint32_t>(bytes, kVersion);
  AppendNumber<uint64_t>(bytes, tensors.size());
  AppendNumber<uint64_t>(bytes, entries_.size());
  for (const Entry& entry : entries_) {
    AppendString(bytes, entry.key);
    if (entry.is_array) AppendNumber(bytes, GgufType::kArray);
    AppendNumber(bytes, entry.type);
    if (entry.is_array) AppendNumber<uint64_t>(bytes, entry.count);
    bytes += entry.bytes;
  }
  for (const Tensor& tensor : tensors) {
    AppendString(bytes, tensor.name);
    AppendNumber<uint32_t>(bytes, static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) {
      AppendNumber<int64_t>(bytes, *size);
    }
    AppendNumber(bytes, tensor.dtype);
    AppendNumber<uint64_t>(bytes, tensor.offset);
  }
  bytes.resize(AlignUp(bytes.size()), '\0');
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  return std::vector<std::byte>(data, data + bytes.size());
}

absl::StatusOr<GgufWriter> GgufWriter::Create(std::string_view path, const GgufHeader& header) {
  const auto bytes = header.Serialize();
  if (!bytes.ok()) return Annotate(bytes.status(), path);
  TANDEM_ASSIGN_OR_RETURN(auto tensors, header.Layout());
  const uint64_t data_bytes =
      tensors.empty() ? 0 : AlignUp(tensors.back().offset + tensors.back().bytes);
  TANDEM_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  TANDEM_RETURN_IF_ERROR(file.Reserve(bytes->size() + data_bytes));
  TANDEM_RETURN_IF_ERROR(file.Write(*bytes));
  return GgufWriter(std::move(file), std::move(tensors));
}

absl::Status GgufWriter::WriteTensor(std::string_view name, std::span<const std::byte> data) {
  if (current_ == tensors_.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("tensor ", Quoted(name), " comes after the last declared one"));
  }
  const GgufHeader::Tensor& tensor = tensors_[current_];
  if (tensor.name != name) {
    return absl::FailedPreconditionError(absl::StrCat("tensor ", Quoted(name), " comes where ",
                                                      Quoted(tensor.name), " is expected"));
  }
  if (data.size() > tensor.bytes - written_) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), " is given ",
                                                   written_ + data.size(), " bytes; it has ",
                                                   tensor.bytes));
  }
  TANDEM_RETURN_IF_ERROR(file_.Write(data));
  written_ += data.size();
  if (written_ < tensor.bytes) return absl::OkStatus();
  ++current_;
  written_ = 0;
  constexpr std::byte kZeros[GgufHeader::kAlignment] = {};
  return file_.Write({kZeros, AlignUp(tensor.bytes) - tensor.bytes});
}

absl::Status GgufWriter::Finish() {
  if (current_ < tensors_.size()) {
    const GgufHeader::Tensor& tensor = tensors_[current_];
    return absl::FailedPreconditionError(absl::StrCat(file_.path(), ": tensor ",
                                                      Quoted(tensor.name), " has ", written_,
                                                      " of ", tensor.bytes, " bytes"));
  }
  return file_.Commit();
}

}  // namespace tandem
