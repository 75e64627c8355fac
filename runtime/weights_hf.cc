// Hugging Face's tensor names to GGUF's.
#include <array>
#include <optional>
#include <utility>

#include "backends/device/status.h"
#include "runtime/weights.h"

namespace tandem {
namespace {

using NamePair = std::pair<std::string_view, std::string_view>;

constexpr std::array<NamePair, 3> kOuter = {{{"model.embed_tokens.weight", "token_embd.weight"},
                                             {"model.norm.weight", "output_norm.weight"},
                                             {"lm_head.weight", "output.weight"}}};

// Modules of a layer; a suffix .weight or .bias follows.
constexpr std::array<NamePair, 25> kInLayer = {{
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"self_attn.kv_b_proj", "attn_kv_b"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
}};

// Modules of an expert.
constexpr std::array<NamePair, 6> kInExpert = {{{"gate_proj.weight", "ffn_gate_exps.weight"},
                                                {"up_proj.weight", "ffn_up_exps.weight"},
                                                {"down_proj.weight", "ffn_down_exps.weight"},
                                                {"w1.weight", "ffn_gate_exps.weight"},
                                                {"w3.weight", "ffn_up_exps.weight"},
                                                {"w2.weight", "ffn_down_exps.weight"}}};

template <size_t N>
std::optional<std::string_view> LookUp(const std::array<NamePair, N>& table,
                                       std::string_view name) {
  for (const auto& [from, to] : table) {
    if (from == name) return to;
  }
  return std::nullopt;
}

bool TakePrefix(std::string_view prefix, std::string_view& text) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// Where a tensor goes: a name, and an index among the experts that are stacked under it.
struct Target {
  std::string name;
  std::optional<int> expert;
};

std::optional<Target> TargetOf(std::string_view name) {
  if (const auto outer = LookUp(kOuter, name)) return Target{std::string(*outer), std::nullopt};
  if (!TakePrefix("model.layers.", name)) return std::nullopt;
  const auto layer = TakeNumber(name);
  if (!layer.has_value()) return std::nullopt;
  const std::string block = absl::StrCat("blk.", *layer, ".");
  if (name == "mlp.gate.e_score_correction_bias") {
    return Target{block + "exp_probs_b.bias", std::nullopt};
  }
  if (TakePrefix("mlp.experts.", name) || TakePrefix("block_sparse_moe.experts.", name)) {
    const auto expert = TakeNumber(name);
    const auto module = LookUp(kInExpert, name);
    if (!expert.has_value() || !module.has_value()) return std::nullopt;
    return Target{block + std::string(*module), expert};
  }
  const size_t dot = name.rfind('.');
  if (dot == name.npos) return std::nullopt;
  const auto module = LookUp(kInLayer, name.substr(0, dot));
  if (!module.has_value()) return std::nullopt;
  return Target{block + std::string(*module) + std::string(name.substr(dot)), std::nullopt};
}

}  // namespace

absl::StatusOr<WeightMap> WeightsFromHuggingFace(const TensorTable& tensors) {
  WeightMap map;
  ExpertStacks stacks;
  for (const FileTensor& tensor : tensors) {
    const auto target = TargetOf(tensor.name);
    if (!target.has_value()) continue;
    if (!target->expert.has_value()) {
      TANDEM_RETURN_IF_ERROR(map.Add(target->name, tensor));
    } else {
      stacks[target->name][*target->expert] = &tensor;
    }
  }
  TANDEM_RETURN_IF_ERROR(AddStacks(stacks, map));
  return map;
}

}  // namespace tandem
