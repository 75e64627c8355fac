// llama, mixtral, qwen2, qwen3, qwen3moe: grouped-query attention with rotary positions, gated
// feed-forward layers or experts. What a model has besides (biases of q, k, v; norms of query and
// key heads) is told by its weights.
#include "runtime/families/step_graph.h"

namespace tandem {
namespace {

// One projection as heads, [T, heads, dim], normed if the layer has such a norm.
ValueId Heads(StepGraph& g, ValueId x, const std::string& name, int64_t heads, int64_t dim) {
  const ValueId rows = g.Linear(x, name, heads * dim, g.config().width);
  const ValueId split = g.b().Reshape(rows, {g.shape().tokens, heads, dim});
  return g.Has(name + "_norm.weight") ? g.Norm(split, name + "_norm", dim) : split;
}

ValueId Attention(StepGraph& g, ValueId x) {
  const ModelConfig& c = g.config();
  const ValueId q = g.Rope(Heads(g, x, "attn_q", c.heads, c.head_dim), 0);
  const ValueId k = g.Rope(Heads(g, x, "attn_k", c.kv_heads, c.head_dim), 0);
  const ValueId v = Heads(g, x, "attn_v", c.kv_heads, c.v_head_dim);
  GraphBuilder::AttentionInputs in = g.Sequences();
  in.q = q;
  in.k = g.Cache("cache_k", c.kv_heads, c.head_dim);
  in.v = g.Cache("cache_v", c.kv_heads, c.v_head_dim);
  g.Store(k, in.k);
  g.Store(v, in.v);
  const ValueId heads = g.b().Attention(in, g.CausalAttention()).first;
  return g.AttentionOutput(heads);
}

}  // namespace

void BuildLlama(StepGraph& g) { BuildDecoder(g, Attention); }

}  // namespace tandem
