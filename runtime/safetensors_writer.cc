#include "runtime/safetensors_writer.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <tuple>
#include <utility>

#include "nlohmann/json.hpp"
#include "runtime/atomic_file.h"
#include "runtime/quoted.h"
#include "runtime/tensor_file.h"

namespace tandem {
namespace {

// Keeps the members in the order of insertion, that of the data.
using Json = nlohmann::ordered_json;

// Empty if the format lacks the type.
std::string_view FormatName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI32:
      return "I32";
    default:
      return "";
  }
}

absl::Status Check(const SafetensorsTensor& tensor) {
  const DTypeInfo& info = GetDTypeInfo(tensor.dtype);
  if (FormatName(tensor.dtype).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("is of type ", Text(info.name), ", which safetensors files cannot hold"));
  }
  if (tensor.name.empty() || tensor.name == "__metadata__") {
    return absl::InvalidArgumentError("has a name that the format does not allow");
  }
  int64_t bytes = info.block_bytes;
  bool fits = true;
  for (const int64_t size : tensor.shape) {
    fits = fits && size >= 0 && !__builtin_mul_overflow(bytes, size, &bytes);
  }
  if (fits && static_cast<uint64_t>(bytes) == tensor.data.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("of shape ", ShapeText(tensor.shape), " and type ",
                                                 Text(info.name), " is given ", tensor.data.size(),
                                                 " bytes"));
}

using Order = std::vector<const SafetensorsTensor*>;

absl::StatusOr<Order> CheckAndSort(std::span<const SafetensorsTensor> tensors) {
  Order order;
  std::set<std::string_view> names;
  for (const SafetensorsTensor& tensor : tensors) {
    absl::Status status = Check(tensor);
    if (status.ok() && !names.insert(tensor.name).second) {
      status = absl::InvalidArgumentError("occurs twice");
    }
    if (!status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("tensor ", Quoted(tensor.name), " ", status.message()));
    }
    order.push_back(&tensor);
  }
  std::ranges::sort(order, {}, [](const SafetensorsTensor* tensor) {
    return std::make_pair(-GetDTypeInfo(tensor->dtype).block_bytes, tensor->name);
  });
  return order;
}

absl::StatusOr<std::string> HeaderText(const Order& order,
                                       const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  auto& members = header.get_ref<Json::object_t&>();  // appended to without a search for the key
  if (!metadata.empty()) members.push_back({"__metadata__", metadata});
  uint64_t offset = 0;
  for (const SafetensorsTensor* tensor : order) {
    Json entry;
    entry["dtype"] = std::string(FormatName(tensor->dtype));
    entry["shape"] = tensor->shape;
    entry["data_offsets"] = {offset, offset + tensor->data.size()};
    members.push_back({std::string(tensor->name), std::move(entry)});
    offset += tensor->data.size();
  }
  try {
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');  // aligns the data to 8 bytes
    return text;
  } catch (const Json::exception&) {
    return absl::InvalidArgumentError("a name or a metadata text is not UTF-8");
  }
}

template <typename T>
SafetensorsTensor MakeTensor(std::string_view name, DType dtype, std::vector<int64_t> shape,
                             std::span<const T> values) {
  return {name, dtype, std::move(shape), std::as_bytes(values)};
}

}  // namespace

SafetensorsTensor MakeSafetensorsTensor(std::string_view name, std::vector<int64_t> shape,
                                        std::span<const float> values) {
  return MakeTensor(name, DType::kF32, std::move(shape), values);
}

SafetensorsTensor MakeSafetensorsTensor(std::string_view name, std::vector<int64_t> shape,
                                        std::span<const int32_t> values) {
  return MakeTensor(name, DType::kI32, std::move(shape), values);
}

absl::Status WriteSafetensors(std::string_view path, std::span<const SafetensorsTensor> tensors,
                              const std::map<std::string, std::string>& metadata) {
  const auto order = CheckAndSort(tensors);
  if (!order.ok()) return Annotate(order.status(), path);
  const auto header = HeaderText(*order, metadata);
  if (!header.ok()) return Annotate(header.status(), path);

  TANDEM_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  const uint64_t length = header->size();
  TANDEM_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(&length, 1))));
  TANDEM_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(*header))));
  for (const SafetensorsTensor* tensor : *order) {
    TANDEM_RETURN_IF_ERROR(file.Write(tensor->data));
  }
  return file.Commit();
}

}  // namespace tandem
