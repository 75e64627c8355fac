// Latents of the KV cache as operand B of the products that make keys and values of heads of them
// (multi-head latent attention in its expanded form), and their rotated part as it is.
#pragma once

#include "convert_rows.cuh"
#include "kv_pages.cuh"
#include "params/latent_expansion.h"

namespace tandem::cuda {

// Block n reads key begin + n.
template <Kv kType>
__global__ void __launch_bounds__(kConvertThreads)
    ReadLatents(const __grid_constant__ ReadLatentsParams p) {
  const bool live = p.live_seqs == nullptr || p.sequence < *p.live_seqs;
  const int count = live ? Max(0, Min(p.kv_len[p.sequence] - p.begin, p.rows)) : 0;
  const int n = blockIdx.x;
  if (n == 0 && threadIdx.x == 0) *p.count = count;
  if (n >= count) return;
  const int key = p.begin + n;
  const i32 page = p.page_table[p.sequence * p.page_table_row + key / kPageTokens];
  const KvRow<kType> row(p.cache + page * p.page_bytes, key % kPageTokens, 0, 1, p.latent + p.rope);

  float largest = 0;
  for (int i = threadIdx.x; i < p.latent; i += kConvertThreads) {
    largest = fmaxf(largest, fabsf(row[i]));
  }
  const int exponent = ExponentForF16(BlockMax(largest));
  const float factor = PowerOfTwo(-exponent);
  const int padded = RoundUp(p.latent, 64);
  u32* out = reinterpret_cast<u32*>(p.out + static_cast<i64>(n) * padded * 2);
  for (int i = threadIdx.x * 4; i < padded; i += kConvertThreads * 4) {
    float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
    if (i < p.latent) v = {row[i], row[i + 1], row[i + 2], row[i + 3]};
    StoreOperand(out, i, Times(v, factor));
  }
  if (threadIdx.x == 0) p.scales[n] = PowerOfTwo(exponent);

  const int pairs = p.rope / 2;
  for (int i = threadIdx.x; i < p.heads * pairs; i += kConvertThreads) {
    const int head = i / pairs, at = i % pairs * 2;
    u8* k = p.k + n * p.k_row_bytes + head * p.k_head_bytes + (p.k_head - p.rope + at) * 2;
    *reinterpret_cast<u32*>(k) = F32ToF16x2(row[p.latent + at], row[p.latent + at + 1]);
  }
}

__global__ void FollowingPages(const __grid_constant__ FollowingPagesParams p) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < p.count) p.page_table[i] = i;
}

}  // namespace tandem::cuda
