// A model's step as a graph: nodes and values in arrays, ids instead of pointers.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ops/op.h"

namespace tandem {

using ValueId = int32_t;
using NodeId = int32_t;
inline constexpr int32_t kNone = -1;  // no value, no node

enum class ValueKind {
  kInput,       // written by the host before each step
  kWeight,      // constant, found by name
  kState,       // survives from step to step (KV cache), found by name
  kActivation,  // made by a node
};

// A value is a root, which has storage of its own, or a view into the storage of a root. A root of
// kind kActivation has a producer, or views that nodes write (the parts of an elided concat).
struct Value {
  std::string name;
  TensorType type;
  ValueKind kind = ValueKind::kActivation;
  std::array<int64_t, kMaxRank> strides = {};  // bytes, as in TensorView
  ValueId root = kNone;                        // kNone: this is a root
  int64_t byte_offset = 0;                     // of a view, in the root's storage
  NodeId producer = kNone;
  bool is_output = false;                     // read by the host after the step
  WeightLayout layout = WeightLayout::kRows;  // of the storage of a root

  bool is_view() const { return root != kNone; }
};

struct Node {
  std::string name;
  OpAttrs attrs;
  std::vector<ValueId> inputs;  // kNone for a left-out optional operand
  std::vector<ValueId> outputs;
  ValueId live = kNone;  // i32 [1]: rows (sequences, for attention) in use; kNone: all

  KernelId op() const { return GetKernelId(attrs); }
};

// Nodes run in the order of their array.
struct Graph {
  std::vector<Value> values;
  std::vector<Node> nodes;

  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  const Node& node(NodeId id) const { return nodes[static_cast<size_t>(id)]; }
  // The value that owns the storage of `id`: itself unless it is a view.
  ValueId RootOf(ValueId id) const { return value(id).is_view() ? value(id).root : id; }
  // The value as a tensor whose root's storage begins at `root_data`, which may be null.
  TensorView View(ValueId id, void* root_data) const;
  // Bytes of storage of a root.
  int64_t StorageBytes(ValueId root) const;
  // Roots whose content the node needs (views resolved, caches and `live` included).
  std::vector<ValueId> ReadRoots(const Node& node) const;
  // Roots that the node changes; for store_kv the cache.
  std::vector<ValueId> WrittenRoots(const Node& node) const;
};

// The call of a node whose roots' storage begins where `root_data(root)` says.
template <typename RootData>
KernelArgs LowerNode(const Graph& graph, const Node& node, RootData&& root_data) {
  auto view = [&](ValueId id) {
    return id == kNone ? TensorView() : graph.View(id, root_data(graph.RootOf(id)));
  };
  std::vector<TensorView> inputs, outputs;
  for (ValueId id : node.inputs) inputs.push_back(view(id));
  for (ValueId id : node.outputs) outputs.push_back(view(id));
  return Lower(node.attrs, inputs, outputs, static_cast<LiveCount>(view(node.live).data));
}

// One line for each node, "blk.0.attn_q: q f32[1, 96] = linear(x f32[1, 64], w iq4_nl[96, 64])",
// with a dash for an operand that is left out.
std::string DumpGraph(const Graph& graph);
std::string DumpNode(const Graph& graph, const Node& node);

}  // namespace tandem
