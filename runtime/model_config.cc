#include "runtime/model_config.h"

#include <cmath>

#include "backends/device/status.h"

namespace tandem {
namespace {

// No published model comes near these; a damaged file does.
constexpr int64_t kMaxLayers = 512;
constexpr int64_t kMaxExperts = 4096;
constexpr int64_t kMaxDim = int64_t{1} << 24;
constexpr int64_t kMaxContext = int64_t{1} << 30;  // positions are 32-bit numbers

absl::Status InRange(std::string_view what, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("model: ", Text(what), " is ", value, ", not in ", low, "..", high));
}

absl::Status ValidateMoe(const MoeConfig& moe, int64_t layers) {
  TANDEM_RETURN_IF_ERROR(InRange("number of experts", moe.experts, 0, kMaxExperts));
  if (moe.experts == 0) return absl::OkStatus();
  TANDEM_RETURN_IF_ERROR(InRange("experts used", moe.route.top_k, 1, moe.experts));
  TANDEM_RETURN_IF_ERROR(InRange("expert width", moe.ff, 1, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("shared experts", moe.shared, 0, kMaxExperts));
  if (!std::isfinite(moe.route.scale)) {
    return absl::InvalidArgumentError(
        absl::StrCat("model: the scale of the experts' weights is ", moe.route.scale));
  }
  TANDEM_RETURN_IF_ERROR(InRange("leading dense layers", moe.dense_layers, 0, layers));
  TANDEM_RETURN_IF_ERROR(InRange("expert groups", moe.route.groups, 1, moe.experts));
  TANDEM_RETURN_IF_ERROR(InRange("expert groups used", moe.route.groups_used, 1, moe.route.groups));
  if (moe.experts % moe.route.groups != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("model: ", moe.experts, " experts in ", moe.route.groups, " groups"));
  }
  const int64_t choosable = moe.experts / moe.route.groups * moe.route.groups_used;
  if (moe.route.top_k > choosable) {
    return absl::InvalidArgumentError(absl::StrCat("model: ", moe.route.top_k, " experts used of ",
                                                   choosable, " in the groups used"));
  }
  return absl::OkStatus();
}

absl::Status ValidateMla(const MlaConfig& mla) {
  TANDEM_RETURN_IF_ERROR(InRange("kv_lora_rank", mla.kv_lora, 1, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("q_lora_rank", mla.q_lora, 0, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("qk_nope_head_dim", mla.nope_dim, 1, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("qk_rope_head_dim", mla.rope_dim, 2, kMaxDim));
  return InRange("v_head_dim", mla.v_dim, 1, kMaxDim);
}

}  // namespace

absl::Status ValidateConfig(const ModelConfig& c) {
  TANDEM_RETURN_IF_ERROR(InRange("number of layers", c.layers, 1, kMaxLayers));
  TANDEM_RETURN_IF_ERROR(InRange("width", c.width, 1, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("context", c.context, 1, kMaxContext));
  TANDEM_RETURN_IF_ERROR(InRange("number of heads", c.heads, 1, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("number of KV heads", c.kv_heads, 1, c.heads));
  if (c.heads % c.kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("model: ", c.heads, " heads cannot share ", c.kv_heads, " KV heads"));
  }
  TANDEM_RETURN_IF_ERROR(InRange("head size", c.head_dim, 1, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("value head size", c.v_head_dim, 1, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("width of all heads", c.heads * c.head_dim, 1, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("width of all value heads", c.heads * c.v_head_dim, 1, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("feed-forward width", c.ff, 1, kMaxDim));
  TANDEM_RETURN_IF_ERROR(InRange("rotated dimensions", c.rope.dim, 2, c.head_dim));
  if (!(c.rms_eps > 0.0f) || c.rms_eps > 1.0f) {
    return absl::InvalidArgumentError(absl::StrCat("model: norm epsilon is ", c.rms_eps));
  }
  if (!(c.attention_scale > 0.0f) || !std::isfinite(c.attention_scale)) {
    return absl::InvalidArgumentError(
        absl::StrCat("model: attention scale is ", c.attention_scale));
  }
  TANDEM_RETURN_IF_ERROR(ValidateRope(c.rope));
  if (c.family == Family::kDeepSeek2) TANDEM_RETURN_IF_ERROR(ValidateMla(c.mla));
  return ValidateMoe(c.moe, c.layers);
}

}  // namespace tandem
