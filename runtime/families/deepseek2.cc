// deepseek2 (DeepSeek V2, V2-Lite, V3, R1, Kimi-K2): multi-head latent attention (DeepSeek-V2,
// arXiv 2405.04434, section 2.1) and experts with shared ones.
//
// The cache holds one row for each token: the normed latent c (L elements) and the rotated key part
// that all heads share (R). Scores and values follow from it in two forms that give the same
// answer:
//   expanded: K_h = [W_k,h c | rotated], V_h = W_v,h c; attention over H heads of Dk and Dv;
//   absorbed: q'_h = W_k,h^T q_h; attention over one shared head of L + R whose values are c; then
//             W_v,h of the result.
#include "runtime/families/step_graph.h"

namespace tandem {
namespace {

// The up-projections of the latent, as views of the weights that the file has.
struct UpProjection {
  ValueId k = kNone;  // [H, Dn, L], or transposed [H, L, Dn]
  ValueId v = kNone;  // [H, Dv, L]
  bool k_transposed = false;
};

UpProjection LoadUpProjection(StepGraph& g) {
  const ModelConfig& c = g.config();
  const auto& [q_lora, latent, nope, rope, v_dim] = c.mla;
  if (g.Has("attn_kv_b.weight")) {
    const ValueId both = g.Weight("attn_kv_b.weight", {c.heads, nope + v_dim, latent});
    return {g.b().Slice(both, 1, 0, nope), g.b().Slice(both, 1, nope, v_dim), false};
  }
  return {g.Weight("attn_k_b.weight", {c.heads, latent, nope}),
          g.Weight("attn_v_b.weight", {c.heads, v_dim, latent}), true};
}

// [T, H, Dn + R], not rotated.
ValueId Queries(StepGraph& g, ValueId x) {
  const ModelConfig& c = g.config();
  const int64_t width = c.heads * c.head_dim;
  ValueId q = kNone;
  if (g.Has("attn_q_a.weight")) {
    const ValueId low = g.Linear(x, "attn_q_a", c.mla.q_lora, c.width);
    q = g.Linear(g.Norm(low, "attn_q_a_norm", c.mla.q_lora), "attn_q_b", width, c.mla.q_lora);
  } else {
    q = g.Linear(x, "attn_q", width, c.width);
  }
  return g.b().Reshape(q, {g.shape().tokens, c.heads, c.head_dim});
}

// Stores the latent rows of the step's tokens; returns the cache.
ValueId StoreLatents(StepGraph& g, ValueId x) {
  const auto& mla = g.config().mla;
  const int64_t tokens = g.shape().tokens;
  const ValueId rows =
      g.b().Reshape(g.Linear(x, "attn_kv_a_mqa", mla.kv_lora + mla.rope_dim, g.config().width),
                    {tokens, 1, mla.kv_lora + mla.rope_dim});
  const ValueId latent =
      g.Norm(g.b().Slice(rows, 2, 0, mla.kv_lora), "attn_kv_a_norm", mla.kv_lora);
  const ValueId rotated = g.Rope(g.b().Slice(rows, 2, mla.kv_lora, mla.rope_dim), 0);
  const ValueId cache = g.Cache("cache_latent", 1, mla.kv_lora + mla.rope_dim);
  g.Store(g.b().Concat(latent, rotated), cache);
  return cache;
}

// [T, H, Dv].
ValueId ExpandedAttention(StepGraph& g, ValueId q, ValueId cache, const UpProjection& up) {
  GraphBuilder::AttentionInputs in = g.Sequences();
  in.q = g.Rope(q, g.config().mla.nope_dim);
  in.k = cache;
  in.k_up = up.k;
  in.v_up = up.v;
  AttentionAttrs attrs = g.CausalAttention();
  attrs.k_up_transposed = up.k_transposed;
  return g.b().Attention(in, attrs).first;
}

// [T, H, Dv].
ValueId AbsorbedAttention(StepGraph& g, ValueId q, ValueId cache, const UpProjection& up) {
  const auto& mla = g.config().mla;
  const ValueId nope = g.b().Slice(q, 2, 0, mla.nope_dim);
  const ValueId rope = g.b().Slice(q, 2, mla.nope_dim, mla.rope_dim);
  // q'_h = W_k,h^T q_h: the weight is used from its other side.
  const ValueId absorbed = g.b().Linear(nope, up.k, kNone, /*transposed=*/!up.k_transposed);
  GraphBuilder::AttentionInputs in = g.Sequences();
  in.q = g.b().Concat(absorbed, g.Rope(rope, 0));
  in.k = cache;
  AttentionAttrs attrs = g.CausalAttention();
  attrs.v_from_k_offset = 0;
  attrs.v_dim = mla.kv_lora;
  return g.b().Linear(g.b().Attention(in, attrs).first, up.v);
}

ValueId Attention(StepGraph& g, ValueId x) {
  const ValueId q = Queries(g, x);
  const ValueId cache = StoreLatents(g, x);
  const UpProjection up = LoadUpProjection(g);
  const ValueId heads = g.options().expand_latent ? ExpandedAttention(g, q, cache, up)
                                                  : AbsorbedAttention(g, q, cache, up);
  return g.AttentionOutput(heads);
}

}  // namespace

void BuildDeepSeek2(StepGraph& g) { BuildDecoder(g, Attention); }

}  // namespace tandem
