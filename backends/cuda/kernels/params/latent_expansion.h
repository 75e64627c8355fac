// Arguments of the expansion of latents to keys and values of heads.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// Row n of the workspace is key begin + n of a sequence, as long as it has one.
struct ReadLatentsParams {
  const u8* cache;  // [P, 64, 1, latent + rope]
  const i32* page_table;
  const i32* kv_len;     // [S]
  const i32* live_seqs;  // or null
  u8* out;               // f16 [rows, latent rounded up to 64], operand B
  float* scales;         // [rows]
  u8* k;                 // f16 [rows, heads, k_head]; the last `rope` of each head are written
  i32* count;            // keys of the chunk: the products' live rows
  i64 page_bytes;
  i64 page_table_row;  // elements
  i64 k_row_bytes, k_head_bytes;
  i32 latent, rope;  // multiples of 32
  i32 heads, k_head;
  i32 rows;
  i32 sequence, begin;
};

// Page tables of keys that follow each other: page i of sequence s is s * pages + i.
struct FollowingPagesParams {
  i32* page_table;  // [sequences, pages]
  i32 count;        // of all entries
};

}  // namespace tandem::cuda
