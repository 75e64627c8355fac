// The typed way to write a graph: types are inferred as it is written.
//
// A wrong call does not stop the code that builds: the builder keeps the first error, gives kNone
// from then on, and Build returns the error.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"

namespace tandem {

class GraphBuilder {
 public:
  // Roots. Names must be unique among values of their kind.
  ValueId Input(std::string_view name, DType dtype, const Shape& shape);
  ValueId Weight(std::string_view name, DType dtype, const Shape& shape);
  ValueId State(std::string_view name, DType dtype, const Shape& shape);

  // Views. Slice keeps [begin, begin + length) of a dimension; in the last one, of whole blocks.
  ValueId Slice(ValueId x, int dim, int64_t begin, int64_t length);
  // The same elements in the same order under another shape; dimensions may be split or joined as
  // long as no copy is needed.
  ValueId Reshape(ValueId x, const Shape& shape);

  // Nodes that follow get `live` (kNone: all rows) and names that begin with "scope.".
  void SetLive(ValueId live) { live_ = live; }
  void SetScope(std::string_view scope) { scope_ = std::string(scope); }

  // Ops; operands as in the argument struct of the kernel (backends/device/kernels.h).
  ValueId Embed(ValueId ids, ValueId table);
  ValueId RmsNorm(ValueId x, ValueId weight, float eps);
  ValueId Rope(ValueId x, ValueId positions, ValueId inv_freq, const RopeAttrs& attrs);
  // `bias` may be kNone.
  ValueId Linear(ValueId x, ValueId weight, ValueId bias = kNone, bool transposed = false);
  ValueId Add(ValueId a, ValueId b);
  ValueId SwiGlu(ValueId gate, ValueId up);
  ValueId Concat(ValueId a, ValueId b);
  ValueId GatherRows(ValueId x, ValueId rows, ValueId live);
  void StoreKv(ValueId x, ValueId slots, ValueId cache);

  struct AttentionInputs {
    ValueId q = kNone, k = kNone, v = kNone, k_up = kNone, v_up = kNone;
    ValueId seq_start = kNone, kv_len = kNone, page_table = kNone, live_seqs = kNone;
    ValueId sinks = kNone;
  };
  // The second value is the log-sum-exp, kNone unless attrs.with_lse.
  std::pair<ValueId, ValueId> Attention(const AttentionInputs& in, const AttentionAttrs& attrs);

  struct Routing {
    ValueId ids = kNone, weights = kNone;
  };
  // `bias` may be kNone.
  Routing Route(ValueId logits, ValueId bias, const RouteAttrs& attrs);
  ValueId Experts(ValueId x, const Routing& routing, ValueId gate, ValueId up, ValueId down);

  // Marks a value that the host reads after the step, under this name.
  void MarkOutput(ValueId x, std::string_view name);

  const Value& value(ValueId id) const { return graph_.value(id); }
  bool ok() const { return status_.ok(); }

  // Records an error of the code that builds, as a wrong call does.
  ValueId Fail(absl::Status status);

  // The graph, or the first error.
  absl::StatusOr<Graph> Build() &&;

 private:
  ValueId AddRoot(std::string_view name, ValueKind kind, DType dtype, const Shape& shape);
  ValueId AddView(ValueId x, const TensorView& view, int64_t offset);
  // Outputs of a new node; empty after an error.
  std::vector<ValueId> AddNode(OpAttrs attrs, std::vector<ValueId> inputs);
  ValueId AddNode1(OpAttrs attrs, std::vector<ValueId> inputs);
  std::string NodeName(const OpAttrs& attrs, const std::vector<ValueId>& inputs) const;

  Graph graph_;
  ValueId live_ = kNone;
  std::string scope_;
  absl::Status status_;
};

}  // namespace tandem
