// What the graphs of all families share: the inputs of a step, weights by name, and common parts.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "graph/builder.h"
#include "runtime/model_config.h"
#include "runtime/weights.h"

namespace tandem {

// Sizes that a plan is made for.
struct StepShape {
  int64_t tokens = 1;              // T: most tokens of a step
  int64_t sequences = 1;           // S: most sequences
  int64_t outputs = 1;             // R: most rows whose logits are wanted
  int64_t pages = 1;               // P: pages of the KV cache
  int64_t pages_per_sequence = 1;  // of the longest sequence
};

struct StepOptions {
  DType kv_type = DType::kF16;
  bool expand_latent = false;  // the expanded form of latent attention
  int64_t kq_limit = 0;        // bytes of attention's temporaries
  bool keep_routing = false;   // make the ids of chosen experts outputs, see port::Routing
};

// Names of a step's inputs and output; all inputs are i32.
namespace port {
inline constexpr std::string_view kTokens = "tokens";               // [T] ids
inline constexpr std::string_view kPositions = "positions";         // [T] in their sequences
inline constexpr std::string_view kSlots = "slots";                 // [T] where K and V go
inline constexpr std::string_view kNumTokens = "num_tokens";        // [1]
inline constexpr std::string_view kSeqStart = "seq_start";          // [S + 1] first token of each
inline constexpr std::string_view kKvLen = "kv_len";                // [S] keys of each
inline constexpr std::string_view kPageTable = "page_table";        // [S, pages_per_sequence]
inline constexpr std::string_view kNumSequences = "num_sequences";  // [1]
inline constexpr std::string_view kOutputRows =
    "output_rows";  // [R] tokens whose logits are wanted
inline constexpr std::string_view kNumOutputs = "num_outputs";  // [1]
inline constexpr std::string_view kLogits = "logits";           // out: f32 [R, V]
// Out, if the options ask for it: the experts of each token in a layer that has experts, i32
// [T, top_k].
std::string Routing(int64_t layer);
}  // namespace port

// A GraphBuilder that knows the model. Wrong weights are recorded as the builder's error.
class StepGraph {
 public:
  StepGraph(const ModelConfig& config, const WeightMap& weights, const StepShape& shape,
            const StepOptions& options);

  const ModelConfig& config() const { return config_; }
  const StepShape& shape() const { return shape_; }
  const StepOptions& options() const { return options_; }
  GraphBuilder& b() { return builder_; }

  // Weights and names that follow belong to block `i`.
  void EnterLayer(int64_t i);

  // A weight of the model, or of the current layer, that must have this shape.
  ValueId ModelWeight(std::string_view name, const Shape& shape);
  ValueId Weight(std::string_view name, const Shape& shape);
  // kNone if the model has no such weight.
  ValueId OptionalWeight(std::string_view name, const Shape& shape);
  bool Has(std::string_view name) const;  // in the current layer

  // weight `name` [out, in] times x, plus its bias if there is one.
  ValueId Linear(ValueId x, std::string_view name, int64_t out, int64_t in);
  // The current layer's norm `name` of rows of `dim` elements.
  ValueId Norm(ValueId x, std::string_view name, int64_t dim);
  // Rotates elements [begin, begin + rope.dim) of each head of x [T, H, D].
  ValueId Rope(ValueId x, int64_t begin);
  // The current layer's attn_output of heads [T, H, Dv], [T, E].
  ValueId AttentionOutput(ValueId heads);
  // A cache of the current layer, [P, 64, heads, dim].
  ValueId Cache(std::string_view name, int64_t heads, int64_t dim);
  // Stores x [T, heads, dim] there.
  void Store(ValueId x, ValueId cache);
  // The attention inputs that describe the sequences.
  GraphBuilder::AttentionInputs Sequences() const;
  AttentionAttrs CausalAttention() const;

  ValueId EmbedTokens();
  // Dense or with experts, whichever weights the layer has.
  ValueId FeedForward(ValueId x);
  // Final norm and output head of the wanted rows; marks the graph's output.
  void Head(ValueId h);

  absl::StatusOr<Graph> Build() && { return std::move(builder_).Build(); }

 private:
  ValueId Find(const std::string& name, const Shape& shape, bool required);
  ValueId Glu(ValueId x, std::string_view suffix, int64_t width);
  ValueId RoutedExperts(ValueId x);

  const ModelConfig& config_;
  const WeightMap& weights_;
  StepShape shape_;
  StepOptions options_;
  GraphBuilder builder_;
  int64_t layer_ = 0;
  std::string block_;                                  // "blk.3."
  std::map<std::string, ValueId, std::less<>> known_;  // weights that are in the graph
  ValueId tokens_, positions_, slots_, num_tokens_, seq_start_, kv_len_, page_table_,
      num_sequences_, output_rows_, num_outputs_;
};

// The graph of one step, by the model's family.
absl::StatusOr<Graph> BuildStepGraph(const ModelConfig& config, const WeightMap& weights,
                                     const StepShape& shape, const StepOptions& options);

// A decoder with a norm before each part: embedding, then for each layer h += attention(norm(h))
// and h += feed_forward(norm(h)), then the head. `attention` takes and gives [T, E].
void BuildDecoder(StepGraph& g, ValueId (*attention)(StepGraph& g, ValueId x));

// families/llama.cc
void BuildLlama(StepGraph& g);
// families/deepseek2.cc
void BuildDeepSeek2(StepGraph& g);

}  // namespace tandem
