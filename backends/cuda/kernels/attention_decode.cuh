// Attention for generation: one or a few rows of each sequence over a long cache, the keys of a
// sequence split so that all multiprocessors read (flash-decoding).
//
// A unit of work is a tile of rows and a split of their keys. How the keys of a sequence are split
// depends on their number and on the call's shapes alone, so a result does not depend on the other
// sequences. Blocks take units in turn, each about the same number of keys; which follows from the
// lengths in device memory, so a captured launch serves any. A second kernel merges the splits, in
// order.
#pragma once

#include "attention_portable.cuh"
#include "attention_rows.cuh"
#include "attention_tile.cuh"
#include "base.cuh"
#include "params/attention_decode.h"

namespace tandem::cuda {

// How the keys of a sequence are split.
struct KeySplits {
  i32 begin, end;  // all keys
  i32 count;
  i32 keys;  // of a split but the last

  __device__ __forceinline__ KeySpan Split(int i) const {
    const i32 first = begin + i * keys;
    return {first, Max(Min(first + keys, end), first)};
  }
};

__device__ __forceinline__ KeySplits SplitKeys(const AttentionDecodeParams& p,
                                               const RowTile& sequence) {
  const AttentionParams& a = p.attention;
  const KeySpan first = VisibleKeys(a, sequence.keys, sequence.position);
  const i32 begin = Max(Min(first.begin, sequence.keys), 0) / p.tile_keys * p.tile_keys;
  const i32 end = Max(sequence.keys, begin);
  const i32 wanted = Max(Min(CeilDiv(end - begin, p.least_keys), p.most_splits), 1);
  const i32 keys = Max(RoundUp(CeilDiv(end - begin, wanted), p.tile_keys), p.tile_keys);
  return {begin, end, Max(CeilDiv(end - begin, keys), 1), keys};
}

// Where the partial results of a split lie. Row tiles are numbered with gaps, so that a sequence's
// first number follows from its first token.
__device__ __forceinline__ i64 UnitSlot(const AttentionDecodeParams& p, const RowTile& rows,
                                        int row_tile, int split) {
  const AttentionParams& a = p.attention;
  const i64 before =
      static_cast<i64>(rows.first_token) * (a.heads / a.kv_heads) / p.tile_rows + rows.sequence;
  return ((before + row_tile) * a.kv_heads + rows.kv_head) * p.most_splits + split;
}

struct DecodeUnit {
  RowTile rows;
  KeySpan keys;
  i32 row_tile, split, splits;
};

// The units of a sequence: row tiles, KV heads and, fastest, splits.
struct SequenceUnits {
  RowTile sequence;
  KeySplits splits;
  i32 count;
  i32 cost;  // of a unit, in keys

  __device__ SequenceUnits(const AttentionDecodeParams& p, int s)
      : sequence(SequenceRows(p.attention, s)), splits(SplitKeys(p, sequence)) {
    count = CeilDiv(sequence.rows, p.tile_rows) * p.attention.kv_heads * splits.count;
    cost = splits.keys + p.tile_keys;
  }
  __device__ i64 Cost() const { return static_cast<i64>(count) * cost; }
  __device__ DecodeUnit Get(const AttentionDecodeParams& p, int index) const {
    DecodeUnit unit;
    unit.split = index % splits.count;
    index /= splits.count;
    unit.rows = sequence;
    unit.rows.kv_head = index % p.attention.kv_heads;
    unit.row_tile = index / p.attention.kv_heads;
    unit.rows.first_row = unit.row_tile * p.tile_rows;
    unit.rows.rows = Min(sequence.rows - unit.rows.first_row, p.tile_rows);
    unit.keys = splits.Split(unit.split);
    unit.splits = splits.count;
    return unit;
  }
};

// Walks the units of this block: those whose cost starts in its share of all costs.
class UnitWalk {
 public:
  // All lanes of a warp take part.
  __device__ void Start(const AttentionDecodeParams& p) {
    live_ = LiveSequences(p.attention);
    i64 total = 0;
    for (int s = LaneIndex(); s < live_; s += kWarp) total += SequenceUnits(p, s).Cost();
    total = WarpSum(total);
    const i64 begin = total * blockIdx.x / gridDim.x;
    end_ = total * (blockIdx.x + 1) / gridDim.x;
    at_ = 0;
    sequence_ = live_;
    index_ = 0;
    for (int first = 0; first < live_; first += kWarp) {
      const int s = first + LaneIndex();
      const i64 cost = s < live_ ? SequenceUnits(p, s).Cost() : 0;
      const i64 through = at_ + WarpScan(cost);
      const u32 reached = __ballot_sync(kAllLanes, s < live_ && through > begin);
      if (reached != 0) {
        const int lane = __ffs(reached) - 1;
        sequence_ = first + lane;
        at_ = Shuffle(through - cost, lane);
        break;
      }
      at_ = Shuffle(through, kWarp - 1);
    }
    if (sequence_ >= live_) return;
    const SequenceUnits units(p, sequence_);
    index_ = static_cast<i32>((begin - at_ + units.cost - 1) / units.cost);
    at_ += static_cast<i64>(index_) * units.cost;
  }
  // The next unit; false if there is none.
  __device__ bool Next(const AttentionDecodeParams& p, DecodeUnit* unit) {
    while (sequence_ < live_ && at_ < end_) {
      const SequenceUnits units(p, sequence_);
      if (index_ < units.count) {
        *unit = units.Get(p, index_++);
        at_ += units.cost;
        return true;
      }
      index_ = 0;
      ++sequence_;
    }
    return false;
  }

 private:
  static __device__ i64 WarpSum(i64 x) {
#pragma unroll
    for (int i = kWarp / 2; i > 0; i /= 2) x += ShuffleXor(x, i);
    return x;
  }
  static __device__ i64 WarpScan(i64 x) {
#pragma unroll
    for (int i = 1; i < kWarp; i *= 2) {
      const i64 before = __shfl_up_sync(kAllLanes, x, i);
      if (LaneIndex() >= i) x += before;
    }
    return x;
  }

  int live_, sequence_, index_;
  i64 at_, end_;
};

inline constexpr int kListedUnits = 16;

// The units of a block, a few at a time, in shared memory.
struct UnitList {
  DecodeUnit units[kListedUnits];
  i32 count;
};

// Writes the sums of a unit for the merge.
template <class T>
__device__ __forceinline__ void WritePartial(const AttentionDecodeParams& p,
                                             const AttentionTile<T>& tile, const DecodeUnit& unit) {
  const i64 slot = UnitSlot(p, unit.rows, unit.row_tile, unit.split);
  float* values = p.values + slot * T::kRows * T::kDv;
  float* weights = p.weights + slot * T::kRows * 2;
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

// A position in the tiles of the listed units.
struct TileCursor {
  i32 unit, first;

  __device__ __forceinline__ void Begin(const UnitList& list, int i) {
    unit = i;
    if (unit < list.count) first = list.units[unit].keys.begin;
  }
};

template <class T>
__global__ void __launch_bounds__(T::kThreads)
    AttentionDecode(const __grid_constant__ AttentionDecodeParams p) {
  extern __shared__ __align__(128) u8 shared[];
  static_assert(T::kStages > 1);
  __shared__ UnitList list;
  UnitWalk walk;
  const AttentionParams& a = p.attention;
  if (WarpIndex() == 0) walk.Start(p);
  AttentionTile<T> tile(a, shared);
  while (true) {
    if (WarpIndex() == 0) {
      // Every lane walks; all write the same.
      int count = 0;
      DecodeUnit unit;
      while (count < kListedUnits && walk.Next(p, &unit)) {
        if (LaneIndex() == 0) list.units[count] = unit;
        ++count;
      }
      if (LaneIndex() == 0) list.count = count;
    }
    __syncthreads();
    const int count = list.count;
    if (count == 0) return;
    TileCursor ahead;  // of the next tile to copy
    ahead.Begin(list, 0);
    const auto copy_next = [&](int stage) {
      if (ahead.unit >= count) {
        CopyAsyncCommit();
        return;
      }
      const DecodeUnit& unit = list.units[ahead.unit];
      CopyStage<T>(a, unit.rows, shared + stage * T::kStageBytes, ahead.first, unit.keys.end);
      ahead.first += T::kKeys;
      if (ahead.first >= unit.keys.end) ahead.Begin(list, ahead.unit + 1);
    };
#pragma unroll
    for (int i = 0; i < T::kStages - 1; ++i) copy_next(i);
    int stage = 0;
    for (int i = 0; i < count; ++i) {
      const DecodeUnit unit = list.units[i];
      if constexpr (!T::kQueryInRegisters) __syncthreads();  // nobody reads the last one
      tile.StoreQuery(unit.rows);
      __syncthreads();
      tile.Begin(unit.rows, unit.keys);
      // A unit without keys has a stage without a copy.
      int first = unit.keys.begin;
      do {
        CopyAsyncWait<T::kStages - 2>();
        __syncthreads();  // the tile is there, and the stage before it is free
        copy_next((stage + T::kStages - 1) % T::kStages);
        if (first < unit.keys.end) tile.Step(stage, first);
        stage = (stage + 1) % T::kStages;
        first += T::kKeys;
      } while (first < unit.keys.end);
      tile.FinishSums();
      if (unit.splits == 1) {
        tile.WriteOut(unit.rows);
      } else {
        WritePartial(p, tile, unit);
      }
    }
    __syncthreads();  // nobody reads the list
  }
}

inline constexpr int kMergeColumns = 128;  // of a block
inline constexpr int kMergeWarps = 8;

// The sequence that a token belongs to, by the whole warp; -1 if none does.
__device__ inline int FindSequence(const AttentionParams& p, int token) {
  const int live = LiveSequences(p);
  int before = 0;  // sequences that end at or before the token
  for (int first = 0; first < live; first += kWarp) {
    const int s = first + LaneIndex();
    before += __popc(__ballot_sync(kAllLanes, s < live && p.seq_start[s + 1] <= token));
  }
  return before < live ? before : -1;
}

// Merges the splits of a row. Blocks: tokens (x), heads (y), columns (z).
__global__ void __launch_bounds__(kMergeWarps* kWarp)
    AttentionMerge(const __grid_constant__ AttentionDecodeParams p) {
  const AttentionParams& a = p.attention;
  const int token = blockIdx.x, head = blockIdx.y, warp = WarpIndex(), lane = LaneIndex();
  const int s = FindSequence(a, token);
  if (s < 0) return;
  RowTile rows = SequenceRows(a, s);
  const KeySplits splits = SplitKeys(p, rows);
  if (splits.count == 1) return;
  const int group = a.heads / a.kv_heads;
  rows.kv_head = head / group;
  const int row = (token - rows.first_token) * group + head % group;
  const i64 slot = UnitSlot(p, rows, row / p.tile_rows, 0);
  const i64 at = slot * p.tile_rows + row % p.tile_rows;

  RowSum sum = {-kInfinity, 0.0f};
  for (int i = lane; i < splits.count; i += kWarp) {
    sum.maximum = fmaxf(sum.maximum, p.weights[2 * (at + static_cast<i64>(i) * p.tile_rows)]);
  }
  sum.maximum = LanesMax(sum.maximum);
  const float base = sum.maximum == -kInfinity ? 0.0f : sum.maximum;
  __shared__ float4 partial[kMergeWarps][kWarp];
  __shared__ float sums[kMergeWarps];
  const int column = blockIdx.z * kMergeColumns + 4 * lane;
  float4 values = {};
  for (int i = warp; i < splits.count; i += kMergeWarps) {
    const i64 from = at + static_cast<i64>(i) * p.tile_rows;
    const float factor = exp2f(p.weights[2 * from] - base);
    sum.sum += factor * p.weights[2 * from + 1];
    if (column < a.dv) {
      const float4 x = *reinterpret_cast<const float4*>(p.values + from * a.dv + column);
      values.x += factor * x.x;
      values.y += factor * x.y;
      values.z += factor * x.z;
      values.w += factor * x.w;
    }
  }
  partial[warp][lane] = values;
  if (lane == 0) sums[warp] = sum.sum;
  __syncthreads();
  if (warp != 0) return;
  sum.sum = 0.0f;
  values = {};
#pragma unroll
  for (int w = 0; w < kMergeWarps; ++w) {
    sum.sum += sums[w];
    values.x += partial[w][lane].x;
    values.y += partial[w][lane].y;
    values.z += partial[w][lane].z;
    values.w += partial[w][lane].w;
  }
  const float factor = FinishRow(a, {token, head}, sum, lane == 0 && blockIdx.z == 0);
  if (column >= a.dv) return;
  float* out = a.out + token * a.out_token + head * a.out_head + column;
  const float result[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = factor == 0.0f ? 0.0f : result[i] * factor;
}

}  // namespace tandem::cuda
