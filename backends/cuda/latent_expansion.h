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
  TensorView page_table;     // i32 [S, pages]
  const LatentChunk* chunk;  // in device memory: which keys, at most as many as rows of k and v
  TensorView k;              // f16 [N, H, Dk], written: K = [k_up c | rotated]
  TensorView v;              // f16 [N, H, Dv], written: V = v_up c
};

absl::Status SupportsExpansion(const ExpansionCall& call);
int64_t ExpansionWorkspaceBytes(const ExpansionCall& call);
absl::StatusOr<std::vector<Launch>> LowerExpansion(const ExpansionCall& call,
                                                   const Workspace& workspace,
                                                   const Lowering& lowering);

}  // namespace tandem::cuda
