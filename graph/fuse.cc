#include "graph/fuse.h"

#include <algorithm>
#include <set>

namespace tandem {
namespace {

// A value that can be moved into another root: a whole activation that a node made.
bool CanMove(const Graph& graph, ValueId id) {
  const Value& value = graph.value(id);
  if (value.is_view() || value.is_output || value.kind != ValueKind::kActivation) return false;
  return value.producer != kNone;
}

bool HasViews(const Graph& graph, ValueId id) {
  return std::ranges::any_of(graph.values, [id](const Value& v) { return v.root == id; });
}

// Makes root `id` a view of `target` that begins at `offset`.
void MoveInto(Graph& graph, ValueId id, ValueId target, int64_t offset) {
  const Value& to = graph.value(target);
  Value& value = graph.values[static_cast<size_t>(id)];
  value.root = target;
  value.byte_offset = offset;
  value.strides = to.strides;
}

void RemoveNodes(Graph& graph, const std::set<NodeId>& dead) {
  std::vector<Node> kept;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!dead.contains(static_cast<NodeId>(i))) kept.push_back(std::move(graph.nodes[i]));
  }
  graph.nodes = std::move(kept);
  for (Value& value : graph.values) value.producer = kNone;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (ValueId id : graph.nodes[i].outputs) {
      graph.values[static_cast<size_t>(id)].producer = static_cast<NodeId>(i);
    }
  }
}

}  // namespace

void ElideConcat(Graph& graph) {
  std::set<NodeId> dead;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (node.op() != KernelId::kConcat) continue;
    const ValueId a = node.inputs[0], b = node.inputs[1], out = node.outputs[0];
    const bool movable = a != b && CanMove(graph, a) && CanMove(graph, b) && !HasViews(graph, a) &&
                         !HasViews(graph, b) && !graph.value(out).is_view() &&
                         !graph.value(out).is_output;
    if (!movable) continue;
    const TensorType& first = graph.value(a).type;
    MoveInto(graph, a, out, 0);
    MoveInto(graph, b, out, RowBytes(first.dtype, first.shape.back()));
    dead.insert(static_cast<NodeId>(i));
  }
  RemoveNodes(graph, dead);
}

void RemoveDeadNodes(Graph& graph) {
  std::set<ValueId> needed;  // roots
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (graph.values[i].is_output) needed.insert(static_cast<ValueId>(i));
  }
  std::set<NodeId> dead;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    const bool stores = node.op() == KernelId::kStoreKv;
    const bool used = std::ranges::any_of(
        node.outputs, [&](ValueId id) { return needed.contains(graph.RootOf(id)); });
    if (!stores && !used) {
      dead.insert(static_cast<NodeId>(i));
      continue;
    }
    for (ValueId root : graph.ReadRoots(node)) needed.insert(root);
  }
  RemoveNodes(graph, dead);
}

void Fuse(Graph& graph) {
  ElideConcat(graph);
  RemoveDeadNodes(graph);
}

}  // namespace tandem
