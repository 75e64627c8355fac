// What attention kernels with mma.sync are made of: the operands of their products, the sums.
#pragma once

#include "attention_rows.cuh"
#include "base.cuh"
#include "kv_pages.cuh"
#include "kv_tile.cuh"
#include "ptx/convert.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/mma.cuh"
#include "ptx/vector.cuh"

namespace tandem::cuda {

// Tiles of kKeys keys, which lie in a ring of kSlots slots of kSlotKeys keys each.
// kVOffset: the first element of V in K, or -1 if V is a cache of its own.
template <Kv kKType, Kv kVType, int kDkOf, int kDvOf, int kVOffset, int kKeysOf, int kSlotKeysOf,
          int kSlotsOf>
struct TileTraits {
  static constexpr int kDk = kDkOf, kDv = kDvOf, kKeys = kKeysOf;
  static constexpr int kSlotKeys = kSlotKeysOf, kSlots = kSlotsOf, kTileSlots = kKeys / kSlotKeys;
  static constexpr bool kView = kVOffset >= 0;
  static constexpr int kFirstColumn = kView ? kVOffset : 0;

  using KTile = KvTile<kKType, kDk, kSlotKeys>;
  using VTile = KvTile<kView ? kKType : kVType, kView ? kDk : kDv, kSlotKeys>;
  static constexpr TileLayout kLayout = {KTile::kType, VTile::kType, kDk,       kDv,
                                         kView,        kKeys,        kSlotKeys, kSlots};
  static constexpr int kSlotBytes = kLayout.slot_bytes();
  static_assert(kSlotBytes == KTile::kBytes + (kView ? 0 : VTile::kBytes));

  static constexpr int kSteps = CeilDiv(kDk, 16);  // of the products with K
  static constexpr int kUnitColumns = ValueUnit(VTile::kType);
  static constexpr int kUnitTiles = kUnitColumns / 8;
  static constexpr int kUnits = CeilDiv(kDv, kUnitColumns);

  static constexpr int kQueryStride = kLayout.query_stride();
  static constexpr int kWeightStride = kLayout.weight_stride();

  static_assert(kKeys % kSlotKeys == 0 && kSlotKeys % 16 == 0 && kTileSlots <= kSlots);
  static_assert(!VTile::kBlocks || kFirstColumn % kKvBlock == 0);
  static_assert(kFirstColumn % 8 == 0 && kFirstColumn + kDv <= VTile::kWidth);
};

// The slots of a tile, from slot `head` of the ring on; those from `count` on hold no keys.
template <class T>
struct TileSlots {
  u8* ring;
  int head, count;

  __device__ __forceinline__ int Index(int i) const {
    if constexpr (T::kTileSlots == 1) return head;
    const int slot = head + i;
    return slot >= T::kSlots ? slot - T::kSlots : slot;
  }
  // The slot with key `key` of the tile.
  __device__ __forceinline__ const u8* K(int key) const {
    return ring + Index(key / T::kSlotKeys) * T::kSlotBytes;
  }
  __device__ __forceinline__ const u8* V(int key) const {
    return T::kView ? K(key) : K(key) + T::KTile::kBytes;
  }
  __device__ __forceinline__ bool Holds(int key) const {
    return T::kTileSlots == 1 || key / T::kSlotKeys < count;
  }
};

// Sixteen rows of q, in shared memory or registers: the steps from `first_step` on, kWarpSteps.
template <class T>
struct QueryOperand {
  u32 registers[T::kQueryInRegisters ? T::kWarpSteps : 1][4];
  u32 address;

  __device__ __forceinline__ void Load(const u8* rows, int first_step) {
    const int lane = LaneIndex();
    address = SharedAddress(rows) + lane % 16 * T::kQueryStride + lane / 16 * 16 + 32 * first_step;
    if constexpr (T::kQueryInRegisters) {
#pragma unroll
      for (int i = 0; i < T::kWarpSteps; ++i) {
        if (T::kSteps % T::kWarpSteps != 0 && first_step + i >= T::kSteps) break;
        LoadMatrix4(registers[i], address + 32 * i);
      }
    }
  }
  __device__ __forceinline__ void Get(int step, u32 (&a)[4]) const {
    if constexpr (T::kQueryInRegisters) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = registers[step][i];
    } else {
      LoadMatrix4(a, address + 32 * step);
    }
  }
};

// A row of q on its way to shared memory.
template <class T>
struct QueryRow {
  static constexpr int kPerLane = CeilDiv(T::kSteps * 16, kWarp);
  float x[kPerLane];

  __device__ __forceinline__ void Load(const AttentionParams& p, const RowTile& rows, int r) {
    const TokenHead place = RowPlace(p, rows, Min(r, rows.rows - 1));
    const float* q = p.q + place.token * p.q_token + place.head * p.q_head;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int d = LaneIndex() + i * kWarp;
      x[i] = d < T::kDk ? q[d] : 0.0f;
    }
  }

  // As f16, times a power of two that makes the largest number 128 to 256, whatever it was: exact,
  // and far from the ends of f16. `scale` is set to what takes the products back.
  __device__ __forceinline__ void Store(u8* row, float* scale) const {
    float largest = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) largest = fmaxf(largest, fabsf(x[i]));
    // The exponent of `largest`, biased by 127, kept where both powers are normal numbers.
    const int exponent = Max(Min(static_cast<int>(FloatBits(LanesMax(largest)) >> 23), 250), 20);
    const float down = BitsFloat(static_cast<u32>(127 + 127 + 7 - exponent) << 23);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int d = LaneIndex() + i * kWarp;
      if (d < 16 * T::kSteps) {
        const int place = d / 16 * 16 + OperandPlace<T::KTile::kType>(d % 16);
        reinterpret_cast<u16*>(row)[place] = F32ToF16(x[i] * down);
      }
    }
    if (LaneIndex() == 0)
      *scale = BitsFloat(static_cast<u32>(exponent - 7) << 23) * T::KTile::kUnit;
  }
};

// Brings the rows of q into shared memory, `rows` of them at `to`, and their scales.
template <class T>
__device__ __forceinline__ void StoreQuery(const AttentionParams& p, const RowTile& rows, u8* to,
                                           float* scales) {
  constexpr int kWarps = T::kThreads / kWarp;
  constexpr int kBatch = Min(T::kRows / kWarps, 2);  // rows that a warp reads at a time
  static_assert(T::kRows % (kBatch * kWarps) == 0);
  for (int r = WarpIndex(); r < T::kRows; r += kBatch * kWarps) {
    QueryRow<T> x[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) x[i].Load(p, rows, r + i * kWarps);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int row = r + i * kWarps;
      x[i].Store(to + row * T::kQueryStride, scales + row);
    }
  }
}

// Scores of the warp's rows with its keys, as sums of products.
template <class T>
struct KeyScores {
  using Tile = typename T::KTile;
  // Sums that do not wait for each other, where there are few column tiles.
  static constexpr int kChains = T::kKeyTiles == 1 ? 4 : T::kKeyTiles == 2 ? 2 : 1;
  float s[T::kKeyTiles][4];

  // `key`: the first of the warp's, in the tile; `first_step`: of those that the warp takes.
  __device__ __forceinline__ KeyScores(const QueryOperand<T>& q, const TileSlots<T>& slots, int key,
                                       int first_step) {
    float sums[kChains][T::kKeyTiles][4] = {};
    if (slots.Holds(key)) {
      if constexpr (Tile::kBlocks) {
        AddBlocks(q, slots, key, first_step, sums);
      } else if constexpr (T::kKeyTiles == 1) {
        AddColumn(q, slots, key, first_step, sums);
      } else {
        AddPairs(q, slots, key, first_step, sums);
      }
    }
#pragma unroll
    for (int n = 0; n < T::kKeyTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        s[n][e] = sums[0][n][e];
#pragma unroll
        for (int c = 1; c < kChains; ++c) s[n][e] += sums[c][n][e];
      }
    }
  }

 private:
  // Whether the warp has such a step.
  __device__ __forceinline__ static bool Has(int first_step, int step) {
    return T::kSteps % T::kWarpSteps == 0 || first_step + step < T::kSteps;
  }

  using Sums = float[kChains][T::kKeyTiles][4];

  __device__ __forceinline__ void AddBlocks(const QueryOperand<T>& q, const TileSlots<T>& slots,
                                            int key, int first_step, Sums& sums) {
#pragma unroll
    for (int block = 0; block < T::kWarpSteps / 2; ++block) {
      if (!Has(first_step, 2 * block)) break;
      u32 a[2][4];
      q.Get(2 * block, a[0]);
      q.Get(2 * block + 1, a[1]);
#pragma unroll
      for (int n = 0; n < T::kKeyTiles; ++n) {
        const KeyOperands k = LoadBlockKeys<Tile>(
            slots.K(key + 8 * n), (key + 8 * n) % T::kSlotKeys, first_step / 2 + block);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          MmaF16(sums[(2 * block + i) % kChains][n], a[i], k.b[i][0], k.b[i][1]);
        }
      }
    }
  }

  // Eight keys, two steps at a time.
  __device__ __forceinline__ void AddColumn(const QueryOperand<T>& q, const TileSlots<T>& slots,
                                            int key, int first_step, Sums& sums) {
    const int lane = LaneIndex();
    const u32 address = SharedAddress(slots.K(key)) +
                        (key % T::kSlotKeys + lane % 8) * Tile::kStride + lane / 8 * 16 +
                        32 * first_step;
#pragma unroll
    for (int step = 0; step < T::kWarpSteps; step += 2) {
      if (!Has(first_step, step)) break;
      u32 b[4], a[4];
      if (step + 1 < T::kWarpSteps) {
        LoadMatrix4(b, address + 32 * step);
      } else {
        u32 last[2];
        LoadMatrix2(last, address + 32 * step);
        b[0] = last[0], b[1] = last[1];
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (step + i >= T::kWarpSteps || !Has(first_step, step + i)) break;
        q.Get(step + i, a);
        MmaF16(sums[(step + i) % kChains][0], a, PlainOperand<Tile::kType>(b[2 * i]),
               PlainOperand<Tile::kType>(b[2 * i + 1]));
      }
    }
  }

  // Sixteen keys at a time.
  __device__ __forceinline__ void AddPairs(const QueryOperand<T>& q, const TileSlots<T>& slots,
                                           int key, int first_step, Sums& sums) {
    const int lane = LaneIndex();
    const u32 row =
        (lane / 16 * 8 + lane % 8) * Tile::kStride + lane / 8 % 2 * 16 + 32 * first_step;
    u32 addresses[T::kKeyTiles / 2];
#pragma unroll
    for (int n = 0; n < T::kKeyTiles; n += 2) {
      addresses[n / 2] =
          SharedAddress(slots.K(key + 8 * n)) + (key + 8 * n) % T::kSlotKeys * Tile::kStride + row;
    }
#pragma unroll
    for (int step = 0; step < T::kWarpSteps; ++step) {
      if (!Has(first_step, step)) break;
      u32 a[4];
      q.Get(step, a);
#pragma unroll
      for (int n = 0; n < T::kKeyTiles; n += 2) {
        u32 b[4];
        LoadMatrix4(b, addresses[n / 2] + 32 * step);
#pragma unroll
        for (int i = 0; i < 4; ++i) b[i] = PlainOperand<Tile::kType>(b[i]);
        MmaF16(sums[step % kChains][n], a, b[0], b[1]);
        MmaF16(sums[step % kChains][n + 1], a, b[2], b[3]);
      }
    }
  }
};

// Starts the copy of the keys (and values) from `first` on into a slot.
template <class T>
__device__ __forceinline__ void CopySlot(const AttentionParams& p, const RowTile& rows, u8* slot,
                                         const TilePages<T::kSlotKeys>& pages, int first, int end) {
  const KvHead k = {p.k, p.k_page, rows.kv_head, p.kv_heads};
  CopyTile<typename T::KTile, T::kThreads>(slot, k, pages, first, end);
  if constexpr (!T::kView) {
    const KvHead v = {p.v, p.v_page, rows.kv_head, p.kv_heads};
    CopyTile<typename T::VTile, T::kThreads>(slot + T::KTile::kBytes, v, pages, first, end);
  }
}

// Sums of weighted values: 16 rows, the columns of a warp.
template <class T>
class ValueSums {
 public:
  // `warp`: the number of the warp among those that share the columns.
  __device__ __forceinline__ explicit ValueSums(int warp) : first_unit_(warp * T::kWarpUnits) {}

  __device__ __forceinline__ void Clear() {
    ForEach([](int, int, float& x) { x = 0.0f; });
  }
  // Multiplies rows g and g + 8.
  __device__ __forceinline__ void Scale(float low, float high) {
    if (__all_sync(kAllLanes, low == 1.0f && high == 1.0f)) return;
    ForEach([&](int, int e, float& x) { x *= e < 2 ? low : high; });
  }
  // Adds 16 values, those from key 16 `step` of the tile on, with the weights `a`.
  __device__ __forceinline__ void Add(const u32 (&a)[4], const TileSlots<T>& slots, int step) {
#pragma unroll
    for (int u = 0; u < T::kWarpUnits; ++u) {
      if (T::kUnits % T::kWarpUnits != 0 && first_unit_ + u >= T::kUnits) break;
      if (T::kIdleWarps && first_unit_ >= T::kUnits) break;
      const ValueOperands<typename T::VTile> v(
          slots.V(16 * step), 16 * step % T::kSlotKeys,
          T::kFirstColumn + (first_unit_ + u) * T::kUnitColumns);
#pragma unroll
      for (int i = 0; i < T::kUnitTiles; ++i) MmaF16(sums_[u][i], a, v.b[i][0], v.b[i][1]);
    }
  }
  // Calls store(i, column, value) for row g + 8 i, times factor[i]; a factor of zero gives zeros.
  template <class Store>
  __device__ __forceinline__ void Write(const float (&factor)[2], Store store) {
    ForEach([&](int tile, int e, float& x) {
      const int unit = first_unit_ + tile / T::kUnitTiles;
      const int column =
          unit * T::kUnitColumns +
          ValueColumn<T::VTile::kType>(tile % T::kUnitTiles, 2 * (LaneIndex() % 4) + e % 2);
      const float value = factor[e / 2] == 0.0f ? 0.0f : x * factor[e / 2];
      if (column < T::kDv) store(e / 2, column, value);
    });
  }
  // Calls store(i, column, four) for four neighbouring columns of row g + 8 i, times factor[i]. All
  // lanes take part.
  template <class Store>
  __device__ __forceinline__ void WriteFours(const float (&factor)[2], Store store) const {
    static_assert(T::kDv % 4 == 0);
    const int t = LaneIndex() % 4;
#pragma unroll
    for (int u = 0; u < T::kWarpUnits; ++u) {
      const int first = (first_unit_ + u) * T::kUnitColumns;
#pragma unroll
      for (int i = 0; i < T::kUnitTiles; i += T::VTile::kBlocks ? 4 : 1) {
        if constexpr (T::VTile::kBlocks) {
          // Tiles i .. i + 3 are neighbouring columns.
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int column = first + ValueColumn<T::VTile::kType>(i, 2 * t + e % 2);
            const float4 four = {sums_[u][i][e], sums_[u][i + 1][e], sums_[u][i + 2][e],
                                 sums_[u][i + 3][e]};
            if (column < T::kDv) store(e / 2, column, Times(four, factor[e / 2]));
          }
        } else {
          // Lanes 2s and 2s + 1 have columns 4s .. 4s + 3 of two rows: each takes one row.
          const float(&x)[4] = sums_[u][i];
          const bool odd = t % 2 != 0;
          const float a = ShuffleXor(odd ? x[0] : x[2], 1), b = ShuffleXor(odd ? x[1] : x[3], 1);
          const float4 four = odd ? float4{a, b, x[2], x[3]} : float4{x[0], x[1], a, b};
          const int column = first + 8 * i + 4 * (t / 2);
          if (column < T::kDv) store(odd ? 1 : 0, column, Times(four, odd ? factor[1] : factor[0]));
        }
      }
    }
  }

 private:
  __device__ __forceinline__ static float4 Times(const float4& x, float factor) {
    if (factor == 0.0f) return {0.0f, 0.0f, 0.0f, 0.0f};
    return {x.x * factor, x.y * factor, x.z * factor, x.w * factor};
  }

  template <class F>
  __device__ __forceinline__ void ForEach(F f) {
#pragma unroll
    for (int u = 0; u < T::kWarpUnits; ++u) {
#pragma unroll
      for (int i = 0; i < T::kUnitTiles; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) f(u * T::kUnitTiles + i, e, sums_[u][i][e]);
      }
    }
  }

  int first_unit_;
  float sums_[T::kWarpUnits][T::kUnitTiles][4];
};

// Writes the results of the rows of `tile`.
template <class Tile>
__device__ __forceinline__ void WriteOut(const AttentionParams& p, const RowTile& rows,
                                         Tile& tile) {
  float factor[2];
  i64 at[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = tile.Row(i);
    const TokenHead place = RowPlace(p, rows, Min(row, rows.rows - 1));
    at[i] = place.token * p.out_token + place.head * p.out_head;
    factor[i] =
        FinishRow(p, place, tile.Sum(i), tile.SpeaksForRow() && row < rows.rows) * Tile::kValueUnit;
  }
  if (p.out_fours) {
    tile.WriteFours(factor, [&](int i, int column, const float4& four) {
      if (tile.Row(i) < rows.rows) StoreGlobal4(p.out + (i == 0 ? at[0] : at[1]) + column, four);
    });
  } else {
    tile.WriteValues(factor, [&](int i, int column, float value) {
      if (tile.Row(i) < rows.rows) p.out[at[i] + column] = value;
    });
  }
}

}  // namespace tandem::cuda
