#include "runtime/families/step_graph.h"

#include "backends/device/status.h"

namespace tandem {

std::string port::Routing(int64_t layer) { return absl::StrCat("routing.", layer); }

StepGraph::StepGraph(const ModelConfig& config, const WeightMap& weights, const StepShape& shape,
                     const StepOptions& options)
    : config_(config), weights_(weights), shape_(shape), options_(options) {
  const auto input = [this](std::string_view name, const Shape& dims) {
    return builder_.Input(name, DType::kI32, dims);
  };
  tokens_ = input(port::kTokens, {shape.tokens});
  positions_ = input(port::kPositions, {shape.tokens});
  slots_ = input(port::kSlots, {shape.tokens});
  num_tokens_ = input(port::kNumTokens, {1});
  seq_start_ = input(port::kSeqStart, {shape.sequences + 1});
  kv_len_ = input(port::kKvLen, {shape.sequences});
  page_table_ = input(port::kPageTable, {shape.sequences, shape.pages_per_sequence});
  num_sequences_ = input(port::kNumSequences, {1});
  output_rows_ = input(port::kOutputRows, {shape.outputs});
  num_outputs_ = input(port::kNumOutputs, {1});
  builder_.SetLive(num_tokens_);
}

void StepGraph::EnterLayer(int64_t i) {
  layer_ = i;
  builder_.SetScope(absl::StrCat("blk.", i));
  block_ = absl::StrCat("blk.", i, ".");
}

ValueId StepGraph::Find(const std::string& name, const Shape& shape, bool required) {
  const auto known = known_.find(name);
  if (known != known_.end()) return known->second;
  const auto weight = weights_.Get(name);
  if (!weight.ok()) {
    if (!required && absl::IsNotFound(weight.status())) return kNone;
    return builder_.Fail(weight.status());
  }
  if ((*weight)->shape.elements() != shape.elements() || (*weight)->shape.back() != shape.back()) {
    return builder_.Fail(absl::InvalidArgumentError(
        absl::StrCat("tensor ", name, " is ", (*weight)->shape.ToString(), ", the model needs ",
                     shape.ToString())));
  }
  const ValueId id = builder_.Weight(name, (*weight)->dtype, shape);
  known_.emplace(name, id);
  return id;
}

ValueId StepGraph::ModelWeight(std::string_view name, const Shape& shape) {
  return Find(std::string(name), shape, true);
}
ValueId StepGraph::Weight(std::string_view name, const Shape& shape) {
  return Find(block_ + std::string(name), shape, true);
}
ValueId StepGraph::OptionalWeight(std::string_view name, const Shape& shape) {
  return Find(block_ + std::string(name), shape, false);
}
bool StepGraph::Has(std::string_view name) const {
  return weights_.Contains(block_ + std::string(name));
}

ValueId StepGraph::Linear(ValueId x, std::string_view name, int64_t out, int64_t in) {
  const std::string base(name);
  const ValueId weight = Weight(base + ".weight", {out, in});
  return builder_.Linear(x, weight, OptionalWeight(base + ".bias", {out}));
}

ValueId StepGraph::Norm(ValueId x, std::string_view name, int64_t dim) {
  return builder_.RmsNorm(x, Weight(std::string(name) + ".weight", {dim}), config_.rms_eps);
}

ValueId StepGraph::Rope(ValueId x, int64_t begin) {
  const ValueId inv_freq = ModelWeight("rope.inv_freq", {config_.rope.dim / 2});
  const RopeAttrs attrs = {begin, static_cast<float>(RopeMagnitude(config_.rope)),
                           config_.rope.pairing};
  return builder_.Rope(x, positions_, inv_freq, attrs);
}

ValueId StepGraph::AttentionOutput(ValueId heads) {
  const int64_t width = config_.heads * config_.v_head_dim;
  return Linear(builder_.Reshape(heads, {shape_.tokens, width}), "attn_output", config_.width,
                width);
}

ValueId StepGraph::Cache(std::string_view name, int64_t heads, int64_t dim) {
  return builder_.State(block_ + std::string(name), options_.kv_type,
                        {shape_.pages, kPageTokens, heads, dim});
}

void StepGraph::Store(ValueId x, ValueId cache) { builder_.StoreKv(x, slots_, cache); }

GraphBuilder::AttentionInputs StepGraph::Sequences() const {
  GraphBuilder::AttentionInputs in;
  in.seq_start = seq_start_;
  in.kv_len = kv_len_;
  in.page_table = page_table_;
  in.live_seqs = num_sequences_;
  return in;
}

AttentionAttrs StepGraph::CausalAttention() const {
  AttentionAttrs attrs;
  attrs.scale = config_.attention_scale;
  attrs.workspace_limit = options_.kq_limit;
  return attrs;
}

ValueId StepGraph::EmbedTokens() {
  return builder_.Embed(tokens_, ModelWeight("token_embd.weight", {config_.vocab, config_.width}));
}

// Gated feed-forward of the given width; `suffix` tells dense from shared weights.
ValueId StepGraph::Glu(ValueId x, std::string_view suffix, int64_t width) {
  const std::string end(suffix);
  const ValueId gate = Linear(x, "ffn_gate" + end, width, config_.width);
  const ValueId up = Linear(x, "ffn_up" + end, width, config_.width);
  return Linear(builder_.SwiGlu(gate, up), "ffn_down" + end, config_.width, width);
}

ValueId StepGraph::RoutedExperts(ValueId x) {
  const MoeConfig& moe = config_.moe;
  const int64_t n = moe.experts, f = moe.ff, e = config_.width;
  const ValueId logits = builder_.Linear(x, Weight("ffn_gate_inp.weight", {n, e}));
  const auto routing = builder_.Route(logits, OptionalWeight("exp_probs_b.bias", {n}), moe.route);
  if (options_.keep_routing) builder_.MarkOutput(routing.ids, port::Routing(layer_));
  const ValueId down = Weight("ffn_down_exps.weight", {n, e, f});
  if (Has("ffn_gate_up_exps.weight")) {
    const ValueId both = Weight("ffn_gate_up_exps.weight", {n, 2 * f, e});
    return builder_.Experts(x, routing, builder_.Slice(both, 1, 0, f),
                            builder_.Slice(both, 1, f, f), down);
  }
  return builder_.Experts(x, routing, Weight("ffn_gate_exps.weight", {n, f, e}),
                          Weight("ffn_up_exps.weight", {n, f, e}), down);
}

ValueId StepGraph::FeedForward(ValueId x) {
  if (!Has("ffn_gate_inp.weight")) return Glu(x, "", config_.ff);
  const ValueId routed = RoutedExperts(x);
  if (config_.moe.shared == 0) return routed;
  return builder_.Add(routed, Glu(x, "_shexp", config_.moe.shared * config_.moe.ff));
}

void StepGraph::Head(ValueId h) {
  builder_.SetScope("");
  const ValueId rows = builder_.GatherRows(h, output_rows_, num_outputs_);
  builder_.SetLive(num_outputs_);
  const ValueId x =
      builder_.RmsNorm(rows, ModelWeight("output_norm.weight", {config_.width}), config_.rms_eps);
  // Without a head of its own the model reuses its embedding.
  const bool tied = !weights_.Contains("output.weight");
  const ValueId head =
      ModelWeight(tied ? "token_embd.weight" : "output.weight", {config_.vocab, config_.width});
  builder_.MarkOutput(builder_.Linear(x, head), port::kLogits);
}

void BuildDecoder(StepGraph& g, ValueId (*attention)(StepGraph& g, ValueId x)) {
  const ModelConfig& c = g.config();
  ValueId h = g.EmbedTokens();
  for (int64_t i = 0; i < c.layers && g.b().ok(); ++i) {
    g.EnterLayer(i);
    h = g.b().Add(h, attention(g, g.Norm(h, "attn_norm", c.width)));
    h = g.b().Add(h, g.FeedForward(g.Norm(h, "ffn_norm", c.width)));
  }
  g.Head(h);
}

absl::StatusOr<Graph> BuildStepGraph(const ModelConfig& config, const WeightMap& weights,
                                     const StepShape& shape, const StepOptions& options) {
  StepGraph g(config, weights, shape, options);
  switch (config.family) {
    case Family::kLlama:
      BuildLlama(g);
      break;
    case Family::kDeepSeek2:
      BuildDeepSeek2(g);
      break;
  }
  return std::move(g).Build();
}

}  // namespace tandem
