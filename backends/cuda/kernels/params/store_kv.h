// What the kernel that fills the KV cache is told.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

struct StoreKvParams {
  const float* x;  // [T, Hkv, D], strides in elements
  i64 x_token, x_head;
  const i32* slots;  // [T]
  u8* cache;         // [P, 64, Hkv, D]
  i64 page;          // bytes from one page to the next
  i64 pages;
  i32 rows, heads, width;
  const i32* live;  // or null
};

}  // namespace tandem::cuda
