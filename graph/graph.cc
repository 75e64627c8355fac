#include "graph/graph.h"

#include <algorithm>

#include "backends/device/status.h"

namespace tandem {
namespace {

void AddOnce(std::vector<ValueId>& ids, ValueId id) {
  if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
}

void AppendValue(const Graph& graph, ValueId id, std::string* text) {
  if (id == kNone) {
    absl::StrAppend(text, "-");
    return;
  }
  const Value& value = graph.value(id);
  absl::StrAppend(text, value.name, " ", Text(DTypeName(value.type.dtype)),
                  value.type.shape.ToString());
}

}  // namespace

TensorView Graph::View(ValueId id, void* root_data) const {
  const Value& v = value(id);
  void* data = root_data == nullptr ? nullptr : static_cast<std::byte*>(root_data) + v.byte_offset;
  return {data, v.type.dtype, v.type.shape, v.strides, value(RootOf(id)).layout};
}

int64_t Graph::StorageBytes(ValueId root) const {
  const TensorType& type = value(root).type;
  return ContiguousBytes(type.dtype, type.shape);
}

std::vector<ValueId> Graph::ReadRoots(const Node& node) const {
  std::vector<ValueId> roots;
  for (ValueId id : node.inputs) {
    if (id != kNone) AddOnce(roots, RootOf(id));
  }
  if (node.live != kNone) AddOnce(roots, RootOf(node.live));
  return roots;
}

std::vector<ValueId> Graph::WrittenRoots(const Node& node) const {
  std::vector<ValueId> roots;
  for (ValueId id : node.outputs) AddOnce(roots, RootOf(id));
  if (node.op() == KernelId::kStoreKv && node.inputs.size() > 2 && node.inputs[2] != kNone) {
    AddOnce(roots, RootOf(node.inputs[2]));
  }
  return roots;
}

std::string DumpNode(const Graph& graph, const Node& node) {
  std::string text = absl::StrCat(node.name, ": ");
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (i > 0) absl::StrAppend(&text, ", ");
    AppendValue(graph, node.outputs[i], &text);
  }
  absl::StrAppend(&text, node.outputs.empty() ? "" : " = ", Text(KernelName(node.op())), "(");
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (i > 0) absl::StrAppend(&text, ", ");
    AppendValue(graph, node.inputs[i], &text);
  }
  return text + ")";
}

std::string DumpGraph(const Graph& graph) {
  std::string text;
  for (const Node& node : graph.nodes) absl::StrAppend(&text, DumpNode(graph, node), "\n");
  return text;
}

}  // namespace tandem
