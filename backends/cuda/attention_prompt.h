// Attention of prompts on Hopper GPUs (attention_prompt.cuh): K and V in f16 or bf16, in the pages
// of a cache or made from latents chunk by chunk.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/cuda/kernels/params/attention_prompt.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/target.h"
#include "backends/device/kernels.h"

namespace tandem::cuda {

using EncodeTensorMap = decltype(&cuTensorMapEncodeTiled);

// The block for heads of these sizes; NotFound where there is none.
absl::StatusOr<PromptBlock> ChoosePromptBlock(int64_t dk, int64_t dv, const Target& target);
std::string ToString(const PromptBlock& block);
// The template arguments of the kernel.
std::string PromptKernelArgs(const PromptBlock& block, DType type, bool soft_cap);

// Memory that a call needs beside its arguments.
struct PromptMemory {
  // Two i32, zero before the first call; each call leaves them so. Calls that share them must not
  // run at the same time. Without them a block takes one piece of work, which is slower for many
  // short ones.
  i32* counters = nullptr;
  // PromptStateBytes; for calls that take a part of the keys.
  float* state = nullptr;
};
int64_t PromptStateBytes(const AttentionArgs& args);

// Keys [begin, end) of each sequence, made in a workspace: those of sequence s are the rows from
// s * rows_per_sequence on, [H, Dk] and [H, Dv] each. `begin` is a multiple of kPromptChunk, and
// `end`, if a sequence goes on after it.
struct PromptKeys {
  const void* k = nullptr;
  const void* v = nullptr;
  DType type = DType::kF16;
  int64_t rows_per_sequence = 0;
  int64_t begin = 0, end = 0;
};
inline constexpr int64_t kPromptChunk = 128;

// Over the pages of a cache. Without expansion, and V is no view of K.
absl::Status SupportsPromptAttention(const AttentionArgs& args, const Target& target);
// `encode` may be null for launches that are compiled and never run.
absl::StatusOr<Launch> LowerPromptAttention(const AttentionArgs& args, const PromptMemory& memory,
                                            const Target& target, EncodeTensorMap encode);

// Over keys that the caller makes, as many calls as it takes, in the order of the keys: the result
// is that of one call over all keys, bit for bit, and is in `out` after the last.
absl::Status SupportsPromptChunks(const AttentionArgs& args, const Target& target);
absl::StatusOr<Launch> LowerPromptChunk(const AttentionArgs& args, const PromptKeys& keys,
                                        const PromptMemory& memory, const Target& target,
                                        EncodeTensorMap encode);

}  // namespace tandem::cuda
