// Writer of GGUF files, version 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/device/dtype.h"
#include "backends/device/status.h"
#include "runtime/atomic_file.h"
#include "runtime/gguf_metadata.h"

namespace tandem {

// What stands before the data: the metadata, and the name, type and shape of each tensor, both in
// the order of the calls. Setters take anything; Serialize reports what is wrong.
class GgufHeader {
 public:
  void SetU8(std::string_view key, uint8_t value);
  void SetI8(std::string_view key, int8_t value);
  void SetU16(std::string_view key, uint16_t value);
  void SetI16(std::string_view key, int16_t value);
  void SetU32(std::string_view key, uint32_t value);
  void SetI32(std::string_view key, int32_t value);
  void SetU64(std::string_view key, uint64_t value);
  void SetI64(std::string_view key, int64_t value);
  void SetF32(std::string_view key, float value);
  void SetF64(std::string_view key, double value);
  void SetBool(std::string_view key, bool value);
  void SetString(std::string_view key, std::string_view value);

  void SetU32Array(std::string_view key, std::span<const uint32_t> values);
  void SetI32Array(std::string_view key, std::span<const int32_t> values);
  void SetF32Array(std::string_view key, std::span<const float> values);
  void SetBoolArray(std::string_view key, const std::vector<bool>& values);
  void SetStringArray(std::string_view key, std::span<const std::string_view> values);

  // Copies an entry of another file, of any type.
  void SetValue(std::string_view key, const GgufValue& value);

  // Declares a tensor; `shape` is row-major, 1 to 4 sizes.
  void AddTensor(std::string_view name, DType dtype, std::span<const int64_t> shape);

  struct Tensor {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
    uint64_t offset = 0;  // of the data, from the start of all data; set by Layout
    uint64_t bytes = 0;   // set by Layout
  };

  // The tensors with their places. Refuses a name or a shape that the format does not allow.
  absl::StatusOr<std::vector<Tensor>> Layout() const;

  // The bytes of the header, padded to where the data begins. Refuses what Layout does, and empty
  // keys, keys and names that occur twice, and a 'general.alignment' other than kAlignment.
  absl::StatusOr<std::vector<std::byte>> Serialize() const;

  static constexpr uint64_t kAlignment = 32;  // of tensor data in bytes

 private:
  struct Entry {
    std::string key;
    GgufType type;
    bool is_array;
    uint64_t count;
    std::string bytes;
  };

  template <typename T>
  void SetNumbers(std::string_view key, GgufType type, bool is_array, std::span<const T> values);
  absl::Status CheckEntries() const;

  std::vector<Entry> entries_;
  std::vector<Tensor> tensors_;
};

// Streams a file to the disk; only the data of one call is in memory at a time.
//
// Example:
//   TANDEM_ASSIGN_OR_RETURN(auto writer, GgufWriter::Create("model.gguf", header));
//   for (...) TANDEM_RETURN_IF_ERROR(writer.WriteTensor(name, bytes));
//   TANDEM_RETURN_IF_ERROR(writer.Finish());
class GgufWriter {
 public:
  // Writes the header. `path` is replaced by Finish; until then, and if anything fails, it is as
  // it was, and the temporary file is removed.
  static absl::StatusOr<GgufWriter> Create(std::string_view path, const GgufHeader& header);

  // The next bytes of the tensor `name`: all of them, or a part at a time. The tensors come in the
  // order of their declaration, each complete before the next begins.
  absl::Status WriteTensor(std::string_view name, std::span<const std::byte> data);

  // Checks that every tensor is complete, and makes the file durable and visible.
  absl::Status Finish();

 private:
  GgufWriter(AtomicFile file, std::vector<GgufHeader::Tensor> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}

  AtomicFile file_;
  std::vector<GgufHeader::Tensor> tensors_;
  size_t current_ = 0;    // index of the tensor being written
  uint64_t written_ = 0;  // bytes of it written so far
};

}  // namespace tandem
