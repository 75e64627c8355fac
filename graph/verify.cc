#include "graph/verify.h"

#include <algorithm>
#include <set>
#include <utility>

#include "backends/device/check.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

absl::Status Malformed(std::string_view what, std::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat("graph: ", Text(what), ": ", Text(reason)));
}

// Byte range [begin, end) of a value in its root's storage.
struct Range {
  int64_t begin = 0, end = 0;
};

Range RangeOf(const Value& value) {
  int64_t last = value.byte_offset;
  const Shape& shape = value.type.shape;
  for (int i = 0; i + 1 < shape.rank; ++i) last += (shape[i] - 1) * value.strides[i];
  return {value.byte_offset, last + RowBytes(value.type.dtype, shape.back())};
}

// The range of one row group: what a value covers within one step of its first dimension.
Range RowRangeOf(Value value) {
  if (value.type.shape.rank > 0) value.type.shape.dims[0] = 1;
  return RangeOf(value);
}

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph), written_(graph.values.size(), false) {}

  absl::Status Run() {
    for (const Value& value : graph_.values) TANDEM_RETURN_IF_ERROR(CheckValue(value));
    TANDEM_RETURN_IF_ERROR(CheckNames());
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      TANDEM_RETURN_IF_ERROR(CheckNode(static_cast<NodeId>(i)));
    }
    return CheckOutputs();
  }

 private:
  bool Known(ValueId id) const { return id >= 0 && static_cast<size_t>(id) < graph_.values.size(); }

  absl::Status CheckValue(const Value& value) const {
    const auto bad = [&](std::string_view reason) {
      return Malformed(absl::StrCat("value ", value.name), reason);
    };
    const Shape& shape = value.type.shape;
    if (shape.rank < 1 || shape.rank > kMaxRank) return bad("rank out of range");
    for (int i = 0; i < shape.rank; ++i) {
      if (shape[i] < 1) return bad(absl::StrCat("dimension ", i, " is ", shape[i]));
    }
    if (shape.back() % GetDTypeInfo(value.type.dtype).block_size != 0) {
      return bad("rows are not whole blocks");
    }
    if (!value.is_view()) {
      if (value.byte_offset != 0) return bad("a root begins at its own storage");
      if (!IsContiguous({nullptr, value.type.dtype, shape, value.strides})) {
        return bad("a root must be contiguous");
      }
      return absl::OkStatus();
    }
    if (!Known(value.root)) return bad("its root does not exist");
    const Value& root = graph_.value(value.root);
    if (root.is_view()) return bad("its root is a view itself");
    if (root.type.dtype != value.type.dtype) return bad("its type is not that of its root");
    if (root.kind != value.kind) return bad("its kind is not that of its root");
    const int unit = GetDTypeInfo(value.type.dtype).block_bytes;
    if (value.byte_offset % unit != 0) return bad("it begins inside an element or block");
    for (int i = 0; i + 1 < shape.rank; ++i) {
      if (value.strides[i] % unit != 0 || value.strides[i] < 0) {
        return bad(absl::StrCat("stride ", i, " is ", value.strides[i]));
      }
    }
    if (value.byte_offset < 0 || RangeOf(value).end > graph_.StorageBytes(value.root)) {
      return bad("it reaches outside its root");
    }
    return absl::OkStatus();
  }

  absl::Status CheckNames() const {
    std::set<std::pair<ValueKind, std::string>> names;
    for (const Value& value : graph_.values) {
      if (value.is_view() || value.kind == ValueKind::kActivation) continue;
      if (value.name.empty()) return Malformed("value", "an input, weight or state has no name");
      if (!names.emplace(value.kind, value.name).second) {
        return Malformed(absl::StrCat("value ", value.name), "its name is taken");
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
    TANDEM_RETURN_IF_ERROR(CheckWrites(id));
    return CheckOverlap(node);
  }

  absl::Status Bad(const Node& node, std::string_view reason) const {
    return Malformed(absl::StrCat("node ", node.name), reason);
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

  absl::Status CheckReads(const Node& node) const {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == kNone) continue;
      const ValueId root_id = graph_.RootOf(node.inputs[i]);
      const Value& root = graph_.value(root_id);
      if (root.kind == ValueKind::kActivation && !written_[static_cast<size_t>(root_id)]) {
        return Bad(node, absl::StrCat("reads ", root.name, " before it is written"));
      }
      const bool cache_op = node.op() == KernelId::kStoreKv || node.op() == KernelId::kAttention;
      if (root.kind == ValueKind::kState && !cache_op) {
        return Bad(node, absl::StrCat("uses the cache ", root.name));
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
    if (node.op() == KernelId::kStoreKv &&
        graph_.value(graph_.RootOf(node.inputs[2])).kind != ValueKind::kState) {
      return Bad(node, "stores into a value that is not a state");
    }
    for (ValueId output : node.outputs) {
      const Value& value = graph_.value(output);
      if (value.kind != ValueKind::kActivation) {
        return Bad(node, absl::StrCat("writes ", value.name, ", which is not an activation"));
      }
      if (value.producer != id) {
        return Bad(node, absl::StrCat("writes ", value.name, ", which another node produces"));
      }
      if (!produced_.insert(output).second) {
        return Bad(node, absl::StrCat("writes ", value.name, " twice"));
      }
      TANDEM_RETURN_IF_ERROR(CheckFirstWrite(node, value, graph_.RootOf(output)));
      written_[static_cast<size_t>(graph_.RootOf(output))] = true;
    }
    return absl::OkStatus();
  }

  // Parts of one root that different nodes write must not overlap.
  absl::Status CheckFirstWrite(const Node& node, const Value& value, ValueId root) {
    const Range range = RowRangeOf(value);
    for (const auto& [other_root, other] : parts_) {
      if (other_root == root && range.begin < other.end && other.begin < range.end) {
        return Bad(node, absl::StrCat("writes a part of ", graph_.value(root).name,
                                      " that another node wrote"));
      }
    }
    parts_.emplace_back(root, range);
    return absl::OkStatus();
  }

  // Inputs and outputs of a node are different storage; graphs do not work in place.
  absl::Status CheckOverlap(const Node& node) const {
    for (ValueId output : node.outputs) {
      for (ValueId input : node.inputs) {
        if (input == kNone || graph_.RootOf(input) != graph_.RootOf(output)) continue;
        const Range in = RowRangeOf(graph_.value(input)), out = RowRangeOf(graph_.value(output));
        if (in.begin < out.end && out.begin < in.end) {
          return Bad(node, absl::StrCat("reads and writes ", graph_.value(input).name));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckOutputs() const {
    bool any = false;
    for (size_t i = 0; i < graph_.values.size(); ++i) {
      const Value& value = graph_.values[i];
      if (!value.is_output) continue;
      any = true;
      if (value.is_view()) return Malformed(value.name, "an output must be a whole value");
      if (!written_[i]) return Malformed(value.name, "an output that no node writes");
    }
    return any ? absl::OkStatus() : Malformed("outputs", "there is none");
  }

  const Graph& graph_;
  std::vector<bool> written_;
  std::set<ValueId> produced_;
  std::vector<std::pair<ValueId, Range>> parts_;
};

}  // namespace

absl::Status Verify(const Graph& graph) { return Verifier(graph).Run(); }

}  // namespace tandem
