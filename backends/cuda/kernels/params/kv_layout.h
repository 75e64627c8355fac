// How the KV cache lies in pages, and its tiles in shared memory: what the host must know to choose
// sizes.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

enum class Kv { kF32, kF16, kBF16, kQ8_0, kQ4_0 };

inline constexpr int kPageTokens = 64;
inline constexpr int kKvBlock = 32;  // elements of a block

TANDEM_HOST_DEVICE constexpr bool IsBlockType(Kv type) {
  return type == Kv::kQ8_0 || type == Kv::kQ4_0;
}

// Bytes of the numbers or codes of n elements.
TANDEM_HOST_DEVICE constexpr int CodeBytes(Kv type, int n) {
  switch (type) {
    case Kv::kF32:
      return 4 * n;
    case Kv::kF16:
    case Kv::kBF16:
      return 2 * n;
    case Kv::kQ8_0:
      return n;
    case Kv::kQ4_0:
      return n / 2;
  }
  return 0;
}

// Bytes of the scales of n elements.
TANDEM_HOST_DEVICE constexpr int ScaleBytes(Kv type, int n) {
  return IsBlockType(type) ? n / kKvBlock * 2 : 0;
}

// Bytes of a row of n elements of a tile, and of it with the gap to the next: an odd multiple of
// 16, so that eight rows lie in different banks.
TANDEM_HOST_DEVICE constexpr int TileRowBytes(Kv type, int n) {
  return CodeBytes(type, RoundUp(n, 16));
}
TANDEM_HOST_DEVICE constexpr int TileStride(Kv type, int n) {
  return TileRowBytes(type, n) % 32 == 16 ? TileRowBytes(type, n) : TileRowBytes(type, n) + 16;
}
TANDEM_HOST_DEVICE constexpr int TileBytes(Kv type, int n, int keys) {
  return RoundUp(keys * (TileStride(type, n) + ScaleBytes(type, n)), 128);
}

// Columns of V that a lane's loads give together.
TANDEM_HOST_DEVICE constexpr int ValueUnit(Kv type) {
  return type == Kv::kQ8_0 ? 32 : type == Kv::kQ4_0 ? 64 : 16;
}

// A ring of slots with keys and values, and 16-bit rows of q and of weights.
struct TileLayout {
  Kv k, v;
  int dk, dv;
  bool view;  // of K is V
  int keys, slot_keys, slots;

  TANDEM_HOST_DEVICE constexpr int slot_bytes() const {
    return TileBytes(k, dk, slot_keys) + (view ? 0 : TileBytes(v, dv, slot_keys));
  }
  TANDEM_HOST_DEVICE constexpr int ring_bytes() const { return slots * slot_bytes(); }
  // Such that eight rows lie in different banks.
  TANDEM_HOST_DEVICE constexpr int query_stride() const { return 2 * RoundUp(dk, 16) + 16; }
  TANDEM_HOST_DEVICE constexpr int weight_stride() const { return 2 * keys + 16; }
};

// Shared memory of attention_tile.cuh.
TANDEM_HOST_DEVICE constexpr int AttentionSharedBytes(const TileLayout& tile, int row_warps,
                                                      int column_warps) {
  const int rows = 16 * row_warps;
  const int exchange = column_warps > 1 ? tile.weight_stride() + 4 * column_warps : 0;
  return tile.ring_bytes() + rows * (tile.query_stride() + exchange + 4);
}

// Shared memory of attention_decode_tile.cuh. The scores of a row lie eight banks on from those of
// the row before.
TANDEM_HOST_DEVICE constexpr int ScoreStride(int keys) { return keys + 8; }
TANDEM_HOST_DEVICE constexpr int DecodeSharedBytes(const TileLayout& tile, int step_warps) {
  const int row =
      tile.query_stride() + tile.weight_stride() + 4 * step_warps * ScoreStride(tile.keys) + 16;
  return tile.ring_bytes() + 16 * row;
}

}  // namespace tandem::cuda
