// Attention for generation: one or a few rows of each sequence over a long cache, the keys of a
// sequence split so that all multiprocessors read (flash-decoding). Any GPU with mma.sync.
#pragma once

#include "attention_decode_tile.cuh"
#include "attention_merge.cuh"
#include "attention_operands.cuh"
#include "attention_rows.cuh"
#include "attention_tile.cuh"
#include "attention_units.cuh"
#include "base.cuh"
#include "params/attention_decode.h"
#include "ptx/launch.cuh"
#include "ptx/vector.cuh"

namespace tandem::cuda {

// Writes the sums of a unit for the merge.
template <class T>
__device__ __forceinline__ void WritePartial(const AttentionDecodeParams& p,
                                             typename T::Worker& tile, const DecodeUnit& unit) {
  const i64 slot =
      UnitSlot<T::kRows>(p, unit.rows, unit.row_tile, unit.rows.kv_head, unit.split) * T::kRows;
  float* values = p.values + slot * T::kDv;
  float* weights = p.weights + 2 * slot;
  if (tile.SpeaksForRow()) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (tile.Row(i) >= unit.rows.rows) continue;
      weights[2 * tile.Row(i)] = tile.Sum(i).maximum;
      weights[2 * tile.Row(i) + 1] = tile.Sum(i).sum;
    }
  }
  const float factor[2] = {T::VTile::kUnit, T::VTile::kUnit};
  tile.WriteFours(factor, [&](int i, int column, const float4& four) {
    const int row = tile.Row(i);
    if (row < unit.rows.rows) StoreGlobal4(values + row * T::kDv + column, four);
  });
}

template <class T>
__device__ __forceinline__ void WriteUnit(const AttentionDecodeParams& p, typename T::Worker& tile,
                                          const DecodeUnit& unit) {
  tile.FinishSums();
  if (unit.splits == 1) {
    WriteOut(p.attention, unit.rows, tile);
  } else {
    WritePartial<T>(p, tile, unit);
  }
}

// Copies the keys of the listed units, slot after slot of the ring, a group of copies each. Every
// tile has all its slots, also those beyond the end of its unit.
template <class T>
class UnitCopies {
 public:
  __device__ __forceinline__ UnitCopies(const AttentionParams& p, const UnitList& list, u8* ring)
      : p_(p), list_(list), ring_(ring), pages_(nullptr, 0, 0) {
    Enter(0);
  }
  __device__ __forceinline__ void Next() {
    if (unit_ < list_.count) {
      const DecodeUnit& unit = list_.units[unit_];
      if (first_ < unit.keys.end) {
        CopySlot<T>(p_, unit.rows, ring_ + slot_ * T::kSlotBytes, pages_, first_, unit.keys.end);
      }
      first_ += T::kSlotKeys;
      if (first_ >= unit.keys.end && first_ % T::kKeys == 0) {
        Enter(unit_ + 1);
      } else {
        FindPages();
      }
      slot_ = slot_ + 1 == T::kSlots ? 0 : slot_ + 1;
    }
    CopyAsyncCommit();
  }

 private:
  __device__ __forceinline__ void Enter(int unit) {
    unit_ = unit;
    if (unit_ >= list_.count) return;
    first_ = list_.units[unit_].keys.begin;
    FindPages();
  }
  // In time for the next copy.
  __device__ __forceinline__ void FindPages() {
    const DecodeUnit& unit = list_.units[unit_];
    pages_ = TilePages<T::kSlotKeys>(p_.page_table + unit.rows.sequence * p_.page_table_row, first_,
                                     unit.keys.end);
  }

  const AttentionParams& p_;
  const UnitList& list_;
  u8* ring_;
  int slot_ = 0;              // what is filled next
  int unit_ = 0, first_ = 0;  // with what
  TilePages<T::kSlotKeys> pages_;
};

// Blocks: as many as run at once.
template <class T>
__global__ void __launch_bounds__(T::kThreads)
    AttentionDecode(const __grid_constant__ AttentionDecodeParams p) {
  constexpr int kAhead = T::kSlots - T::kTileSlots;  // slots that are filled beyond a tile
  static_assert(kAhead >= T::kTileSlots);
  extern __shared__ __align__(128) u8 shared[];
  __shared__ UnitList list;
  WaitForKernelsAhead();
  LetNextKernelStart();
  if (WarpIndex() == 0) StartUnits<T>(p, list);
  typename T::Worker tile(p.attention, shared);
  __syncthreads();
  while (list.count > 0) {
    const int count = list.count;
    UnitCopies<T> copies(p.attention, list, shared);
    for (int i = 0; i < kAhead; ++i) copies.Next();
    int head = 0;
    for (int i = 0; i < count; ++i) {
      const DecodeUnit& unit = list.units[i];
      if constexpr (!T::kQueryInRegisters) __syncthreads();  // nobody reads the last one
      tile.StoreQueries(unit.rows);
      __syncthreads();
      tile.Begin(unit.rows, unit.keys);
      // A unit without keys has a tile in the ring, too.
      int first = unit.keys.begin;
      do {
        CopyAsyncWait<kAhead - T::kTileSlots>();
        __syncthreads();  // the tile is there, and the slots of the one before are free
#pragma unroll 1
        for (int j = 0; j < T::kTileSlots; ++j) copies.Next();
        const int held = Min(CeilDiv(unit.keys.end - first, T::kSlotKeys), T::kTileSlots);
        if (held > 0) tile.Step({shared, head, held}, first);
        head += T::kTileSlots;
        if (head >= T::kSlots) head -= T::kSlots;
        first += T::kKeys;
      } while (first < unit.keys.end);
      WriteUnit<T>(p, tile, unit);
    }
    __syncthreads();  // nobody reads the list
    if (WarpIndex() == 0) ListUnits<T>(p, list);
    __syncthreads();
  }
}

}  // namespace tandem::cuda
