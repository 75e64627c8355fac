// Attention for generation: one or a few rows of each sequence over a long cache, the keys of a
// sequence split so that all multiprocessors read (flash-decoding). Any GPU with mma.sync.
#pragma once

#include "attention_merge.cuh"
#include "attention_portable.cuh"
#include "attention_rows.cuh"
#include "attention_tile.cuh"
#include "attention_units.cuh"
#include "base.cuh"
#include "params/attention_decode.h"
#include "ptx/grid.cuh"

namespace tandem::cuda {

// Writes the sums of a unit for the merge.
template <class T>
__device__ __forceinline__ void WritePartial(const AttentionDecodeParams& p,
                                             const AttentionTile<T>& tile, const DecodeUnit& unit) {
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
  tile.ForEachValue(factor, [&](int row, int column, float value) {
    if (row < unit.rows.rows) values[row * T::kDv + column] = value;
  });
}

template <class T>
__device__ __forceinline__ void WriteUnit(const AttentionDecodeParams& p, AttentionTile<T>& tile,
                                          const DecodeUnit& unit) {
  tile.FinishSums();
  if (unit.splits == 1) {
    tile.WriteOut(unit.rows);
  } else {
    WritePartial(p, tile, unit);
  }
}

// Copies the tiles of the listed units, one at a time, into a stage each.
template <class T>
class TileCopies {
 public:
  __device__ __forceinline__ TileCopies(const AttentionParams& p, const UnitList& list, u8* shared)
      : p_(p), list_(list), shared_(shared) {
    Enter(0);
  }
  __device__ __forceinline__ void Next(int stage) {
    if (unit_ >= list_.count) {
      CopyAsyncCommit();
      return;
    }
    const DecodeUnit& unit = list_.units[unit_];
    CopyStage<T>(p_, unit.rows, shared_ + stage * T::kSlotBytes, first_, unit.keys.end);
    first_ += T::kKeys;
    if (first_ >= unit.keys.end) Enter(unit_ + 1);
  }

 private:
  __device__ __forceinline__ void Enter(int unit) {
    unit_ = unit;
    if (unit_ < list_.count) first_ = list_.units[unit_].keys.begin;
  }

  const AttentionParams& p_;
  const UnitList& list_;
  u8* shared_;
  int unit_, first_ = 0;
};

// Blocks: as many as run at once.
template <class T>
__global__ void __launch_bounds__(T::kThreads)
    AttentionDecode(const __grid_constant__ AttentionDecodeParams p) {
  static_assert(T::kSlots > 1 && T::kTileSlots == 1);
  extern __shared__ __align__(128) u8 shared[];
  __shared__ UnitList list;
  GridDependencyTrigger();
  GridDependencyWait();
  if (WarpIndex() == 0) StartUnits<T>(p, list);
  AttentionTile<T> tile(p.attention, shared);
  while (true) {
    if (WarpIndex() == 0) ListUnits<T>(p, list);
    __syncthreads();
    const int count = list.count;
    if (count == 0) return;
    TileCopies<T> copies(p.attention, list, shared);
#pragma unroll
    for (int i = 0; i < T::kSlots - 1; ++i) copies.Next(i);
    int stage = 0;
    for (int i = 0; i < count; ++i) {
      const DecodeUnit& unit = list.units[i];
      if constexpr (!T::kQueryInRegisters) __syncthreads();  // nobody reads the last one
      tile.StoreQuery(unit.rows);
      __syncthreads();
      tile.Begin(unit.rows, unit.keys);
      // A unit without keys has a stage without a copy.
      int first = unit.keys.begin;
      do {
        CopyAsyncWait<T::kSlots - 2>();
        __syncthreads();  // the tile is there, and the stage before it is free
        copies.Next((stage + T::kSlots - 1) % T::kSlots);
        if (first < unit.keys.end) tile.Step({shared, stage, 1}, first);
        stage = (stage + 1) % T::kSlots;
        first += T::kKeys;
      } while (first < unit.keys.end);
      WriteUnit(p, tile, unit);
    }
    __syncthreads();  // nobody reads the list
  }
}

}  // namespace tandem::cuda
