// As attention_decode.cuh, for Hopper and caches with long rows: the copy engine brings them, 16
// keys at a time, into a ring that is as deep as shared memory allows. One warp starts copies into
// what the tile before has freed, while the others go on.
#pragma once

#include "attention_decode.cuh"
#include "attention_tile.cuh"
#include "attention_units.cuh"
#include "base.cuh"
#include "params/attention_decode.h"
#include "ptx/grid.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"

namespace tandem::cuda {

template <class T>
class BulkCopies {
 public:
  static constexpr int kSlotKeys = 16;
  static_assert(T::kSlotKeys == kSlotKeys && T::kDk % 16 == 0);
  static_assert(T::KTile::kRowBytes % 16 == 0 && T::VTile::kRowBytes % 16 == 0);

  __device__ __forceinline__ BulkCopies(const AttentionParams& p, u8* ring, u64* full)
      : p_(p), ring_(ring), full_(full) {}

  // Begins with the units of the list.
  __device__ __forceinline__ void Enter(const UnitList& list) { EnterUnit(list, 0); }

  // Frees `slots` of the oldest and fills what is free. By one whole warp.
  __device__ __forceinline__ void Refill(const UnitList& list, int slots) {
    free_ += slots;
    while (free_ > 0 && unit_ < list.count) {
      const DecodeUnit& unit = list.units[unit_];
      const int count = Min(free_, CeilDiv(unit.keys.end - first_, kSlotKeys));
      for (int i = 0; i < count; i += 2) Copy(unit, i, count);
      free_ -= count;
      head_ = Wrapped(head_ + count);
      first_ += count * kSlotKeys;
      if (first_ >= unit.keys.end) EnterUnit(list, unit_ + 1);
    }
  }

 private:
  using K = typename T::KTile;
  using V = typename T::VTile;

  __device__ __forceinline__ static int Wrapped(int slot) {
    return slot >= T::kSlots ? slot - T::kSlots : slot;
  }

  // Units without keys are passed over.
  __device__ __forceinline__ void EnterUnit(const UnitList& list, int unit) {
    unit_ = unit;
    while (unit_ < list.count && list.units[unit_].keys.begin >= list.units[unit_].keys.end) {
      ++unit_;
    }
    if (unit_ < list.count) first_ = list.units[unit_].keys.begin;
  }

  // Two slots from the i-th of `count`, a lane for each key.
  __device__ __forceinline__ void Copy(const DecodeUnit& unit, int i, int count) {
    const int lane = LaneIndex(), row = lane % kSlotKeys;
    i += lane / kSlotKeys;
    const int first = first_ + i * kSlotKeys, key = first + row;
    const int keys = i < count ? Min(unit.keys.end - first, kSlotKeys) : 0;
    const int index = Wrapped(head_ + (i < count ? i : 0));
    u8* slot = ring_ + index * T::kSlotBytes;
    const bool valid = row < keys;
    i64 page = 0;
    if (valid) page = p_.page_table[unit.rows.sequence * p_.page_table_row + key / kPageTokens];
    if (i < count && !valid) {
      ZeroRow<K>(slot, row);
      if constexpr (!T::kView) ZeroRow<V>(slot + K::kBytes, row);
    }
    const u8* k_page = p_.k + page * p_.k_page;
    const u8* v_page = T::kView ? nullptr : p_.v + page * p_.v_page;
    const bool whole = keys == kSlotKeys;  // else scales are copied by hand
    if (i < count && !whole) {
      CopyScaleRow<K>(slot, k_page, unit, row, key, valid);
      if constexpr (!T::kView) CopyScaleRow<V>(slot + K::kBytes, v_page, unit, row, key, valid);
    }
    __syncwarp();
    if (keys > 0 && row == 0) {
      constexpr int kRow = K::kRowBytes + (T::kView ? 0 : V::kRowBytes);
      constexpr int kScales = K::kScaleRow + (T::kView ? 0 : V::kScaleRow);
      MbarrierArriveExpect(full_ + index, keys * kRow + (whole ? kSlotKeys * kScales : 0));
    }
    __syncwarp();
    if (!valid) return;
    CopyRow<K>(slot, k_page, unit, row, key, full_ + index);
    if constexpr (!T::kView) CopyRow<V>(slot + K::kBytes, v_page, unit, row, key, full_ + index);
    if (whole && row == 0) {
      CopyScales<K>(slot, k_page, key, full_ + index);
      if constexpr (!T::kView) CopyScales<V>(slot + K::kBytes, v_page, key, full_ + index);
    }
  }

  template <class Tile>
  __device__ __forceinline__ static void ZeroRow(u8* tile, int row) {
    for (int at = 0; at < Tile::kRowBytes; at += 16) {
      *reinterpret_cast<uint4*>(tile + row * Tile::kStride + at) = uint4{0, 0, 0, 0};
    }
  }

  template <class Tile>
  __device__ __forceinline__ void CopyRow(u8* tile, const u8* page, const DecodeUnit& unit, int row,
                                          int key, u64* full) const {
    const int from = key % kPageTokens * p_.kv_heads + unit.rows.kv_head;
    BulkLoad(tile + row * Tile::kStride, page + from * Tile::kRowBytes, Tile::kRowBytes, full,
             kL2EvictFirst);
  }

  // With one KV head, the scales of neighbouring keys are neighbours.
  template <class Tile>
  __device__ __forceinline__ static void CopyScales(u8* tile, const u8* page, int key, u64* full) {
    if constexpr (Tile::kBlocks) {
      BulkLoad(tile + Tile::kScalesAt,
               page + kPageTokens * Tile::kRowBytes + key % kPageTokens * Tile::kScaleRow,
               kSlotKeys * Tile::kScaleRow, full, kL2EvictFirst);
    }
  }

  template <class Tile>
  __device__ __forceinline__ void CopyScaleRow(u8* tile, const u8* page, const DecodeUnit& unit,
                                               int row, int key, bool valid) const {
    if constexpr (Tile::kBlocks) {
      const int from = key % kPageTokens * p_.kv_heads + unit.rows.kv_head;
      const u8* scales =
          page + kPageTokens * p_.kv_heads * Tile::kRowBytes + from * Tile::kScaleRow;
      for (int at = 0; at < Tile::kScaleRow; at += 2) {
        *reinterpret_cast<u16*>(tile + Tile::kScalesAt + row * Tile::kScaleRow + at) =
            valid ? *reinterpret_cast<const u16*>(scales + at) : u16{0};
      }
    }
  }

  const AttentionParams& p_;
  u8* ring_;
  u64* full_;
  int unit_ = 0, first_ = 0;  // what is copied next
  int head_ = 0;              // where to
  int free_ = T::kSlots;
};

template <class T>
__global__ void __launch_bounds__(T::kThreads)
    AttentionDecodeBulk(const __grid_constant__ AttentionDecodeParams p) {
  static_assert(T::kShared && T::kRowWarps == 1);
  extern __shared__ __align__(128) u8 shared[];
  __shared__ UnitList list;
  __shared__ u64 full[T::kSlots];
  const bool copier = WarpIndex() == 0;
  GridDependencyTrigger();
  GridDependencyWait();
  if (copier) {
    for (int i = LaneIndex(); i < T::kSlots; i += kWarp) MbarrierInit(full + i, 1);
    MbarrierInitFence();
    StartUnits<T>(p, list);
    ListUnits<T>(p, list);
  }
  BulkCopies<T> copies(p.attention, shared, full);
  AttentionTile<T> tile(p.attention, shared);
  int head = 0, used = 0;
  u32 parity = 0;
  __syncthreads();
  while (list.count > 0) {
    if (copier) {
      copies.Enter(list);
      copies.Refill(list, used);
    }
    used = 0;
    const int count = list.count;
    for (int i = 0; i < count; ++i) {
      const DecodeUnit& unit = list.units[i];
      tile.StoreQuery(unit.rows);
      __syncthreads();
      tile.Begin(unit.rows, unit.keys);
      for (int first = unit.keys.begin; first < unit.keys.end; first += T::kKeys) {
        const TileSlots<T> slots = {
            shared, head, Min(CeilDiv(unit.keys.end - first, T::kSlotKeys), T::kTileSlots)};
        const auto wait = [&](int slot) {
          const bool wrapped = head + slot >= T::kSlots;
          MbarrierWait(full + slots.Index(slot), parity ^ (wrapped ? 1u : 0u));
        };
        const int mine = tile.FirstKey() / T::kSlotKeys;
        if (mine < slots.count) wait(mine);
        tile.Step(slots, first, [&] {
          if (copier) copies.Refill(list, used);
          for (int j = 0; j < slots.count; ++j) wait(j);
        });
        used = slots.count;
        head += used;
        if (head >= T::kSlots) {
          head -= T::kSlots;
          parity ^= 1;
        }
      }
      WriteUnit(p, tile, unit);
    }
    __syncthreads();  // nobody reads the list
    if (copier) ListUnits<T>(p, list);
    __syncthreads();
  }
}

}  // namespace tandem::cuda
