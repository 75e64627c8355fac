// Which tensors a model of a given config has.
#pragma once

#include <string>
#include <vector>

#include "backends/device/tensor.h"
#include "runtime/model_config.h"

namespace tandem {

// How a file keeps the up-projection of DeepSeek's latent: joined as attn_kv_b [H * (Dn + Dv), L],
// or split into attn_k_b [H, L, Dn] and attn_v_b [H, Dv, L].
enum class LatentLayout { kJoined, kSplit };

enum class TensorRole { kEmbedding, kMatrix, kResidualMatrix, kNorm, kBias };

struct ModelTensor {
  std::string name;  // GGUF's
  Shape shape;
  // kResidualMatrix: its products are added to the residual stream.
  TensorRole role = TensorRole::kMatrix;
  int64_t inputs = 1;  // terms of the sum that makes one of its outputs
};

struct TensorChoices {
  LatentLayout layout = LatentLayout::kSplit;
  bool tied_head = false;  // the embedding is the output head too
};

// The tensors in the order of use: embedding, layers, output. `config` is valid and has its
// vocabulary. What the config does not say follows from the architecture: qwen2 has biases of q, k
// and v, qwen3 norms of query and key heads, DeepSeek-V3's sigmoid router a bias.
std::vector<ModelTensor> ListModelTensors(const ModelConfig& config, const TensorChoices& choices);

}  // namespace tandem
