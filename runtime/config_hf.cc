// Hyper-parameters from a Hugging Face config.json.
#include <algorithm>
#include <cmath>
#include <map>

#include "backends/device/status.h"
#include "nlohmann/json.hpp"
#include "runtime/model_config.h"

namespace tandem {
namespace {

using nlohmann::json;

// No size of a model is larger, so sums of a few cannot overflow.
constexpr int64_t kMaxInt = int64_t{1} << 32;

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
    const int64_t number = value.is_number_integer() ? value.get<int64_t>() : -1;
    return number >= 0 && number <= kMaxInt ? number : Fail(key, "an integer up to 2^32", missing);
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

// The object `key`; an empty one if there is none.
absl::StatusOr<json> Object(const Fields& f, const char* key) {
  if (!f.Has(key)) return json::object();
  const json& object = f.object()[key];
  if (object.is_object()) return object;
  return absl::InvalidArgumentError(absl::StrCat("config.json: ", key, " is not an object"));
}

// Both styles: an object rope_parameters; or rope_theta beside an object rope_scaling, which wins
// where both are given, as in transformers.
absl::Status ReadRope(Fields& top, const ModelConfig& c, RopeConfig& rope) {
  TANDEM_ASSIGN_OR_RETURN(const json parameters, Object(top, "rope_parameters"));
  TANDEM_ASSIGN_OR_RETURN(const json scaling, Object(top, "rope_scaling"));
  Fields new_style(parameters), f(scaling.empty() ? parameters : scaling);
  const bool interleaved = c.family == Family::kDeepSeek2 && top.Bool("rope_interleave", true);
  rope.pairing = interleaved ? RopePairing::kInterleaved : RopePairing::kHalves;
  const double theta = new_style.Number("rope_theta", top.Number("rope_theta", 10000.0));
  rope.base = f.Number("rope_theta", theta);
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
  const double part = f.Number("partial_rotary_factor", top.Number("partial_rotary_factor", 1.0));
  if (!(part > 0.0 && part <= 1.0)) {
    return absl::InvalidArgumentError(absl::StrCat("config.json: partial_rotary_factor is ", part));
  }
  rope.dim = static_cast<int64_t>(static_cast<double>(rope.dim) * part);
  TANDEM_RETURN_IF_ERROR(new_style.status());
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
absl::Status ReadMoe(Fields& f, const std::string& type, ModelConfig& c) {
  MoeConfig& moe = c.moe;
  moe.experts = f.Int("n_routed_experts", f.Int("num_experts", f.Int("num_local_experts", 0)));
  if (moe.experts == 0) return absl::OkStatus();
  moe.ff = type == "mixtral" ? c.ff : f.Int("moe_intermediate_size", c.ff);
  moe.shared = f.Int("n_shared_experts", 0);
  moe.dense_layers = f.Int("first_k_dense_replace", 0);
  RouteAttrs& route = moe.route;
  route.top_k = f.Required("num_experts_per_tok");
  const bool v2 = type == "deepseek_v2";
  const bool v3 = c.family == Family::kDeepSeek2 && !v2;
  route.normalize = type == "mixtral" || f.Bool("norm_topk_prob", v3);
  route.scale = static_cast<float>(f.Number("routed_scaling_factor", 1.0));
  route.gating = v3 ? Gating::kSigmoid : Gating::kSoftmax;
  const std::string gating = v3 ? "sigmoid" : "softmax";
  if (const std::string said = f.String("scoring_func", gating); said != gating) {
    return absl::UnimplementedError(
        absl::StrCat("config.json: scoring_func ", said, " is not supported for ", type));
  }
  const bool grouped = v2 ? f.String("topk_method", "greedy") == "group_limited_greedy" : v3;
  if (grouped) {
    route.groups = f.Int("n_group", 1);
    route.groups_used = f.Int("topk_group", 1);
  }
  route.group_score = v2 ? GroupScore::kMax : GroupScore::kTop2Sum;
  return absl::OkStatus();
}

void ReadHeads(Fields& f, const std::string& type, ModelConfig& c) {
  c.heads = f.Required("num_attention_heads");
  c.kv_heads = f.Int("num_key_value_heads", c.heads);
  c.head_dim = f.Int("head_dim", c.heads > 0 ? c.width / c.heads : 0);
  c.v_head_dim = c.head_dim;
  c.rope.dim = c.head_dim;
  // Within its window, sliding attention is full attention. Qwen's files give a window even where
  // it is not used.
  const bool slides = type == "mixtral" || f.Bool("use_sliding_window", false);
  const int64_t window = slides ? f.Int("sliding_window", 0) : 0;
  if (window > 0) c.context = std::min(c.context, window);
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
  ReadHeads(f, type, c);
  c.ff = f.Required("intermediate_size");
  c.rms_eps = static_cast<float>(f.Number("rms_norm_eps", 1e-6));
  if (const auto act = f.String("hidden_act", "silu"); act != "silu" && act != "swish") {
    return absl::UnimplementedError(
        absl::StrCat("config.json: hidden_act ", act, " is not supported"));
  }
  if (c.family == Family::kDeepSeek2) ReadMla(f, c);
  TANDEM_RETURN_IF_ERROR(ReadRope(f, c, c.rope));
  TANDEM_RETURN_IF_ERROR(ReadMoe(f, type, c));
  TANDEM_RETURN_IF_ERROR(f.status());
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
