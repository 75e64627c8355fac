// What the attention kernels are told. Strides of tensors of floats are in elements, those of the
// caches in bytes. Inside a page the caches are contiguous, see kv_pages.cuh.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

struct AttentionParams {
  const float* q;  // [T, H, Dk]
  i64 q_token, q_head;
  const u8* k;  // [P, 64, Hkv, Dk]
  i64 k_page;
  const u8* v;  // [P, 64, Hkv, Dv]; null if V is a view of K
  i64 v_page;
  float* out;  // [T, H, Dv]
  i64 out_token, out_head;
  i32 out_fours;  // whether four elements may be written together: rows begin at multiples of 16 bytes
  float* lse;  // [T, H], or null
  i64 lse_token;
  const float* sinks;  // [H], or null
  const i32* seq_start;
  const i32* kv_len;
  const i32* page_table;
  i64 page_table_row;
  const i32* live_seqs;  // or null
  i32 seqs;
  i32 heads, kv_heads, group;  // group: heads / kv_heads
  i32 dk, dv, v_offset;        // v_offset: the first element of V in K, if V is a view
  float scale, soft_cap;
  i32 causal;
  i64 window;
};

}  // namespace tandem::cuda
