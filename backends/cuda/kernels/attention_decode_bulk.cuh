// As attention_decode.cuh, for Hopper and caches with long rows: warps of their own have the copy
// engine bring keys, 16 at a time, into a ring that is as deep as shared memory allows, so the
// warps that compute have nothing to do with copies.
#pragma once

#include "attention_decode.cuh"
#include "attention_decode_tile.cuh"
#include "attention_units.cuh"
#include "base.cuh"
#include "params/attention_decode.h"
#include "ptx/launch.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"

namespace tandem::cuda {

inline constexpr int kCopyWarps = 4;

// Barriers of the slots: those that hold keys, and those that no warp reads any more.
template <class T>
struct SlotBarriers {
  u64 full[T::kSlots];
  u64 empty[T::kSlots];
};

// A warp that fills every kCopyWarps-th slot.
template <class T>
class BulkCopies {
 public:
  static constexpr int kSlotKeys = 16;
  static_assert(T::kSlotKeys == kSlotKeys && T::kDk % 16 == 0);
  static_assert(T::KTile::kRowBytes % 16 == 0 && T::VTile::kRowBytes % 16 == 0);

  __device__ __forceinline__ BulkCopies(const AttentionParams& p, u8* ring,
                                        SlotBarriers<T>& barriers, int warp)
      : p_(p), ring_(ring), barriers_(barriers), turn_(warp) {}

  __device__ __forceinline__ void CopyUnit(const DecodeUnit& unit) {
    const i32* table = p_.page_table + unit.rows.sequence * p_.page_table_row;
    i32 pages = 0;  // of 32 pages, a lane each
    for (int first = unit.keys.begin; first < unit.keys.end; first += kSlotKeys) {
      const int page = first / kPageTokens - unit.keys.begin / kPageTokens;
      if (page % kWarp == 0 && (first == unit.keys.begin || first % kPageTokens == 0)) {
        const int key = first / kPageTokens * kPageTokens + LaneIndex() * kPageTokens;
        pages = key < unit.keys.end ? table[key / kPageTokens] : 0;
      }
      if (turn_ == 0) {
        MbarrierWait(barriers_.empty + state_.stage, state_.parity ^ 1);
        CopySlot(unit, Shuffle(pages, page % kWarp), first);
      }
      turn_ = turn_ == 0 ? kCopyWarps - 1 : turn_ - 1;
      state_.Advance();
    }
  }

 private:
  using K = typename T::KTile;
  using V = typename T::VTile;

  __device__ __forceinline__ void CopySlot(const DecodeUnit& unit, i64 page, int first) {
    const int keys = Min(unit.keys.end - first, kSlotKeys);
    u8* slot = ring_ + state_.stage * T::kSlotBytes;
    u64* full = barriers_.full + state_.stage;
    const u8* k_page = p_.k + page * p_.k_page;
    const u8* v_page = T::kView ? nullptr : p_.v + page * p_.v_page;
    const int row = first % kPageTokens * p_.kv_heads + unit.rows.kv_head;
    if (keys < kSlotKeys) {
      FinishPart<K>(slot, k_page, row, keys);
      if constexpr (!T::kView) FinishPart<V>(slot + K::kBytes, v_page, row, keys);
      __syncwarp();
    }
    if (LaneIndex() == 0) {
      constexpr int kRow = K::kRowBytes + (T::kView ? 0 : V::kRowBytes);
      constexpr int kScales = K::kScaleRow + (T::kView ? 0 : V::kScaleRow);
      const bool whole = keys == kSlotKeys;
      MbarrierArriveExpect(full, keys * kRow + (whole ? kSlotKeys * kScales : 0));
      CopyRows<K>(slot, k_page, row, keys, full);
      if constexpr (!T::kView) CopyRows<V>(slot + K::kBytes, v_page, row, keys, full);
    }
    __syncwarp();
  }

  // With one KV head, the scales of neighbouring keys are neighbours.
  template <class Tile>
  __device__ __forceinline__ void CopyRows(u8* tile, const u8* page, int row, int keys,
                                           u64* full) const {
    const u8* from = page + row * Tile::kRowBytes;
    const u32 step = p_.kv_heads * Tile::kRowBytes;
    // A loop: code that runs for the first time comes slowly.
#pragma unroll 1
    for (int i = 0; i < keys; ++i) {
      BulkLoad(tile + i * Tile::kStride, from + i * step, Tile::kRowBytes, full, kL2EvictFirst);
    }
    if constexpr (Tile::kBlocks) {
      if (keys < kSlotKeys) return;
      BulkLoad(tile + Tile::kScalesAt, page + kPageTokens * Tile::kRowBytes + row * Tile::kScaleRow,
               kSlotKeys * Tile::kScaleRow, full, kL2EvictFirst);
    }
  }

  // Zeros in the rows of a slot that have no keys; scales one by one.
  template <class Tile>
  __device__ __forceinline__ void FinishPart(u8* tile, const u8* page, int row, int keys) const {
    for (int i = keys; i < kSlotKeys; ++i) {
      for (int at = 16 * LaneIndex(); at < Tile::kRowBytes; at += 16 * kWarp) {
        *reinterpret_cast<uint4*>(tile + i * Tile::kStride + at) = uint4{0, 0, 0, 0};
      }
    }
    if constexpr (Tile::kBlocks) {
      constexpr int kScales = Tile::kScaleRow / 2;
      const u16* from = reinterpret_cast<const u16*>(page + kPageTokens * Tile::kRowBytes +
                                                     row * Tile::kScaleRow);
      u16* to = reinterpret_cast<u16*>(tile + Tile::kScalesAt);
      for (int i = LaneIndex(); i < kSlotKeys * kScales; i += kWarp) {
        to[i] = i < keys * kScales ? from[i] : u16{0};
      }
    }
  }

  const AttentionParams& p_;
  u8* ring_;
  SlotBarriers<T>& barriers_;
  int turn_;  // slots until the next of this warp's
  PipelineState<T::kSlots> state_;
};

// The warps that compute: all tiles of a unit.
template <class T>
__device__ __forceinline__ void TakeUnit(const DecodeUnit& unit, u8* ring,
                                         SlotBarriers<T>& barriers, PipelineState<T::kSlots>& state,
                                         typename T::Worker& tile) {
  for (int first = unit.keys.begin; first < unit.keys.end; first += T::kKeys) {
    const TileSlots<T> slots = {ring, state.stage,
                                Min(CeilDiv(unit.keys.end - first, T::kSlotKeys), T::kTileSlots)};
    const auto wait = [&](int slot) {
      const u32 wrapped = state.stage + slot >= T::kSlots ? 1 : 0;
      MbarrierWait(barriers.full + slots.Index(slot), state.parity ^ wrapped);
    };
    for (int i = 0; i < slots.count; ++i) wait(i);
    tile.Step(slots, first);
    __syncwarp();
    if (LaneIndex() < slots.count) MbarrierArrive(barriers.empty + slots.Index(LaneIndex()));
    for (int i = 0; i < slots.count; ++i) state.Advance();
  }
}

// Blocks: as many as run at once.
template <class T>
__global__ void __launch_bounds__(T::kThreads + kCopyWarps * kWarp)
    AttentionDecodeBulk(const __grid_constant__ AttentionDecodeParams p) {
  extern __shared__ __align__(128) u8 shared[];
  __shared__ UnitList list;
  __shared__ SlotBarriers<T> barriers;
  const int copier = WarpIndex() - T::kThreads / kWarp;
  if (copier == 0) {
    for (int i = LaneIndex(); i < T::kSlots; i += kWarp) {
      MbarrierInit(barriers.full + i, 1);
      MbarrierInit(barriers.empty + i, T::kThreads / kWarp);
    }
    MbarrierInitFence();
  }
  WaitForKernelsAhead();
  LetNextKernelStart();
  if (copier == 0) StartUnits<T>(p, list);
  BulkCopies<T> copies(p.attention, shared, barriers, copier);
  typename T::Worker tile(p.attention, shared);
  PipelineState<T::kSlots> state;
  __syncthreads();
  while (list.count > 0) {
    if (copier >= 0) {
      for (int i = 0; i < list.count; ++i) copies.CopyUnit(list.units[i]);
    } else {
      for (int i = 0; i < list.count; ++i) {
        const DecodeUnit& unit = list.units[i];
        tile.StoreQueries(unit.rows);
        tile.Barrier();
        tile.Begin(unit.rows, unit.keys);
        TakeUnit<T>(unit, shared, barriers, state, tile);
        WriteUnit<T>(p, tile, unit);
      }
    }
    __syncthreads();  // nobody reads the list
    if (copier == 0) ListUnits<T>(p, list);
    __syncthreads();
  }
}

}  // namespace tandem::cuda
