#include "graph/builder.h"

#include <algorithm>
#include <optional>

#include "backends/device/status.h"

namespace tandem {
namespace {

// Elements (blocks, for block types) at equal distances: what one dimension steps through.
struct Run {
  int64_t count = 1, step = 0;  // step in bytes
};

// The elements of a view as few nested runs as possible, innermost first.
std::vector<Run> RunsOf(const TensorView& view) {
  const DTypeInfo& info = GetDTypeInfo(view.dtype);
  std::vector<Run> runs = {{1, info.block_bytes}};
  for (int i = view.shape.rank - 1; i >= 0; --i) {
    const bool last = i == view.shape.rank - 1;
    const Run dim = {last ? view.shape[i] / info.block_size : view.shape[i],
                     last ? info.block_bytes : view.strides[i]};
    Run& inner = runs.back();
    if (dim.count == 1) continue;
    if (inner.count == 1) {
      inner = dim;
    } else if (dim.step == inner.step * inner.count) {
      inner.count *= dim.count;
    } else {
      runs.push_back(dim);
    }
  }
  return runs;
}

// Strides of `view` under `shape`, of as many elements, if they can be reached without a copy: if
// each dimension steps through a part of one run.
std::optional<std::array<int64_t, kMaxRank>> ReshapedStrides(const TensorView& view,
                                                             const Shape& shape) {
  const DTypeInfo& info = GetDTypeInfo(view.dtype);
  if (shape.back() % info.block_size != 0) return std::nullopt;
  std::array<int64_t, kMaxRank> strides = {};
  const std::vector<Run> runs = RunsOf(view);
  auto run = runs.begin();
  Run left = *run;
  for (int i = shape.rank - 1; i >= 0; --i) {
    const bool last = i == shape.rank - 1;
    const int64_t count = last ? shape[i] / info.block_size : shape[i];
    if (count > 1 && left.count == 1 && run + 1 != runs.end()) left = *++run;
    if (count < 1 || left.count % count != 0) return std::nullopt;
    if (last && count > 1 && left.step != info.block_bytes) return std::nullopt;
    strides[i] = last ? info.block_bytes : left.step;
    left = {left.count / count, left.step * count};
  }
  return strides;
}

}  // namespace

ValueId GraphBuilder::Fail(absl::Status status) {
  if (status_.ok()) status_ = Annotate(status, scope_.empty() ? "graph" : scope_);
  return kNone;
}

ValueId GraphBuilder::AddRoot(std::string_view name, ValueKind kind, DType dtype,
                              const Shape& shape) {
  if (!ok()) return kNone;
  const auto taken = [&](const Value& v) { return v.name == name && v.kind == kind; };
  if (kind != ValueKind::kActivation && std::ranges::any_of(graph_.values, taken)) {
    return Fail(absl::InvalidArgumentError(absl::StrCat("two values named ", Text(name))));
  }
  if (shape.back() % GetDTypeInfo(dtype).block_size != 0) {
    return Fail(absl::InvalidArgumentError(absl::StrCat(Text(name), ": rows of ", shape.back(),
                                                        " elements are not whole blocks of ",
                                                        Text(DTypeName(dtype)))));
  }
  Value value = {std::string(name), {dtype, shape}, kind};
  value.strides = ContiguousStrides(dtype, shape);
  graph_.values.push_back(std::move(value));
  return static_cast<ValueId>(graph_.values.size()) - 1;
}

ValueId GraphBuilder::Input(std::string_view name, DType dtype, const Shape& shape) {
  return AddRoot(name, ValueKind::kInput, dtype, shape);
}
ValueId GraphBuilder::Weight(std::string_view name, DType dtype, const Shape& shape) {
  return AddRoot(name, ValueKind::kWeight, dtype, shape);
}
ValueId GraphBuilder::State(std::string_view name, DType dtype, const Shape& shape) {
  return AddRoot(name, ValueKind::kState, dtype, shape);
}

ValueId GraphBuilder::AddView(ValueId x, const TensorView& view, int64_t offset) {
  Value value = graph_.value(x);
  value.root = graph_.RootOf(x);
  value.byte_offset += offset;
  value.type.shape = view.shape;
  value.strides = view.strides;
  value.producer = kNone;
  value.is_output = false;
  graph_.values.push_back(std::move(value));
  return static_cast<ValueId>(graph_.values.size()) - 1;
}

ValueId GraphBuilder::Slice(ValueId x, int dim, int64_t begin, int64_t length) {
  if (!ok() || x == kNone) return Fail(absl::InvalidArgumentError("slice of a missing value"));
  const Value& value = graph_.value(x);
  const int64_t block =
      dim == value.type.shape.rank - 1 ? GetDTypeInfo(value.type.dtype).block_size : 1;
  if (dim < 0 || dim >= value.type.shape.rank || begin < 0 || length < 1 ||
      begin + length > value.type.shape[dim] || begin % block != 0 || length % block != 0) {
    return Fail(absl::InvalidArgumentError(absl::StrCat("slice [", begin, ", ", begin + length,
                                                        ") of dimension ", dim, " of ", value.name,
                                                        " ", value.type.shape.ToString())));
  }
  TensorView view = graph_.View(x, nullptr);
  view.shape.dims[dim] = length;
  return AddView(x, view, begin / block * value.strides[dim]);
}

ValueId GraphBuilder::Reshape(ValueId x, const Shape& shape) {
  if (!ok() || x == kNone) return Fail(absl::InvalidArgumentError("reshape of a missing value"));
  TensorView view = graph_.View(x, nullptr);
  const auto strides =
      view.shape.elements() == shape.elements() ? ReshapedStrides(view, shape) : std::nullopt;
  if (!strides.has_value()) {
    return Fail(
        absl::InvalidArgumentError(absl::StrCat("cannot view ", graph_.value(x).name, " ",
                                                view.shape.ToString(), " as ", shape.ToString())));
  }
  view.shape = shape;
  view.strides = *strides;
  return AddView(x, view, 0);
}

std::string GraphBuilder::NodeName(const OpAttrs& attrs, const std::vector<ValueId>& inputs) const {
  for (ValueId id : inputs) {
    if (id == kNone) continue;
    const Value& root = graph_.value(graph_.RootOf(id));
    if (root.kind != ValueKind::kWeight || !root.name.ends_with(".weight")) continue;
    return root.name.substr(0, root.name.size() - std::string_view(".weight").size());
  }
  return absl::StrCat(scope_, scope_.empty() ? "" : ".", Text(KernelName(GetKernelId(attrs))));
}

std::vector<ValueId> GraphBuilder::AddNode(OpAttrs attrs, std::vector<ValueId> inputs) {
  if (!ok()) return {};
  while (!inputs.empty() && inputs.back() == kNone) inputs.pop_back();
  std::vector<TensorType> types;
  for (ValueId id : inputs) types.push_back(id == kNone ? TensorType() : graph_.value(id).type);
  const std::string name = NodeName(attrs, inputs);
  auto inferred = InferTypes(attrs, types);
  if (!inferred.ok()) {
    Fail(Annotate(inferred.status(), name));
    return {};
  }
  const NodeId node_id = static_cast<NodeId>(graph_.nodes.size());
  std::vector<ValueId> outputs;
  for (const TensorType& type : *inferred) {
    outputs.push_back(AddRoot(name, ValueKind::kActivation, type.dtype, type.shape));
    if (outputs.back() == kNone) return {};
    graph_.values.back().producer = node_id;
  }
  graph_.nodes.push_back({name, std::move(attrs), std::move(inputs), outputs, live_});
  return outputs;
}

ValueId GraphBuilder::AddNode1(OpAttrs attrs, std::vector<ValueId> inputs) {
  const std::vector<ValueId> outputs = AddNode(std::move(attrs), std::move(inputs));
  return outputs.empty() ? kNone : outputs[0];
}

ValueId GraphBuilder::Embed(ValueId ids, ValueId table) {
  return AddNode1(EmbedAttrs{}, {ids, table});
}
ValueId GraphBuilder::RmsNorm(ValueId x, ValueId weight, float eps) {
  return AddNode1(RmsNormAttrs{eps}, {x, weight});
}
ValueId GraphBuilder::Rope(ValueId x, ValueId positions, ValueId inv_freq, const RopeAttrs& attrs) {
  return AddNode1(attrs, {x, positions, inv_freq});
}
ValueId GraphBuilder::Linear(ValueId x, ValueId weight, ValueId bias, bool transposed) {
  return AddNode1(LinearAttrs{transposed}, {x, weight, bias});
}
ValueId GraphBuilder::Add(ValueId a, ValueId b) { return AddNode1(AddAttrs{}, {a, b}); }
ValueId GraphBuilder::SwiGlu(ValueId gate, ValueId up) {
  return AddNode1(SwiGluAttrs{}, {gate, up});
}
ValueId GraphBuilder::Concat(ValueId a, ValueId b) { return AddNode1(ConcatAttrs{}, {a, b}); }

ValueId GraphBuilder::GatherRows(ValueId x, ValueId rows, ValueId live) {
  const ValueId before = std::exchange(live_, live);
  const ValueId out = AddNode1(GatherRowsAttrs{}, {x, rows});
  live_ = before;
  return out;
}

void GraphBuilder::StoreKv(ValueId x, ValueId slots, ValueId cache) {
  AddNode(StoreKvAttrs{}, {x, slots, cache});
}

std::pair<ValueId, ValueId> GraphBuilder::Attention(const AttentionInputs& in,
                                                    const AttentionAttrs& attrs) {
  const ValueId before = std::exchange(live_, in.live_seqs);
  const auto out = AddNode(attrs, {in.q, in.k, in.v, in.k_up, in.v_up, in.seq_start, in.kv_len,
                                   in.page_table, in.sinks});
  live_ = before;
  if (out.empty()) return {kNone, kNone};
  return {out[0], out.size() > 1 ? out[1] : kNone};
}

GraphBuilder::Routing GraphBuilder::Route(ValueId logits, ValueId bias, const RouteAttrs& attrs) {
  const auto out = AddNode(attrs, {logits, bias});
  return out.empty() ? Routing{} : Routing{out[0], out[1]};
}

ValueId GraphBuilder::Experts(ValueId x, const Routing& routing, ValueId gate, ValueId up,
                              ValueId down) {
  return AddNode1(ExpertsAttrs{}, {x, routing.ids, routing.weights, gate, up, down});
}

void GraphBuilder::MarkOutput(ValueId x, std::string_view name) {
  if (!ok()) return;
  if (x == kNone || graph_.value(x).is_view()) {
    Fail(absl::InvalidArgumentError(absl::StrCat("output ", Text(name), " is not a whole value")));
    return;
  }
  Value& value = graph_.values[static_cast<size_t>(x)];
  if (value.is_output) {
    Fail(absl::InvalidArgumentError(
        absl::StrCat("output ", Text(name), " is the output ", value.name, " already")));
    return;
  }
  value.is_output = true;
  value.name = std::string(name);
}

absl::StatusOr<Graph> GraphBuilder::Build() && {
  if (!ok()) return status_;
  return std::move(graph_);
}

}  // namespace tandem
