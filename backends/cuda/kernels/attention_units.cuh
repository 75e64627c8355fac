// Units of work of attention in splits: a tile of rows with a split of their keys.
//
// How the keys of a sequence are split depends on their number and on the call's shapes alone, so a
// result does not depend on the other sequences. Each block takes units that follow each other and
// have about its share of all keys; which follows from the lengths in device memory, so that a
// captured launch serves any.
#pragma once

#include "attention_rows.cuh"
#include "base.cuh"
#include "params/attention_decode.h"
#include "ptx/convert.cuh"

namespace tandem::cuda {

// How the keys of a sequence are split, in tiles of kTileKeys.
template <int kTileKeys>
struct KeySplits {
  i32 begin, end;  // all keys
  i32 tiles;       // of a split but the last
  i32 count;       // of splits

  __device__ __forceinline__ KeySplits(const AttentionDecodeParams& p, const RowTile& sequence) {
    const KeySpan first = VisibleKeys(p.attention, sequence.keys, sequence.position);
    begin = Max(Min(first.begin, sequence.keys), 0) / kTileKeys * kTileKeys;
    end = Max(sequence.keys, begin);
    const u32 all = CeilDiv(end - begin, kTileKeys);
    tiles = Max<i32>(CeilDiv<u32>(all, p.most_splits), p.least_tiles);
    count = Max<i32>(CeilDiv<u32>(all, tiles), 1);
  }
  __device__ __forceinline__ KeySpan Split(int i) const {
    const i32 first = begin + i * tiles * kTileKeys;
    return {first, Max(Min(first + tiles * kTileKeys, end), first)};
  }
};

// Where the partial results of a unit lie. Row tiles are numbered with gaps, so that a sequence's
// first number follows from its first token.
template <int kTileRows>
__device__ __forceinline__ i64 UnitSlot(const AttentionDecodeParams& p, const RowTile& sequence,
                                        int row_tile, int kv_head, int split) {
  const i64 before =
      static_cast<i64>(sequence.first_token) * p.attention.group / kTileRows + sequence.sequence;
  return ((before + row_tile) * p.attention.kv_heads + kv_head) * p.most_splits + split;
}

struct DecodeUnit {
  RowTile rows;
  KeySpan keys;
  i32 row_tile, split, splits;
};

// The units of a sequence: row tiles, KV heads and, fastest, splits.
template <class T>
struct SequenceUnits {
  RowTile sequence;
  KeySplits<T::kKeys> splits;
  u32 count;

  __device__ __forceinline__ SequenceUnits(const AttentionDecodeParams& p, int s)
      : sequence(SequenceRows(p.attention, s)), splits(p, sequence) {
    count = CeilDiv(sequence.rows, T::kRows) * p.attention.kv_heads * splits.count;
  }
  // Of a unit, in tiles of keys; one for its beginning and end.
  __device__ __forceinline__ u32 Cost() const { return splits.tiles + 1; }
  __device__ __forceinline__ DecodeUnit Get(const AttentionDecodeParams& p, u32 index) const {
    const u32 rest = index / splits.count;
    DecodeUnit unit;
    unit.split = index % splits.count;
    unit.splits = splits.count;
    unit.keys = splits.Split(unit.split);
    unit.rows = sequence;
    unit.rows.kv_head = rest % p.attention.kv_heads;
    unit.row_tile = rest / p.attention.kv_heads;
    unit.rows.first_row = unit.row_tile * T::kRows;
    unit.rows.rows = Min(sequence.rows - unit.rows.first_row, T::kRows);
    return unit;
  }
};

// The units of a block, a few at a time, in shared memory. One warp fills it.
struct UnitList {
  static constexpr int kMost = 16;
  DecodeUnit units[kMost];
  i32 count;
  // What comes next: a unit of a sequence, and the sum of the costs before it, below `end`.
  i32 live, sequence;
  u32 index, at, end;
};

__device__ __forceinline__ u32 WarpScan(u32 x) {
#pragma unroll
  for (int i = 1; i < kWarp; i *= 2) {
    const u32 before = __shfl_up_sync(kAllLanes, x, i);
    if (LaneIndex() >= i) x += before;
  }
  return x;
}

// Where there are no more units than blocks, each block takes one. False if there are more.
template <class T>
__device__ __forceinline__ bool ListOneUnit(const AttentionDecodeParams& p, UnitList& list) {
  const int lane = LaneIndex(), seqs = p.attention.seqs;
  if (seqs > kWarp) return false;
  // Read before the number of live sequences is known.
  const SequenceUnits<T> mine(p, Min(lane, seqs - 1));
  const int live = LiveSequences(p.attention);
  const u32 through = WarpScan(lane < live ? mine.count : 0);
  if (Shuffle(through, kWarp - 1) > gridDim.x) return false;
  const u32 before = lane < live ? through - mine.count : through;
  const bool has = before <= blockIdx.x && blockIdx.x < through;
  if (has) list.units[0] = mine.Get(p, blockIdx.x - before);
  const bool any = __any_sync(kAllLanes, has);
  if (lane == 0) {
    list.count = any ? 1 : 0;
    list.live = list.sequence = 0;  // no more
  }
  __syncwarp();
  return true;
}

// Finds the first unit of the block: those whose costs begin in its share are its own.
template <class T>
__device__ __forceinline__ void FindShare(const AttentionDecodeParams& p, UnitList& list) {
  const int live = LiveSequences(p.attention), lane = LaneIndex();
  u32 total = 0;
  for (int s = lane; s < live; s += kWarp) {
    const SequenceUnits<T> units(p, s);
    total += units.count * units.Cost();
  }
#pragma unroll
  for (int i = kWarp / 2; i > 0; i /= 2) total += ShuffleXor(total, i);
  const u32 share = CeilDiv(total, gridDim.x), begin = share * blockIdx.x;
  if (lane == 0) {
    list.live = list.sequence = live;
    list.end = Min(begin + share, total);
  }
  __syncwarp();
  u32 at = 0;
  for (int first = 0; first < live; first += kWarp) {
    const int s = first + lane;
    const SequenceUnits<T> units(p, Min(s, live - 1));
    const u32 cost = s < live ? units.count * units.Cost() : 0, through = at + WarpScan(cost);
    const u32 reached = __ballot_sync(kAllLanes, through > begin);
    if (reached != 0) {
      if (lane == __ffs(reached) - 1) {
        const u32 before = through - cost, index = CeilDiv(begin - before, units.Cost());
        list.sequence = s;
        list.index = index;
        list.at = before + index * units.Cost();
      }
      break;
    }
    at = Shuffle(through, kWarp - 1);
  }
  __syncwarp();
}

// Lists the next units, none at the end.
template <class T>
__device__ __forceinline__ void ListUnits(const AttentionDecodeParams& p, UnitList& list) {
  const int live = list.live, lane = LaneIndex();
  const u32 end = list.end;
  int sequence = list.sequence;
  u32 index = list.index, at = list.at, count = 0;
  while (sequence < live && at < end && count < UnitList::kMost) {
    const SequenceUnits<T> units(p, sequence);
    const u32 here =
        Min(Min(units.count - Min(index, units.count), CeilDiv(end - at, units.Cost())),
            UnitList::kMost - count);
    if (lane < here) list.units[count + lane] = units.Get(p, index + lane);
    count += here;
    index += here;
    at += here * units.Cost();
    if (index >= units.count) {
      index = 0;
      ++sequence;
    }
  }
  __syncwarp();
  if (lane == 0) {
    list.count = count;
    list.sequence = sequence;
    list.index = index;
    list.at = at;
  }
}

// Lists the first units of the block.
template <class T>
__device__ __forceinline__ void StartUnits(const AttentionDecodeParams& p, UnitList& list) {
  if (ListOneUnit<T>(p, list)) return;
  FindShare<T>(p, list);
  ListUnits<T>(p, list);
}

}  // namespace tandem::cuda
