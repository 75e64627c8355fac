#include "runtime/model_tensors.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

// Collects the tensors of one layer after the other.
class Lister {
 public:
  Lister(const ModelConfig& config, const TensorChoices& choices) : c_(config), choices_(choices) {}

  std::vector<ModelTensor> List() && {
    Add("token_embd.weight", {c_.vocab, c_.width}, TensorRole::kEmbedding, 1);
    for (int64_t i = 0; i < c_.layers; ++i) {
      prefix_ = absl::StrCat("blk.", i, ".");
      Norm("attn_norm", c_.width);
      if (c_.family == Family::kDeepSeek2) {
        LatentAttention();
      } else {
        GroupedAttention();
      }
      AddOutput("attn_output.weight", c_.heads * c_.v_head_dim);
      Norm("ffn_norm", c_.width);
      if (c_.moe.experts > 0 && i >= c_.moe.dense_layers) {
        Experts();
      } else {
        Glu("", c_.ff);
      }
    }
    prefix_.clear();
    Norm("output_norm", c_.width);
    if (!choices_.tied_head) Matrix("output", c_.vocab, c_.width);
    return std::move(tensors_);
  }

 private:
  void Add(std::string_view name, const Shape& shape, TensorRole role, int64_t inputs) {
    tensors_.push_back({prefix_ + std::string(name), shape, role, inputs});
  }
  void Matrix(const std::string& name, int64_t out, int64_t in) {
    Add(name + ".weight", {out, in}, TensorRole::kMatrix, in);
  }
  void AddOutput(const std::string& name, int64_t in) {
    Add(name, {c_.width, in}, TensorRole::kResidualMatrix, in);
  }
  void Norm(const std::string& name, int64_t dim) {
    Add(name + ".weight", {dim}, TensorRole::kNorm, 1);
  }

  void GroupedAttention() {
    const int64_t q = c_.heads * c_.head_dim, k = c_.kv_heads * c_.head_dim;
    const int64_t v = c_.kv_heads * c_.v_head_dim;
    const bool bias = c_.architecture == "qwen2";
    const std::pair<std::string, int64_t> projections[] = {
        {"attn_q", q}, {"attn_k", k}, {"attn_v", v}};
    for (const auto& [name, out] : projections) {
      Matrix(name, out, c_.width);
      if (bias) Add(name + ".bias", {out}, TensorRole::kBias, c_.width);
    }
    if (c_.architecture != "qwen3" && c_.architecture != "qwen3moe") return;
    Norm("attn_q_norm", c_.head_dim);
    Norm("attn_k_norm", c_.head_dim);
  }

  void LatentAttention() {
    const MlaConfig& mla = c_.mla;
    const int64_t queries = c_.heads * c_.head_dim, latent = mla.kv_lora;
    if (mla.q_lora > 0) {
      Matrix("attn_q_a", mla.q_lora, c_.width);
      Norm("attn_q_a_norm", mla.q_lora);
      Matrix("attn_q_b", queries, mla.q_lora);
    } else {
      Matrix("attn_q", queries, c_.width);
    }
    Matrix("attn_kv_a_mqa", latent + mla.rope_dim, c_.width);
    Norm("attn_kv_a_norm", latent);
    if (choices_.layout == LatentLayout::kJoined) {
      Matrix("attn_kv_b", c_.heads * (mla.nope_dim + mla.v_dim), latent);
      return;
    }
    Add("attn_k_b.weight", {c_.heads, latent, mla.nope_dim}, TensorRole::kMatrix, latent);
    Add("attn_v_b.weight", {c_.heads, mla.v_dim, latent}, TensorRole::kMatrix, latent);
  }

  void Experts() {
    const MoeConfig& moe = c_.moe;
    const int64_t n = moe.experts, f = moe.ff, e = c_.width;
    Matrix("ffn_gate_inp", n, e);
    if (moe.route.gating == Gating::kSigmoid) Add("exp_probs_b.bias", {n}, TensorRole::kBias, e);
    Add("ffn_gate_exps.weight", {n, f, e}, TensorRole::kMatrix, e);
    Add("ffn_up_exps.weight", {n, f, e}, TensorRole::kMatrix, e);
    Add("ffn_down_exps.weight", {n, e, f}, TensorRole::kResidualMatrix, f);
    if (moe.shared > 0) Glu("_shexp", moe.shared * f);
  }

  void Glu(const std::string& suffix, int64_t width) {
    Matrix("ffn_gate" + suffix, width, c_.width);
    Matrix("ffn_up" + suffix, width, c_.width);
    AddOutput("ffn_down" + suffix + ".weight", width);
  }

  const ModelConfig& c_;
  const TensorChoices& choices_;
  std::string prefix_;
  std::vector<ModelTensor> tensors_;
};

}  // namespace

std::vector<ModelTensor> ListModelTensors(const ModelConfig& config, const TensorChoices& choices) {
  return Lister(config, choices).List();
}

}  // namespace tandem
