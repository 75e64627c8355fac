#include "runtime/config_to_gguf.h"

#include <cmath>

#include "backends/device/status.h"
#include "runtime/gguf.h"

namespace tandem {
namespace {

// Sets keys that begin with the architecture's name.
class Keys {
 public:
  Keys(GgufHeader& header, std::string prefix) : header_(header), prefix_(std::move(prefix)) {}

  void Int(std::string_view key, int64_t value) {
    header_.SetU32(Full(key), static_cast<uint32_t>(value));
  }
  void Float(std::string_view key, double value) {
    header_.SetF32(Full(key), static_cast<float>(value));
  }
  void Bool(std::string_view key, bool value) { header_.SetBool(Full(key), value); }
  void String(std::string_view key, std::string_view value) { header_.SetString(Full(key), value); }

 private:
  std::string Full(std::string_view key) const { return prefix_ + "." + std::string(key); }

  GgufHeader& header_;
  std::string prefix_;
};

// In the split layout the plain keys describe the absorbed form, whose one KV head is the cached
// row.
void SetHeads(const ModelConfig& c, LatentLayout layout, Keys& keys) {
  const bool absorbed = c.family == Family::kDeepSeek2 && layout == LatentLayout::kSplit;
  keys.Int("attention.head_count", c.heads);
  keys.Int("attention.head_count_kv", absorbed ? 1 : c.kv_heads);
  keys.Int("attention.key_length", absorbed ? c.mla.kv_lora + c.mla.rope_dim : c.head_dim);
  keys.Int("attention.value_length", absorbed ? c.mla.kv_lora : c.v_head_dim);
  if (!absorbed) return;
  keys.Int("attention.key_length_mla", c.head_dim);
  keys.Int("attention.value_length_mla", c.v_head_dim);
}

void SetAttention(const ModelConfig& c, LatentLayout layout, Keys& keys) {
  SetHeads(c, layout, keys);
  keys.Float("attention.layer_norm_rms_epsilon", c.rms_eps);
  if (c.family != Family::kDeepSeek2) return;
  if (c.mla.q_lora > 0) keys.Int("attention.q_lora_rank", c.mla.q_lora);
  keys.Int("attention.kv_lora_rank", c.mla.kv_lora);
}

void SetYarn(const ModelConfig& c, Keys& keys) {
  const RopeConfig& rope = c.rope;
  keys.String("rope.scaling.type", "yarn");
  keys.Float("rope.scaling.factor", rope.factor);
  keys.Int("rope.scaling.original_context_length", std::llround(rope.original_context));
  if (rope.beta_fast != 32.0) keys.Float("rope.scaling.yarn_beta_fast", rope.beta_fast);
  if (rope.beta_slow != 1.0) keys.Float("rope.scaling.yarn_beta_slow", rope.beta_slow);
  if (c.family == Family::kDeepSeek2) {
    if (rope.mscale_all_dim != 0.0) {
      keys.Float("rope.scaling.yarn_log_multiplier", 0.1 * rope.mscale_all_dim);
    }
    return;
  }
  // The key is a factor on top of YaRN's own magnitude, 1 + 0.1 ln(factor).
  const double own = rope.factor <= 1.0 ? 1.0 : 1.0 + 0.1 * std::log(rope.factor);
  const double extra = RopeMagnitude(rope) / own;
  if (std::abs(extra - 1.0) > 1e-6) keys.Float("rope.scaling.attn_factor", extra);
}

void SetRope(const ModelConfig& c, Keys& keys) {
  keys.Int("rope.dimension_count", c.rope.dim);
  keys.Float("rope.freq_base", c.rope.base);
  if (c.rope.scaling == RopeScaling::kYarn) SetYarn(c, keys);
  if (c.rope.scaling == RopeScaling::kLinear && c.rope.factor != 1.0) {
    keys.String("rope.scaling.type", "linear");
    keys.Float("rope.scaling.factor", c.rope.factor);
  }
}

void SetMoe(const ModelConfig& c, Keys& keys) {
  const MoeConfig& moe = c.moe;
  if (moe.experts == 0) return;
  keys.Int("expert_count", moe.experts);
  keys.Int("expert_used_count", moe.route.top_k);
  // Mixtral's experts are feed_forward_length wide, and readers expect no other key.
  if (c.architecture != "llama") keys.Int("expert_feed_forward_length", moe.ff);
  if (c.family != Family::kDeepSeek2) return;
  keys.Int("leading_dense_block_count", moe.dense_layers);
  keys.Int("expert_shared_count", moe.shared);
  keys.Float("expert_weights_scale", moe.route.scale);
  keys.Bool("expert_weights_norm", moe.route.normalize);
  keys.Int("expert_gating_func", moe.route.gating == Gating::kSigmoid ? 2 : 1);
  if (moe.route.groups > 1) {
    keys.Int("expert_group_count", moe.route.groups);
    keys.Int("expert_group_used_count", moe.route.groups_used);
  }
}

bool Near(double a, double b) { return std::abs(a - b) <= 1e-6 * std::abs(b); }

absl::Status CheckRope(const ModelConfig& want, ModelConfig got) {
  got.rope.divisors = RopeDivisors(want.rope);
  const auto wanted = RopeFrequencies(want.rope), read = RopeFrequencies(got.rope);
  bool same = read.size() == wanted.size() &&
              Near(RopeMagnitude(got.rope), RopeMagnitude(want.rope)) &&
              Near(got.attention_scale, want.attention_scale);
  for (size_t i = 0; same && i < read.size(); ++i) same = Near(read[i], wanted[i]);
  if (same) return absl::OkStatus();
  return absl::UnimplementedError(
      "the scaling of rotary embeddings cannot be written as metadata of a GGUF file");
}

absl::Status CheckRoute(const MoeConfig& want, const MoeConfig& got) {
  const RouteAttrs &w = want.route, &g = got.route;
  const bool grouped = w.groups > 1;
  const bool same =
      want.experts == 0 ||
      (g.top_k == w.top_k && g.gating == w.gating && g.groups == w.groups &&
       g.normalize == w.normalize && Near(g.scale, w.scale) &&
       (!grouped || (g.groups_used == w.groups_used && g.group_score == w.group_score)));
  const bool same_sizes = got.experts == want.experts && got.ff == want.ff &&
                          got.shared == want.shared && got.dense_layers == want.dense_layers;
  if (same && same_sizes) return absl::OkStatus();
  return absl::UnimplementedError(
      "the choice of experts cannot be written as metadata of a GGUF file");
}

// Reads the keys as a reader of the file would, so that a model never turns into another one.
absl::Status CheckReadsBack(const ModelConfig& want, const GgufHeader& header) {
  TANDEM_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, header.Serialize());
  TANDEM_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(bytes));
  TANDEM_ASSIGN_OR_RETURN(const ModelConfig got, ConfigFromGguf(file.metadata()));
  TANDEM_RETURN_IF_ERROR(CheckRope(want, got));
  return CheckRoute(want.moe, got.moe);
}

}  // namespace

std::vector<float> RopeDivisors(const RopeConfig& rope) {
  if (!rope.divisors.empty()) return rope.divisors;
  if (rope.scaling != RopeScaling::kLlama3) return {};
  const std::vector<float> scaled = RopeFrequencies(rope);
  std::vector<float> divisors(scaled.size());
  for (size_t i = 0; i < scaled.size(); ++i) {
    const double plain =
        std::pow(rope.base, -2.0 * static_cast<double>(i) / static_cast<double>(rope.dim));
    divisors[i] = static_cast<float>(plain / static_cast<double>(scaled[i]));
  }
  return divisors;
}

absl::Status SetConfigKeys(const ModelConfig& c, GgufHeader& header, LatentLayout layout) {
  GgufHeader alone;
  for (GgufHeader* target : {&alone, &header}) {
    target->SetString("general.architecture", c.architecture);
    Keys keys(*target, c.architecture);
    keys.Int("block_count", c.layers);
    keys.Int("context_length", c.context);
    keys.Int("embedding_length", c.width);
    keys.Int("feed_forward_length", c.ff);
    if (c.vocab > 0) keys.Int("vocab_size", c.vocab);
    SetAttention(c, layout, keys);
    SetRope(c, keys);
    SetMoe(c, keys);
  }
  return CheckReadsBack(c, alone);
}

}  // namespace tandem
