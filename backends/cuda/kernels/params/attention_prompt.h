// Arguments of the attention kernel for prompts (attention_prompt.cuh).
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// Keys and values are matrices of 16-bit numbers, a row for each key, the KV heads side by side.
// Key j of sequence s is row 64 page_table[s, j / 64] + j % 64, or, without a page table, row
// s * rows_per_sequence + j - key_begin.
//
// A call takes the keys [key_begin, key_end) of each sequence; key_begin is a multiple of the
// largest key tile. Calls that together cover all keys, in rising order, give the bits of one call:
// rows whose keys are not all taken yet leave their sums in `out` and `state`.
struct AttentionPromptParams {
  TensorMap k_map;  // boxes of 64 rows x 64 columns, 128-byte swizzle
  TensorMap v_map;
  const float* q;         // [T, H, Dk], 16-byte aligned rows
  float* out;             // [T, H, Dv], 8-byte aligned rows
  float* lse;             // optional [T, H]
  const float* sinks;     // optional [H]
  float* state;           // [T, H, 8], read and written only if the calls are several
  i32* counters;          // optional [2], zero before the call and after it; else a block an item
  const i32* seq_start;   // [S + 1]
  const i32* kv_len;      // [S]
  const i32* page_table;  // optional [S, page_stride]
  const i32* live_seqs;   // optional
  i64 q_token, q_head;    // strides, in elements
  i64 out_token, out_head;
  i64 lse_token;
  i32 page_stride;
  i32 rows_per_sequence;
  i32 sequences;
  i32 heads;
  i32 heads_per_kv;
  i32 key_begin, key_end;
  i32 causal;
  i32 window;    // 0: none
  i32 l2_bytes;  // of K and V that heads worked on together may take
  float scale;
  float soft_cap;  // used only by kernels with a soft cap
};

// Sizes of a block: 64 query rows to each of the consumers, tiles of keys in a ring of stages.
struct PromptBlock {
  int dk = 0, dv = 0;
  int consumers = 0, key_tile = 0, stages = 0;
};

TANDEM_HOST_DEVICE constexpr int PromptRows(const PromptBlock& block) {
  return 64 * block.consumers;
}
TANDEM_HOST_DEVICE constexpr int PromptThreads(const PromptBlock& block) {
  return 128 * (block.consumers + 1);
}
// A head's columns are in slices of 128 bytes.
TANDEM_HOST_DEVICE constexpr int PromptSliceBytes(int rows, int columns) {
  return CeilDiv(columns, 64) * rows * 128;
}
// The queries, the ring, 2 KB for all else, and what aligns them to 1024 bytes.
TANDEM_HOST_DEVICE constexpr int PromptSharedBytes(const PromptBlock& block) {
  const int tile =
      PromptSliceBytes(block.key_tile, block.dk) + PromptSliceBytes(block.key_tile, block.dv);
  return PromptSliceBytes(PromptRows(block), block.dk) + block.stages * tile + 2048 + 1024;
}

}  // namespace tandem::cuda
