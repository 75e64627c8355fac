// Hyper-parameters from a Hugging Face config.json.
#include <cmath>
#include <map>

#include "backends/device/status.h"
#include "nlohmann/json.hpp"
#include "runtime/model_config.h"

namespace tandem {
namespace {

using nlohmann::json;

// Typed reads of an object's fields; null counts as missing; the first error is kept.
class Fields {
 public:
  explicit Fields(const json& object) : object_(object) {}

  bool Has(const char* key) const {
    const auto it = object_.find(key);
    return it != object_.end() && !it->is_null();
  }
  int64_t Int(const char* key, int64_t missing) {
    if (!Has(key)) return missing;
    const json& value = object_[key];
    if (!value.is_number_integer()) return Fail(key, "an integer", missing);
    return value.get<int64_t>();
  }
  double Number(const char* key, double missing) {
    if (!Has(key)) return missing;
    const json& value = object_[key];
    if (!value.is_number()) return Fail(key, "a number", missing);
    return value.get<double>();
  }
  bool Bool(const char* key, bool missing) {
    if (!Has(key)) return missing;
    const json& value = object_[key];
    if (!value.is_boolean()) return Fail(key, "true or false", missing);
    return value.get<bool>();
  }
  std::string String(const char* key, std::string missing) {
    if (!Has(key)) return missing;
    const json& value = object_[key];
    if (!value.is_string()) return Fail(key, "a string", missing);
    return value.get<std::string>();
  }
  int64_t Required(const char* key) {
    if (!Has(key)) return Fail(key, "there", int64_t{0});
    return Int(key, 0);
  }
  const json& object() const { return object_; }
  const absl::Status& status() const { return status_; }

 private:
  template <typename T>
  T Fail(const char* key, const char* expected, T value) {
    if (status_.ok()) {
      status_ =
          absl::InvalidArgumentError(absl::StrCat("config.json: ", key, " is not ", expected));
    }
    return value;
  }

  const json& object_;
  absl::Status status_;
};

// GGUF's names of the model types that are supported.
const std::map<std::string, std::string>& Architectures() {
  static const std::map<std::string, std::string> names = {
      {"deepseek_v2", "deepseek2"}, {"deepseek_v3", "deepseek2"}, {"kimi_k2", "deepseek2"},
      {"llama", "llama"},           {"mixtral", "llama"},         {"qwen2", "qwen2"},
      {"qwen3", "qwen3"},           {"qwen3_moe", "qwen3moe"}};
  return names;
}

absl::StatusOr<RopeScaling> ParseScaling(const std::string& type) {
  if (type == "default") return RopeScaling::kNone;
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "yarn") return RopeScaling::kYarn;
  if (type == "llama3") return RopeScaling::kLlama3;
  return absl::UnimplementedError(absl::StrCat("rope type ", type, " is not supported"));
}

// Both styles: an object rope_parameters, or rope_theta beside an object rope_scaling.
absl::Status ReadRope(Fields& top, ModelConfig& c) {
  const char* const key = top.Has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const json empty = json::object();
  const json& object = top.Has(key) ? top.object()[key] : empty;
  if (!object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("config.json: ", key, " is not an object"));
  }
  Fields f(object);
  RopeConfig& rope = c.rope;
  rope.pairing = c.family == Family::kDeepSeek2 ? RopePairing::kInterleaved : RopePairing::kHalves;
  rope.base = f.Number("rope_theta", top.Number("rope_theta", 10000.0));
  TANDEM_ASSIGN_OR_RETURN(rope.scaling,
                          ParseScaling(f.String("rope_type", f.String("type", "default"))));
  rope.factor = f.Number("factor", 1.0);
  rope.original_context =
      f.Number("original_max_position_embeddings", static_cast<double>(c.context));
  rope.beta_fast = f.Number("beta_fast", 32.0);
  rope.beta_slow = f.Number("beta_slow", 1.0);
  rope.truncate = f.Bool("truncate", true);
  rope.mscale = f.Number("mscale", 0.0);
  rope.mscale_all_dim = f.Number("mscale_all_dim", 0.0);
  if (f.Has("attention_factor")) rope.attention_factor = f.Number("attention_factor", 1.0);
  rope.low_freq_factor = f.Number("low_freq_factor", 1.0);
  rope.high_freq_factor = f.Number("high_freq_factor", 4.0);
  return f.status();
}

void ReadMla(Fields& f, ModelConfig& c) {
  c.mla = {f.Int("q_lora_rank", 0), f.Required("kv_lora_rank"), f.Required("qk_nope_head_dim"),
           f.Required("qk_rope_head_dim"), f.Required("v_head_dim")};
  c.head_dim = c.mla.nope_dim + c.mla.rope_dim;
  c.v_head_dim = c.mla.v_dim;
  c.kv_heads = c.heads;
  c.rope.dim = c.mla.rope_dim;
}

// The router follows the model type; the files do not all say it.
void ReadMoe(Fields& f, const std::string& type, ModelConfig& c) {
  MoeConfig& moe = c.moe;
  moe.experts = f.Int("n_routed_experts", f.Int("num_experts", f.Int("num_local_experts", 0)));
  if (moe.experts == 0) return;
  moe.ff = type == "mixtral" ? c.ff : f.Int("moe_intermediate_size", c.ff);
  moe.shared = f.Int("n_shared_experts", 0);
  moe.dense_layers = f.Int("first_k_dense_replace", 0);
  RouteAttrs& route = moe.route;
  route.top_k = f.Required("num_experts_per_tok");
  route.normalize = type == "mixtral" || f.Bool("norm_topk_prob", false);
  route.scale = static_cast<float>(f.Number("routed_scaling_factor", 1.0));
  const bool v2 = type == "deepseek_v2";
  route.gating = c.family == Family::kDeepSeek2 && !v2 ? Gating::kSigmoid : Gating::kSoftmax;
  const bool grouped = v2 ? f.String("topk_method", "greedy") == "group_limited_greedy"
                          : c.family == Family::kDeepSeek2;
  if (grouped) {
    route.groups = f.Int("n_group", 1);
    route.groups_used = f.Int("topk_group", 1);
  }
  route.group_score = v2 ? GroupScore::kMax : GroupScore::kTop2Sum;
}

absl::StatusOr<ModelConfig> ReadConfig(const json& object) {
  Fields f(object);
  const std::string type = f.String("model_type", "");
  const auto known = Architectures().find(type);
  if (known == Architectures().end()) {
    return absl::UnimplementedError(absl::StrCat("model type \"", type, "\" is not supported"));
  }
  ModelConfig c;
  c.architecture = known->second;
  c.name = f.String("_name_or_path", "");
  c.family = c.architecture == "deepseek2" ? Family::kDeepSeek2 : Family::kLlama;
  c.layers = f.Required("num_hidden_layers");
  c.width = f.Required("hidden_size");
  c.context = f.Int("max_position_embeddings", 2048);
  c.heads = f.Required("num_attention_heads");
  c.kv_heads = f.Int("num_key_value_heads", c.heads);
  c.ff = f.Required("intermediate_size");
  c.rms_eps = static_cast<float>(f.Number("rms_norm_eps", 1e-6));
  c.head_dim = f.Int("head_dim", c.heads > 0 ? c.width / c.heads : 0);
  c.v_head_dim = c.head_dim;
  c.rope.dim = c.head_dim;
  if (f.Bool("use_sliding_window", false)) {
    return absl::UnimplementedError("config.json: use_sliding_window is not supported");
  }
  if (c.family == Family::kDeepSeek2) ReadMla(f, c);
  TANDEM_RETURN_IF_ERROR(ReadRope(f, c));
  ReadMoe(f, type, c);
  TANDEM_RETURN_IF_ERROR(f.status());
  TANDEM_RETURN_IF_ERROR(ValidateRope(c.rope));
  const double factor = c.family == Family::kDeepSeek2 ? RopeScoreFactor(c.rope) : 1.0;
  c.attention_scale = static_cast<float>(factor / std::sqrt(static_cast<double>(c.head_dim)));
  TANDEM_RETURN_IF_ERROR(ValidateConfig(c));
  return c;
}

}  // namespace

absl::StatusOr<ModelConfig> ConfigFromHuggingFace(std::string_view text) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError("config.json is not a JSON object");
  return ReadConfig(object);
}

}  // namespace tandem
