#include "tests/tiny_model.h"

#include <cstdint>
#include <deque>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <system_error>
#include <vector>

#include "backends/device/status.h"
#include "runtime/safetensors_writer.h"

namespace tandem::testing {
namespace {

constexpr char kConfig[] = R"({
 "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2",
 "vocab_size": 656, "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96,
 "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512,
 "q_lora_rank": null, "kv_lora_rank": 32, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16,
 "v_head_dim": 32, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1,
 "moe_intermediate_size": 32, "first_k_dense_replace": 1, "moe_layer_freq": 1,
 "scoring_func": "softmax", "topk_method": "greedy", "norm_topk_prob": false,
 "routed_scaling_factor": 1.0, "hidden_act": "silu", "rms_norm_eps": 1e-06,
 "rope_theta": 10000.0, "rope_scaling": null, "tie_word_embeddings": false
})";

// Named tensors of random numbers; deques keep the views into them in place.
class Weights {
 public:
  void Add(const std::string& name, const std::vector<int64_t>& shape, float base = 0) {
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    std::normal_distribution<float> noise(0, 0.1f);
    auto& data = data_.emplace_back();
    for (int64_t i = 0; i < count; ++i) data.push_back(base + noise(random_));
    tensors_.push_back(MakeSafetensorsTensor(names_.emplace_back(name), shape, data));
  }
  void AddMlp(const std::string& prefix, int64_t ff) {
    Add(prefix + "gate_proj.weight", {ff, 64});
    Add(prefix + "up_proj.weight", {ff, 64});
    Add(prefix + "down_proj.weight", {64, ff});
  }
  void AddAttention(const std::string& layer) {
    Add(layer + "input_layernorm.weight", {64}, 1);
    Add(layer + "post_attention_layernorm.weight", {64}, 1);
    Add(layer + "self_attn.q_proj.weight", {2 * (32 + 16), 64});
    Add(layer + "self_attn.kv_a_proj_with_mqa.weight", {32 + 16, 64});
    Add(layer + "self_attn.kv_a_layernorm.weight", {32}, 1);
    Add(layer + "self_attn.kv_b_proj.weight", {2 * (32 + 32), 32});
    Add(layer + "self_attn.o_proj.weight", {64, 2 * 32});
  }
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }

 private:
  std::mt19937 random_{1};
  std::deque<std::string> names_;
  std::deque<std::vector<float>> data_;
  std::vector<SafetensorsTensor> tensors_;
};

}  // namespace

absl::Status WriteTinyModel(std::string_view folder, std::string_view tokenizer) {
  const std::filesystem::path path(folder);
  std::error_code error;
  std::filesystem::create_directories(path, error);
  std::filesystem::copy_file(tokenizer, path / "tokenizer.json",
                             std::filesystem::copy_options::overwrite_existing, error);
  if (error || !(std::ofstream(path / "config.json") << kConfig << std::flush)) {
    return absl::InternalError(absl::StrCat("cannot write ", path.string(), ": ", error.message()));
  }
  Weights weights;
  weights.Add("model.embed_tokens.weight", {656, 64});
  weights.Add("model.norm.weight", {64}, 1);
  weights.Add("lm_head.weight", {656, 64});
  weights.AddAttention("model.layers.0.");
  weights.AddMlp("model.layers.0.mlp.", 96);
  weights.AddAttention("model.layers.1.");
  weights.Add("model.layers.1.mlp.gate.weight", {4, 64});
  for (int expert = 0; expert < 4; ++expert) {
    weights.AddMlp(absl::StrCat("model.layers.1.mlp.experts.", expert, "."), 32);
  }
  weights.AddMlp("model.layers.1.mlp.shared_experts.", 32);
  return WriteSafetensors((path / "model.safetensors").string(), weights.tensors());
}

}  // namespace tandem::testing
