// Reader of GGUF files, versions 2 and 3, little endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "backends/device/status.h"
#include "runtime/gguf_metadata.h"
#include "runtime/mapped_file.h"
#include "runtime/tensor_file.h"

namespace tandem {

// One file: its metadata and its tensors, both views of the mapped bytes. A file that opens is
// sound as a container: every length, count, type, name, shape and offset was checked against the
// format and the size of the file, in memory proportional to the records that are really there.
// What the values mean for a model is for the caller to check.
//
// Example:
//   TANDEM_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path));
//   TANDEM_ASSIGN_OR_RETURN(const auto arch, file.metadata().GetString("general.architecture"));
//   TANDEM_ASSIGN_OR_RETURN(const FileTensor* embedding, file.tensors().Get("token_embd.weight"));
class GgufFile {
 public:
  // Maps and checks the file at `path`; errors begin with the path.
  static absl::StatusOr<GgufFile> Open(std::string_view path);

  // The same for bytes in memory, which must outlive the result.
  static absl::StatusOr<GgufFile> Parse(std::span<const std::byte> bytes);

  uint32_t version() const { return version_; }
  uint32_t alignment() const { return alignment_; }  // of tensor data, in bytes
  const GgufMetadata& metadata() const { return metadata_; }

  // Shapes are row-major (outermost first), the reverse of the order in the file.
  const TensorTable& tensors() const { return tensors_; }

  // The mapping under an opened file, to give advice on ranges of it; nullptr after Parse.
  const MappedFile* mapping() const { return mapping_.has_value() ? &*mapping_ : nullptr; }

 private:
  GgufFile(uint32_t version, uint32_t alignment, GgufMetadata metadata, TensorTable tensors)
      : version_(version),
        alignment_(alignment),
        metadata_(std::move(metadata)),
        tensors_(std::move(tensors)) {}

  std::optional<MappedFile> mapping_;
  uint32_t version_;
  uint32_t alignment_;
  GgufMetadata metadata_;
  TensorTable tensors_;
};

}  // namespace tandem
