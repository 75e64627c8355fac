// The hyper-parameters of a model, whichever file format they came from; validated once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "ops/op.h"
#include "runtime/gguf_metadata.h"
#include "runtime/rope.h"

namespace tandem {

// How the layers are built (runtime/families).
enum class Family {
  kLlama,      // llama, mixtral, qwen2, qwen3, qwen3moe: grouped-query attention
  kDeepSeek2,  // deepseek2: latent attention, shared experts
};

struct MoeConfig {
  int64_t experts = 0;       // 0: no layer has experts
  int64_t ff = 0;            // width of one expert
  int64_t shared = 0;        // shared experts; they are one of shared * ff width
  int64_t dense_layers = 0;  // leading layers without experts
  RouteAttrs route;
};

// DeepSeek's latent attention (arXiv 2405.04434, section 2.1). All zero in other families.
struct MlaConfig {
  int64_t q_lora = 0;   // width of the query's latent; 0: queries are projected in one step
  int64_t kv_lora = 0;  // width of the cached latent
  int64_t nope_dim = 0, rope_dim = 0, v_dim = 0;
};

struct ModelConfig {
  std::string architecture;  // GGUF's name: "deepseek2", "llama", "qwen3moe"
  std::string name;          // for people; may be empty
  Family family = Family::kLlama;
  int64_t layers = 0;
  int64_t width = 0;    // of the residual stream
  int64_t vocab = 0;    // 0 until the embedding has told
  int64_t context = 0;  // tokens the model was made for
  int64_t heads = 0, kv_heads = 0;
  int64_t head_dim = 0, v_head_dim = 0;  // of one K (and query) head, and of one V head
  int64_t ff = 0;                        // width of a dense feed-forward layer
  float rms_eps = 1e-6f;
  float attention_scale = 0.0f;
  RopeConfig rope;
  MoeConfig moe;
  MlaConfig mla;
};

// From GGUF metadata. The new DeepSeek layout (key_length_mla present) and the old one give the
// same config. InvalidArgument or NotFound naming the key; Unimplemented for an unknown
// architecture.
absl::StatusOr<ModelConfig> ConfigFromGguf(const GgufMetadata& metadata);

// From the text of a Hugging Face config.json.
absl::StatusOr<ModelConfig> ConfigFromHuggingFace(std::string_view json);

// Ranges, and how the numbers fit together; both readers end with it.
absl::Status ValidateConfig(const ModelConfig& config);

}  // namespace tandem
