// The pages of the KV cache. A page of 64 tokens holds, for plain types, [64, Hkv, D] in order. For
// block types it holds the codes of all rows, [64, Hkv, D] without gaps, and after them the f16
// scales, [64, Hkv, D / 32]; in q4_0, byte i of the 16 of a block has the codes of elements i (low
// half) and i + 16.
#pragma once

#include "base.cuh"
#include "params/kv_layout.h"
#include "ptx/convert.cuh"

namespace tandem::cuda {

// The row of a token and head of a page.
template <Kv kType>
struct KvRow {
  u8* codes;
  u16* scales;

  __device__ KvRow(u8* page, int token, int head, int heads, int width) {
    const int row = token * heads + head;
    codes = page + static_cast<i64>(row) * CodeBytes(kType, width);
    scales = reinterpret_cast<u16*>(page + static_cast<i64>(kPageTokens) * heads *
                                               CodeBytes(kType, width)) +
             row * (width / kKvBlock);
  }
  __device__ KvRow(const u8* page, int token, int head, int heads, int width)
      : KvRow(const_cast<u8*>(page), token, head, heads, width) {}

  __device__ float operator[](int i) const {
    if constexpr (kType == Kv::kF32) {
      return reinterpret_cast<const float*>(codes)[i];
    } else if constexpr (kType == Kv::kF16) {
      return F16ToF32(reinterpret_cast<const u16*>(codes)[i]);
    } else if constexpr (kType == Kv::kBF16) {
      return BF16ToF32(reinterpret_cast<const u16*>(codes)[i]);
    } else {
      const float d = F16ToF32(scales[i / kKvBlock]);
      if constexpr (kType == Kv::kQ8_0) {
        return d * static_cast<float>(reinterpret_cast<const i8*>(codes)[i]);
      } else {
        const int byte = codes[i / kKvBlock * (kKvBlock / 2) + i % (kKvBlock / 2)];
        return d * static_cast<float>((i % kKvBlock < kKvBlock / 2 ? byte & 15 : byte >> 4) - 8);
      }
    }
  }
};

}  // namespace tandem::cuda
