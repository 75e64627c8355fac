#include "graph/verify.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "backends/device/check.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

absl::Status Malformed(std::string_view what, std::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat("graph: ", Text(what), ": ", Text(reason)));
}

// Half-open range of bytes, or of indices along a dimension.
struct Range {
  int64_t begin = 0, end = 0;
  bool Meets(const Range& other) const { return begin < other.end && other.begin < end; }
};

// Where a value ends in its root's storage; nothing if that does not fit into 63 bits.
std::optional<int64_t> EndOf(const Value& value) {
  const Shape& shape = value.type.shape;
  int64_t end = 0, part = 0;
  if (__builtin_add_overflow(value.byte_offset, RowBytes(value.type.dtype, shape.back()), &end)) {
    return std::nullopt;
  }
  for (int i = 0; i + 1 < shape.rank; ++i) {
    if (__builtin_mul_overflow(shape[i] - 1, value.strides[i], &part) ||
        __builtin_add_overflow(end, part, &end)) {
      return std::nullopt;
    }
  }
  return end;
}

// No machine has room for a larger tensor; sums over all tensors of a graph cannot overflow.
constexpr int64_t kMaxBytes = int64_t{1} << 47;

bool SmallEnough(const TensorType& type) {
  int64_t bytes = GetDTypeInfo(type.dtype).block_bytes;
  for (int i = 0; i < type.shape.rank; ++i) {
    if (__builtin_mul_overflow(bytes, type.shape[i], &bytes)) return false;
  }
  return bytes / GetDTypeInfo(type.dtype).block_size <= kMaxBytes;
}

// What a value covers of a root seen as a grid with the value's strides: a range of indices for
// each dimension, of bytes for the last. Nothing if rows of the value run over a border of the
// grid.
std::optional<std::array<Range, kMaxRank>> BoxOf(const Value& value) {
  std::array<Range, kMaxRank> box;
  int64_t room = std::numeric_limits<int64_t>::max(), at = value.byte_offset;
  const int last = value.type.shape.rank - 1;
  for (int i = 0; i <= last; ++i) {
    const int64_t step = i < last ? value.strides[i] : 1;
    const int64_t count =
        i < last ? value.type.shape[i] : RowBytes(value.type.dtype, value.type.shape[i]);
    if (step < 1) return std::nullopt;
    box[i] = {at / step, at / step + count};
    if (box[i].end > room / step) return std::nullopt;
    at %= step;
    room = step;
  }
  return box;
}

// True if two values of one root share bytes. Exact for parts of one grid, such as slices of a
// tensor; others are compared by the bytes from their first to their last.
bool Overlap(const Value& a, const Value& b) {
  const int last = a.type.shape.rank - 1;
  const bool one_grid = b.type.shape.rank - 1 == last &&
                        std::equal(a.strides.begin(), a.strides.begin() + last, b.strides.begin());
  const auto box_a = BoxOf(a), box_b = BoxOf(b);
  if (!one_grid || !box_a.has_value() || !box_b.has_value()) {
    return Range{a.byte_offset, *EndOf(a)}.Meets({b.byte_offset, *EndOf(b)});
  }
  for (int i = 0; i <= last; ++i) {
    if (!(*box_a)[i].Meets((*box_b)[i])) return false;
  }
  return true;
}

// True if the operand `input` of the op is a cache.
bool TakesCache(KernelId op, size_t input) {
  if (op == KernelId::kStoreKv) return input == 2;
  return op == KernelId::kAttention && (input == 1 || input == 2);
}

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph), written_(graph.values.size(), 0) {}

  absl::Status Run() {
    for (const Value& value : graph_.values) TANDEM_RETURN_IF_ERROR(CheckType(value));
    for (const Value& value : graph_.values) {
      TANDEM_RETURN_IF_ERROR(value.is_view() ? CheckView(value) : CheckRoot(value));
    }
    TANDEM_RETURN_IF_ERROR(CheckNames());
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      TANDEM_RETURN_IF_ERROR(CheckNode(static_cast<NodeId>(i)));
    }
    TANDEM_RETURN_IF_ERROR(CheckProducers());
    return CheckOutputs();
  }

 private:
  bool Known(ValueId id) const { return id >= 0 && static_cast<size_t>(id) < graph_.values.size(); }

  static absl::Status Bad(const Value& value, std::string_view reason) {
    return Malformed(absl::StrCat("value ", value.name), reason);
  }
  static absl::Status Bad(const Node& node, std::string_view reason) {
    return Malformed(absl::StrCat("node ", node.name), reason);
  }

  static absl::Status CheckType(const Value& value) {
    const auto number = static_cast<uint32_t>(value.type.dtype);
    if (!DTypeFromNumber(number)) return Bad(value, absl::StrCat("unknown type ", number));
    const Shape& shape = value.type.shape;
    if (shape.rank < 1 || shape.rank > kMaxRank) {
      return Bad(value, absl::StrCat("rank ", shape.rank, " is not in [1, ", kMaxRank, "]"));
    }
    for (int i = 0; i < shape.rank; ++i) {
      if (shape[i] < 1) return Bad(value, absl::StrCat("dimension ", i, " is ", shape[i]));
    }
    if (!SmallEnough(value.type))
      return Bad(value, absl::StrCat(shape.ToString(), " is too large"));
    if (shape.back() % GetDTypeInfo(value.type.dtype).block_size == 0) return absl::OkStatus();
    return Bad(value, absl::StrCat("rows of ", shape.back(), " are not whole blocks of ",
                                   Text(DTypeName(value.type.dtype))));
  }

  static absl::Status CheckRoot(const Value& value) {
    if (value.byte_offset != 0) return Bad(value, "a root begins at its own storage");
    if (IsContiguous({nullptr, value.type.dtype, value.type.shape, value.strides})) {
      return absl::OkStatus();
    }
    return Bad(value, "a root must be contiguous");
  }

  absl::Status CheckView(const Value& value) const {
    if (!Known(value.root)) return Bad(value, "its root does not exist");
    const Value& root = graph_.value(value.root);
    if (root.is_view()) return Bad(value, "its root is a view itself");
    if (root.type.dtype != value.type.dtype) {
      return Bad(value, absl::StrCat("its type is ", Text(DTypeName(value.type.dtype)),
                                     ", that of its root is ", Text(DTypeName(root.type.dtype))));
    }
    if (root.kind != value.kind) return Bad(value, "its kind is not that of its root");
    const int unit = GetDTypeInfo(value.type.dtype).block_bytes;
    if (value.byte_offset % unit != 0) {
      return Bad(value, absl::StrCat("it begins at byte ", value.byte_offset,
                                     ", inside an element or block"));
    }
    for (int i = 0; i + 1 < value.type.shape.rank; ++i) {
      if (value.strides[i] % unit != 0 || value.strides[i] < 0) {
        return Bad(value, absl::StrCat("stride ", i, " is ", value.strides[i]));
      }
    }
    const auto end = EndOf(value);
    if (value.byte_offset >= 0 && end.has_value() && *end <= graph_.StorageBytes(value.root)) {
      return absl::OkStatus();
    }
    return Bad(value, "it reaches outside its root");
  }

  absl::Status CheckNames() const {
    std::set<std::pair<ValueKind, std::string>> names;
    std::set<std::string> outputs;
    for (const Value& value : graph_.values) {
      if (value.is_output && !outputs.insert(value.name).second) {
        return Bad(value, "two outputs have this name");
      }
      if (value.is_view() || value.kind == ValueKind::kActivation) continue;
      if (value.name.empty()) return Malformed("value", "an input, weight or state has no name");
      if (!names.emplace(value.kind, value.name).second) {
        return Bad(value, "its name is taken");
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckNode(NodeId id) {
    const Node& node = graph_.node(id);
    for (ValueId input : node.inputs) {
      if (input != kNone && !Known(input)) return Bad(node, "an input does not exist");
    }
    for (ValueId output : node.outputs) {
      if (!Known(output)) return Bad(node, "an output does not exist");
    }
    TANDEM_RETURN_IF_ERROR(CheckLive(node));
    TANDEM_RETURN_IF_ERROR(CheckReads(node));
    TANDEM_RETURN_IF_ERROR(CheckTypes(node));
    TANDEM_RETURN_IF_ERROR(CheckOverlap(node));
    return CheckWrites(id);
  }

  absl::Status CheckLive(const Node& node) const {
    if (node.live == kNone) return absl::OkStatus();
    if (!Known(node.live)) return Bad(node, "its live count does not exist");
    const Value& live = graph_.value(node.live);
    if (live.kind != ValueKind::kInput || live.type != TensorType{DType::kI32, {1}}) {
      return Bad(node, "its live count is not an i32[1] input");
    }
    return absl::OkStatus();
  }

  // True if all of the value has been written: itself, or every part of its root.
  bool IsWritten(ValueId id) const {
    const ValueId root = graph_.RootOf(id);
    return graph_.value(root).kind != ValueKind::kActivation || produced_.contains(id) ||
           written_[static_cast<size_t>(root)] == graph_.value(root).type.shape.elements();
  }

  absl::Status CheckReads(const Node& node) const {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == kNone) continue;
      const Value& value = graph_.value(node.inputs[i]);
      if (!IsWritten(node.inputs[i])) {
        return Bad(node, absl::StrCat("reads ", value.name, " before it is written"));
      }
      if (value.kind == ValueKind::kState && !TakesCache(node.op(), i)) {
        return Bad(node, absl::StrCat("uses the cache ", value.name, " as its input ", i));
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckTypes(const Node& node) const {
    std::vector<TensorType> types;
    for (ValueId id : node.inputs)
      types.push_back(id == kNone ? TensorType() : graph_.value(id).type);
    auto inferred = InferTypes(node.attrs, types);
    if (!inferred.ok()) return Bad(node, std::string(inferred.status().message()));
    if (inferred->size() != node.outputs.size()) {
      return Bad(node,
                 absl::StrCat("has ", node.outputs.size(), " outputs, not ", inferred->size()));
    }
    for (size_t i = 0; i < inferred->size(); ++i) {
      const TensorType& type = graph_.value(node.outputs[i]).type;
      if (type == (*inferred)[i]) continue;
      return Bad(node, absl::StrCat("output ", i, " is ", Text(DTypeName(type.dtype)),
                                    type.shape.ToString(), ", its inputs give ",
                                    Text(DTypeName((*inferred)[i].dtype)),
                                    (*inferred)[i].shape.ToString()));
    }
    const absl::Status args = CheckArgs(LowerNode(graph_, node, [](ValueId) { return nullptr; }));
    return args.ok() ? args : Bad(node, std::string(args.message()));
  }

  absl::Status CheckWrites(NodeId id) {
    const Node& node = graph_.node(id);
    if (node.op() == KernelId::kStoreKv && graph_.value(node.inputs[2]).kind != ValueKind::kState) {
      return Bad(node, absl::StrCat("stores into ", graph_.value(node.inputs[2]).name,
                                    ", which is not a state"));
    }
    for (ValueId output : node.outputs) {
      const Value& value = graph_.value(output);
      if (value.kind != ValueKind::kActivation) {
        return Bad(node, absl::StrCat("writes ", value.name, ", which is not an activation"));
      }
      if (value.producer != id) {
        return Bad(node, absl::StrCat("writes ", value.name, ", which another node produces"));
      }
      TANDEM_RETURN_IF_ERROR(CheckParts(node, output));
    }
    return absl::OkStatus();
  }

  // Parts of one root that nodes write must not overlap.
  absl::Status CheckParts(const Node& node, ValueId output) {
    const ValueId root = graph_.RootOf(output);
    const Value& value = graph_.value(output);
    for (ValueId other : parts_[root]) {
      if (!Overlap(value, graph_.value(other))) continue;
      return Bad(node, absl::StrCat("writes a part of ", graph_.value(root).name,
                                    " that was written before"));
    }
    produced_.insert(output);
    parts_[root].push_back(output);
    written_[static_cast<size_t>(root)] += value.type.shape.elements();
    return absl::OkStatus();
  }

  // Inputs and outputs of a node are different storage; graphs do not work in place.
  absl::Status CheckOverlap(const Node& node) const {
    for (ValueId output : node.outputs) {
      for (ValueId input : node.inputs) {
        if (input == kNone || graph_.RootOf(input) != graph_.RootOf(output)) continue;
        if (!Overlap(graph_.value(input), graph_.value(output))) continue;
        return Bad(node, absl::StrCat("reads and writes ", graph_.value(input).name));
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckProducers() const {
    for (size_t i = 0; i < graph_.values.size(); ++i) {
      const Value& value = graph_.values[i];
      if (value.producer == kNone || produced_.contains(static_cast<ValueId>(i))) continue;
      return Bad(value, absl::StrCat("node ", value.producer, " does not produce it"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckOutputs() const {
    bool any = false;
    for (size_t i = 0; i < graph_.values.size(); ++i) {
      const Value& value = graph_.values[i];
      if (!value.is_output) continue;
      any = true;
      if (value.is_view()) return Bad(value, "an output must be a whole value");
      if (!produced_.contains(static_cast<ValueId>(i))) {
        return Bad(value, "no node writes this output");
      }
    }
    return any ? absl::OkStatus() : Malformed("outputs", "there is none");
  }

  const Graph& graph_;
  std::vector<int64_t> written_;                   // for each root: elements written so far
  std::map<ValueId, std::vector<ValueId>> parts_;  // for each root: what was written of it
  std::set<ValueId> produced_;
};

}  // namespace

absl::Status Verify(const Graph& graph) { return Verifier(graph).Run(); }

}  // namespace tandem
