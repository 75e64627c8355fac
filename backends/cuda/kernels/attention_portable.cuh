// Attention for prompts on any GPU with mma.sync (sm_80 and later): a block takes a tile of rows
// over all keys that these see.
#pragma once

#include "attention_operands.cuh"
#include "attention_rows.cuh"
#include "attention_tile.cuh"
#include "base.cuh"
#include "kv_tile.cuh"
#include "ptx/cp_async.cuh"

namespace tandem::cuda {

// Copies the tiles of a span of keys in turn, a group of copies each, even beyond the last.
template <class T>
class SpanCopies {
 public:
  __device__ __forceinline__ SpanCopies(const AttentionParams& p, const RowTile& rows, KeySpan keys)
      : p_(p),
        rows_(rows),
        first_(keys.begin),
        end_(keys.end),
        pages_(Table(), keys.begin, keys.end) {}
  __device__ __forceinline__ void Next(u8* slot) {
    if (first_ < end_) {
      CopySlot<T>(p_, rows_, slot, pages_, first_, end_);
      first_ += T::kSlotKeys;
      pages_ = TilePages<T::kSlotKeys>(Table(), first_, end_);  // in time for the next call
    }
    CopyAsyncCommit();
  }

 private:
  __device__ __forceinline__ const i32* Table() const {
    return p_.page_table + rows_.sequence * p_.page_table_row;
  }

  const AttentionParams& p_;
  const RowTile& rows_;
  int first_, end_;
  TilePages<T::kSlotKeys> pages_;
};

// Blocks: row tiles (x), KV heads (y).
template <class T>
__global__ void __launch_bounds__(T::kThreads)
    AttentionPortable(const __grid_constant__ AttentionParams p) {
  static_assert(T::kTileSlots == 1);
  extern __shared__ __align__(128) u8 shared[];
  const RowTile rows = FindRowTile(p, blockIdx.x, T::kRows, blockIdx.y);
  if (rows.rows == 0) return;
  const KeySpan seen = TileKeys(p, rows);
  const KeySpan keys = {seen.begin / T::kKeys * T::kKeys, seen.end};
  SpanCopies<T> copies(p, rows, keys);
#pragma unroll
  for (int i = 0; i < T::kSlots - 1; ++i) copies.Next(shared + i * T::kSlotBytes);
  AttentionTile<T> tile(p, shared);
  tile.StoreQueries(rows);
  __syncthreads();
  tile.Begin(rows, keys);
  int slot = 0;
  for (int first = keys.begin; first < keys.end; first += T::kKeys) {
    if constexpr (T::kSlots > 1) {
      CopyAsyncWait<T::kSlots - 2>();
      __syncthreads();  // the tile is there, and the slot before it is free
      copies.Next(shared + (slot + T::kSlots - 1) % T::kSlots * T::kSlotBytes);
    } else {
      __syncthreads();
      copies.Next(shared);
      CopyAsyncWait<0>();
      __syncthreads();
    }
    tile.Step({shared, slot, 1}, first);
    slot = (slot + 1) % T::kSlots;
  }
  tile.FinishSums();
  WriteOut(p, rows, tile);
}

}  // namespace tandem::cuda
