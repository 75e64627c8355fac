// Attention for prompts on any GPU with mma.sync (sm_80 and later): a block takes a tile of rows
// over all keys that these see.
#pragma once

#include "attention_rows.cuh"
#include "attention_tile.cuh"
#include "base.cuh"
#include "kv_tile.cuh"
#include "ptx/cp_async.cuh"

namespace tandem::cuda {

// Starts the copy of the tile of keys from `first` on into its stage; a group even if there is
// none.
template <class T>
__device__ __forceinline__ void CopyStage(const AttentionParams& p, const RowTile& rows, u8* stage,
                                          int first, int end) {
  if (first < end) {
    const TilePages<typename T::KTile> pages(p.page_table + rows.sequence * p.page_table_row, first,
                                             end);
    const KvHead k = {p.k, p.k_page, rows.kv_head, p.kv_heads};
    CopyTile<typename T::KTile, T::kThreads>(stage, k, pages, first, end);
    if constexpr (!T::kView) {
      const TilePages<typename T::VTile> same(p.page_table + rows.sequence * p.page_table_row,
                                              first, end);
      const KvHead v = {p.v, p.v_page, rows.kv_head, p.kv_heads};
      CopyTile<typename T::VTile, T::kThreads>(stage + T::KTile::kBytes, v, same, first, end);
    }
  }
  CopyAsyncCommit();
}

// Blocks: row tiles (x), KV heads (y).
template <class T>
__global__ void __launch_bounds__(T::kThreads)
    AttentionPortable(const __grid_constant__ AttentionParams p) {
  extern __shared__ __align__(128) u8 shared[];
  const RowTile rows = FindRowTile(p, blockIdx.x, T::kRows, blockIdx.y);
  if (rows.rows == 0) return;
  const KeySpan seen = TileKeys(p, rows);
  const KeySpan keys = {seen.begin / T::kKeys * T::kKeys, seen.end};
#pragma unroll
  for (int i = 0; i < T::kStages - 1; ++i) {
    CopyStage<T>(p, rows, shared + i * T::kStageBytes, keys.begin + i * T::kKeys, keys.end);
  }
  AttentionTile<T> tile(p, shared);
  tile.StoreQuery(rows);
  __syncthreads();
  tile.Begin(rows, keys);
  int stage = 0;
  for (int first = keys.begin; first < keys.end; first += T::kKeys) {
    if constexpr (T::kStages > 1) {
      CopyAsyncWait<T::kStages - 2>();
      __syncthreads();  // the tile is there, and the stage before it is free
      const int ahead = (stage + T::kStages - 1) % T::kStages;
      CopyStage<T>(p, rows, shared + ahead * T::kStageBytes, first + (T::kStages - 1) * T::kKeys,
                   keys.end);
    } else {
      __syncthreads();
      CopyStage<T>(p, rows, shared, first, keys.end);
      CopyAsyncWait<0>();
      __syncthreads();
    }
    tile.Step(stage, first);
    stage = (stage + 1) % T::kStages;
  }
  tile.FinishSums();
  tile.WriteOut(rows);
}

}  // namespace tandem::cuda
