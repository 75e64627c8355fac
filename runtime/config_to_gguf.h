// Hyper-parameters as the metadata of a GGUF file: the reverse of ConfigFromGguf.
#pragma once

#include "absl/status/status.h"
#include "runtime/gguf_writer.h"
#include "runtime/model_config.h"
#include "runtime/model_tensors.h"

namespace tandem {

// Sets general.architecture and all keys "<architecture>.<...>"; `layout` is that of DeepSeek's
// attention. The scaling of Llama 3 has no keys: it goes into the weight rope_freqs.weight, see
// RopeDivisors.
// Unimplemented, naming what it is, for a model that the keys cannot describe: one that
// ConfigFromGguf would read back as another.
absl::Status SetConfigKeys(const ModelConfig& config, GgufHeader& header,
                           LatentLayout layout = LatentLayout::kJoined);

// The content of rope_freqs.weight, [rope.dim / 2]: plain frequency over scaled frequency. Empty if
// the keys say it all.
std::vector<float> RopeDivisors(const RopeConfig& rope);

}  // namespace tandem
