// Hyper-parameters from the metadata of a GGUF file.
#include <algorithm>
#include <cmath>

#include "backends/device/status.h"
#include "runtime/model_config.h"

namespace tandem {
namespace {

// Typed reads of keys that begin with the architecture's name; the first error is kept.
class Keys {
 public:
  Keys(const GgufMetadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}

  // No size of a model needs more than 32 bits, so sums of a few cannot overflow.
  int64_t Int(std::string_view key, int64_t missing) {
    return Value(metadata_.FindU32(prefix_ + std::string(key)), missing);
  }
  double Float(std::string_view key, double missing) {
    return Value(metadata_.FindF32(prefix_ + std::string(key)), missing);
  }
  bool Bool(std::string_view key, bool missing) {
    return Value(metadata_.FindBool(prefix_ + std::string(key)), missing);
  }
  std::string String(std::string_view key, std::string missing) {
    return Value(metadata_.FindString(prefix_ + std::string(key)), missing);
  }
  // A number, or an array with the same number for every layer.
  int64_t PerLayer(std::string_view key, int64_t missing) {
    const GgufValue* value = metadata_.Find(prefix_ + std::string(key));
    if (value == nullptr || !value->is_array) return Int(key, missing);
    const auto list = metadata_.GetU32Array(prefix_ + std::string(key));
    if (!list.ok()) return Fail(list.status(), missing);
    if (list->empty()) return missing;
    for (const uint32_t item : *list) {
      if (item != list->front()) {
        return Fail(absl::UnimplementedError(
                        absl::StrCat(prefix_, Text(key), " differs from layer to layer")),
                    missing);
      }
    }
    return list->front();
  }
  bool Has(std::string_view key) const {
    return metadata_.Find(prefix_ + std::string(key)) != nullptr;
  }
  int64_t Required(std::string_view key) {
    if (!Has(key)) {
      Fail(absl::NotFoundError(absl::StrCat("the file has no key ", prefix_, Text(key))), 0);
      return 0;
    }
    return PerLayer(key, 0);
  }
  const absl::Status& status() const { return status_; }

 private:
  template <typename T>
  T Fail(const absl::Status& status, T value) {
    if (status_.ok()) status_ = status;
    return value;
  }
  template <typename Found, typename T>
  T Value(const absl::StatusOr<std::optional<Found>>& found, T missing) {
    if (!found.ok()) return Fail(found.status(), missing);
    return found->has_value() ? static_cast<T>(**found) : missing;
  }

  const GgufMetadata& metadata_;
  std::string prefix_;
  absl::Status status_;
};

absl::StatusOr<RopeScaling> ParseScaling(const std::string& type) {
  if (type == "none") return RopeScaling::kNone;
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "yarn") return RopeScaling::kYarn;
  return absl::UnimplementedError(absl::StrCat("rope scaling ", type, " is not supported"));
}

absl::Status ReadRope(Keys& keys, ModelConfig& c) {
  RopeConfig& rope = c.rope;
  const bool interleaved = c.architecture == "llama" || c.family == Family::kDeepSeek2;
  rope.pairing = interleaved ? RopePairing::kInterleaved : RopePairing::kHalves;
  rope.base = keys.Float("rope.freq_base", 10000.0);
  TANDEM_ASSIGN_OR_RETURN(rope.scaling, ParseScaling(keys.String("rope.scaling.type", "linear")));
  rope.factor = keys.Float("rope.scaling.factor", keys.Float("rope.scale_linear", 1.0));
  if (rope.factor == 0.0) rope.factor = 1.0;  // written by some converters for "none"
  rope.original_context =
      static_cast<double>(keys.Int("rope.scaling.original_context_length", c.context));
  rope.beta_fast = keys.Float("rope.scaling.yarn_beta_fast", 32.0);
  rope.beta_slow = keys.Float("rope.scaling.yarn_beta_slow", 1.0);
  if (rope.scaling == RopeScaling::kYarn && c.family == Family::kDeepSeek2) {
    // The key holds 0.1 * mscale_all_dim; DeepSeek's two magnitudes are equal in all its models.
    rope.mscale_all_dim = 10.0 * keys.Float("rope.scaling.yarn_log_multiplier", 0.0);
    rope.mscale = rope.mscale_all_dim;
    if (rope.mscale_all_dim == 0.0) rope.attention_factor = 1.0;
  } else if (keys.Has("rope.scaling.attn_factor")) {
    // A factor on top of YaRN's own magnitude.
    const double own = 1.0 + 0.1 * std::log(std::max(rope.factor, 1.0));
    rope.attention_factor = own * keys.Float("rope.scaling.attn_factor", 1.0);
  }
  return absl::OkStatus();
}

// The key is missing in files older than it, whose models are softmax ones, and in those of
// GLM-4.7-Flash (47 layers and one that predicts further tokens), which has sigmoid gates.
absl::StatusOr<Gating> ReadGating(Keys& keys, const ModelConfig& c) {
  switch (const int64_t number = keys.Int("expert_gating_func", 0)) {
    case 0: {
      const int64_t blocks = keys.Int("block_count", 0);
      const bool glm = c.family == Family::kDeepSeek2 && (blocks == 47 || blocks == 48);
      return glm ? Gating::kSigmoid : Gating::kSoftmax;
    }
    case 1:
      return Gating::kSoftmax;
    case 2:
      return Gating::kSigmoid;
    default:
      return absl::UnimplementedError(
          absl::StrCat(c.architecture, ".expert_gating_func ", number, " is not supported"));
  }
}

absl::Status ReadMoe(Keys& keys, ModelConfig& c) {
  MoeConfig& moe = c.moe;
  moe.experts = keys.Int("expert_count", 0);
  if (moe.experts == 0) return absl::OkStatus();
  moe.route.top_k = keys.Required("expert_used_count");
  const int64_t width = c.architecture == "llama" ? c.ff
                        : c.architecture == "qwen3moe"
                            ? c.ff / std::max<int64_t>(moe.route.top_k, 1)
                            : 0;
  moe.ff = keys.Int("expert_feed_forward_length", width);
  moe.shared = keys.Int("expert_shared_count", 0);
  moe.dense_layers = keys.Int("leading_dense_block_count", 0);
  const bool deepseek = c.family == Family::kDeepSeek2;
  moe.route.normalize = deepseek ? keys.Bool("expert_weights_norm", false) : true;
  const double scale = keys.Float("expert_weights_scale", 1.0);
  moe.route.scale = scale == 0.0 ? 1.0f : static_cast<float>(scale);
  TANDEM_ASSIGN_OR_RETURN(moe.route.gating, ReadGating(keys, c));
  moe.route.groups = std::max<int64_t>(keys.Int("expert_group_count", 1), 1);
  if (moe.route.groups > 1) {
    moe.route.groups_used = keys.Int("expert_group_used_count", moe.route.groups);
  }
  // As the reference models do: V3 sums the two best of a group, V2 takes the best.
  const bool sigmoid = moe.route.gating == Gating::kSigmoid;
  moe.route.group_score = sigmoid ? GroupScore::kTop2Sum : GroupScore::kMax;
  return absl::OkStatus();
}

void ReadMla(Keys& keys, ModelConfig& c) {
  const bool new_layout = keys.Has("attention.key_length_mla");
  c.head_dim = keys.Required(new_layout ? "attention.key_length_mla" : "attention.key_length");
  c.v_head_dim =
      keys.Required(new_layout ? "attention.value_length_mla" : "attention.value_length");
  c.kv_heads = c.heads;  // 1 in the file's new layout, where it counts latent rows
  c.rope.dim = keys.Required("rope.dimension_count");
  c.mla = {keys.Int("attention.q_lora_rank", 0), keys.Required("attention.kv_lora_rank"),
           c.head_dim - c.rope.dim, c.rope.dim, c.v_head_dim};
}

absl::Status ReadAttention(Keys& keys, ModelConfig& c) {
  // Within its window, sliding attention is full attention.
  const int64_t window = keys.Int("attention.sliding_window", 0);
  if (window > 0) c.context = std::min(c.context, window);
  if (keys.Float("attention.temperature_scale", 0.0) != 0.0) {
    return absl::UnimplementedError(
        absl::StrCat(c.architecture, ".attention.temperature_scale is not supported"));
  }
  const double plain = RopeScoreFactor(c.rope) / std::sqrt(static_cast<double>(c.head_dim));
  const double scale = keys.Float("attention.scale", 0.0);
  c.attention_scale = static_cast<float>(scale == 0.0 ? plain : scale);
  return absl::OkStatus();
}

absl::StatusOr<Family> FamilyOf(std::string_view architecture) {
  if (architecture == "deepseek2") return Family::kDeepSeek2;
  for (std::string_view name : {"llama", "qwen2", "qwen3", "qwen3moe"}) {
    if (architecture == name) return Family::kLlama;
  }
  return absl::UnimplementedError(absl::StrCat("architecture ", Text(architecture),
                                               " is not supported (deepseek2, llama, qwen2, "
                                               "qwen3, qwen3moe are)"));
}

}  // namespace

absl::StatusOr<ModelConfig> ConfigFromGguf(const GgufMetadata& metadata) {
  ModelConfig c;
  TANDEM_ASSIGN_OR_RETURN(const std::string_view arch, metadata.GetString("general.architecture"));
  c.architecture = std::string(arch);
  TANDEM_ASSIGN_OR_RETURN(c.family, FamilyOf(arch));
  TANDEM_ASSIGN_OR_RETURN(const auto name, metadata.FindString("general.name"));
  c.name = std::string(name.value_or(""));
  Keys keys(metadata, arch);
  // Blocks at the end that predict further tokens are counted, but are no layers of the model.
  c.layers = keys.Required("block_count") - keys.Int("nextn_predict_layers", 0);
  c.width = keys.Required("embedding_length");
  c.context = keys.Required("context_length");
  c.heads = keys.Required("attention.head_count");
  c.kv_heads = keys.PerLayer("attention.head_count_kv", c.heads);
  c.ff = keys.Required("feed_forward_length");
  c.rms_eps = static_cast<float>(keys.Float("attention.layer_norm_rms_epsilon", 1e-6));
  const int64_t even = c.heads > 0 ? c.width / c.heads : 0;
  c.head_dim = keys.Int("attention.key_length", even);
  c.v_head_dim = keys.Int("attention.value_length", even);
  c.rope.dim = keys.Int("rope.dimension_count", c.head_dim);
  if (c.family == Family::kDeepSeek2) ReadMla(keys, c);
  TANDEM_RETURN_IF_ERROR(ReadRope(keys, c));
  TANDEM_RETURN_IF_ERROR(ReadMoe(keys, c));
  TANDEM_RETURN_IF_ERROR(ReadAttention(keys, c));
  TANDEM_RETURN_IF_ERROR(keys.status());
  TANDEM_RETURN_IF_ERROR(ValidateConfig(c));
  return c;
}

}  // namespace tandem
