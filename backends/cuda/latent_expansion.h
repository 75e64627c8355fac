// The expansion of latents in the KV cache to keys and values of heads, for the attention of prompts
// (multi-head latent attention in its expanded form).
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "backends/cuda/kernels/params/latent_expansion.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/lowering.h"
#include "backends/device/kernels.h"

namespace tandem::cuda {

struct ExpansionCall {
  LatentExpansion weights;
  TensorView cache;          // KV type [P, 64, 1, L + R]
  AttentionBatch batch;
  int64_t sequence, begin;   // keys [begin, begin + N) of this sequence, those that it has
  TensorView k;              // f16 [N, H, Dk], written: K = [k_up c | rotated]
  TensorView v;              // f16 [N, H, Dv], written: V = v_up c
};

absl::Status SupportsExpansion(const ExpansionCall& call);
int64_t ExpansionWorkspaceBytes(const ExpansionCall& call);
absl::StatusOr<std::vector<Launch>> LowerExpansion(const ExpansionCall& call,
                                                   const Workspace& workspace,
                                                   const Lowering& lowering);

}  // namespace tandem::cuda
