// Flash attention (Dao et al. 2022) of a tile of rows of q over tiles of keys, with mma.sync: the
// part that the kernels for prompts and for generation share.
//
// The warps of a block form kRowWarps x kColumnWarps. Each of the former takes 16 rows; the latter
// share these rows: of the scores each takes some keys, of the values some columns.
#pragma once

#include "attention_rows.cuh"
#include "base.cuh"
#include "kv_pages.cuh"
#include "kv_tile.cuh"
#include "ptx/convert.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/mma.cuh"

namespace tandem::cuda {

// kVOffset: the first element of V in K, or -1 if V is a cache of its own.
template <Kv kKType, Kv kVType, int kDkOf, int kDvOf, int kVOffset, int kRowWarpsOf,
          int kColumnWarpsOf, int kKeysOf, int kStagesOf, bool kQueryInRegistersOf>
struct AttentionTraits {
  static constexpr int kDk = kDkOf, kDv = kDvOf;
  static constexpr bool kView = kVOffset >= 0;
  static constexpr int kRowWarps = kRowWarpsOf, kColumnWarps = kColumnWarpsOf;
  static constexpr int kRows = 16 * kRowWarps, kKeys = kKeysOf, kStages = kStagesOf;
  static constexpr int kThreads = kRowWarps * kColumnWarps * kWarp;
  static constexpr bool kQueryInRegisters = kQueryInRegistersOf;

  using KTile = KvTile<kKType, kDk, kKeys>;
  using VTile = KvTile<kView ? kKType : kVType, kView ? kDk : kDv, kKeys>;
  static constexpr int kFirstColumn = kView ? kVOffset : 0;

  static constexpr int kSteps = CeilDiv(kDk, 16);  // of the products with K
  static constexpr int kWarpKeys = kKeys / kColumnWarps;
  static constexpr int kKeyTiles = kWarpKeys / 8;
  static constexpr int kUnitColumns = ValueUnit(VTile::kType);
  static constexpr int kUnitTiles = kUnitColumns / 8;
  static constexpr int kUnits = CeilDiv(kDv, kUnitColumns);
  static constexpr int kWarpUnits = CeilDiv(kUnits, kColumnWarps);

  // Shared memory. The rows of q and of weights lie in different banks, as those of KvTile.
  static constexpr int kStageBytes = KTile::kBytes + (kView ? 0 : VTile::kBytes);
  static constexpr int kQueryStride = 32 * kSteps + 16;
  static constexpr int kWeightStride = 2 * kKeys + 16;
  static constexpr int kQueryAt = kStages * kStageBytes;
  static constexpr int kWeightsAt = kQueryAt + kRows * kQueryStride;
  static constexpr int kShared = kColumnWarps > 1;
  static constexpr int kMaximaAt = kWeightsAt + (kShared ? kRows * kWeightStride : 0);
  static constexpr int kScalesAt = kMaximaAt + (kShared ? 4 * kColumnWarps * kRows : 0);
  static constexpr int kSharedBytes = kScalesAt + 4 * kRows;

  static_assert(kWarpKeys % 8 == 0 && (kKeyTiles == 1 || kKeyTiles % 2 == 0) && kKeys % 16 == 0);
  static_assert(!VTile::kBlocks || kFirstColumn % kKvBlock == 0);
  static_assert(kFirstColumn % 8 == 0 && kFirstColumn + kDv <= VTile::kWidth);
};

// The rows of q, in shared memory or registers.
template <class T>
struct QueryOperand {
  u32 registers[T::kQueryInRegisters ? T::kSteps : 1][4];
  u32 address;

  // `rows`: the 16 rows of the warp.
  __device__ __forceinline__ void Load(const u8* rows) {
    const int lane = LaneIndex();
    address = SharedAddress(rows) + lane % 16 * T::kQueryStride + lane / 16 * 16;
    if constexpr (T::kQueryInRegisters) {
#pragma unroll
      for (int i = 0; i < T::kSteps; ++i) LoadMatrix4(registers[i], address + 32 * i);
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

// Scores of the warp's rows with its keys, as sums of products.
template <class T>
struct KeyScores {
  using Tile = typename T::KTile;
  // Sums that do not wait for each other, where there are few column tiles.
  static constexpr int kChains = T::kKeyTiles == 1 ? 4 : T::kKeyTiles == 2 ? 2 : 1;
  float s[T::kKeyTiles][4];

  // `key`: the first of the warp's, in the tile.
  __device__ __forceinline__ KeyScores(const QueryOperand<T>& q, const u8* tile, int key) {
    float sums[kChains][T::kKeyTiles][4] = {};
    if constexpr (Tile::kBlocks) {
      AddBlocks(q, tile, key, sums);
    } else if constexpr (T::kKeyTiles == 1) {
      AddColumn(q, tile, key, sums);
    } else {
      AddPairs(q, tile, key, sums);
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
  using Sums = float[kChains][T::kKeyTiles][4];

  __device__ __forceinline__ void AddBlocks(const QueryOperand<T>& q, const u8* tile, int key,
                                            Sums& sums) {
#pragma unroll
    for (int block = 0; block < T::kDk / kKvBlock; ++block) {
      u32 a[2][4];
      q.Get(2 * block, a[0]);
      q.Get(2 * block + 1, a[1]);
#pragma unroll
      for (int n = 0; n < T::kKeyTiles; ++n) {
        const KeyOperands k = LoadBlockKeys<Tile>(tile, key + 8 * n, block);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          MmaF16(sums[(2 * block + i) % kChains][n], a[i], k.b[i][0], k.b[i][1]);
        }
      }
    }
  }

  // Eight keys, two steps at a time.
  __device__ __forceinline__ void AddColumn(const QueryOperand<T>& q, const u8* tile, int key,
                                            Sums& sums) {
    const int lane = LaneIndex();
    const u32 address = SharedAddress(tile) + (key + lane % 8) * Tile::kStride + lane / 8 * 16;
#pragma unroll
    for (int step = 0; step < T::kSteps; step += 2) {
      u32 b[4], a[4];
      if (step + 1 < T::kSteps) {
        LoadMatrix4(b, address + 32 * step);
      } else {
        u32 last[2];
        LoadMatrix2(last, address + 32 * step);
        b[0] = last[0], b[1] = last[1];
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (step + i >= T::kSteps) break;
        q.Get(step + i, a);
        MmaF16(sums[(step + i) % kChains][0], a, PlainOperand<Tile::kType>(b[2 * i]),
               PlainOperand<Tile::kType>(b[2 * i + 1]));
      }
    }
  }

  // Sixteen keys at a time.
  __device__ __forceinline__ void AddPairs(const QueryOperand<T>& q, const u8* tile, int key,
                                           Sums& sums) {
    const int lane = LaneIndex();
    const u32 address =
        SharedAddress(tile) + (key + lane / 16 * 8 + lane % 8) * Tile::kStride + lane / 8 % 2 * 16;
#pragma unroll
    for (int step = 0; step < T::kSteps; ++step) {
      u32 a[4];
      q.Get(step, a);
#pragma unroll
      for (int n = 0; n < T::kKeyTiles; n += 2) {
        u32 b[4];
        LoadMatrix4(b, address + n * 8 * Tile::kStride + 32 * step);
#pragma unroll
        for (int i = 0; i < 4; ++i) b[i] = PlainOperand<Tile::kType>(b[i]);
        MmaF16(sums[step % kChains][n], a, b[0], b[1]);
        MmaF16(sums[step % kChains][n + 1], a, b[2], b[3]);
      }
    }
  }
};

// The state of a block that works on a tile of rows.
template <class T>
class AttentionTile {
 public:
  __device__ __forceinline__ AttentionTile(const AttentionParams& p, u8* shared)
      : p_(p),
        shared_(shared),
        row_warp_(WarpIndex() / T::kColumnWarps),
        column_warp_(WarpIndex() % T::kColumnWarps),
        score_(p) {}

  // Brings the rows of q into shared memory as f16, each times a power of two that makes its
  // largest number 128 to 256, whatever it was: exact, and far from the ends of f16. A barrier must
  // follow, and then Begin.
  __device__ __forceinline__ void StoreQuery(const RowTile& rows) const {
    for (int r = WarpIndex(); r < T::kRows; r += T::kThreads / kWarp) StoreQueryRow(rows, r);
  }

  // `keys`: those that this block takes.
  __device__ __forceinline__ void Begin(const RowTile& rows, KeySpan keys) {
    query_.Load(shared_ + T::kQueryAt + 16 * row_warp_ * T::kQueryStride);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = Row(i);
      const KeySpan seen = RowKeys(p_, rows, Min(row, rows.rows - 1));
      seen_[i] = {Max(seen.begin, keys.begin), Min(seen.end, keys.end)};
      scale_[i] = reinterpret_cast<const float*>(shared_ + T::kScalesAt)[row] * score_.scale;
      row_[i] = {-kInfinity, 0.0f};
    }
    all_see_ = {Max(RowKeys(p_, rows, rows.rows - 1).begin, keys.begin),
                Min(RowKeys(p_, rows, 0).end, keys.end)};
#pragma unroll
    for (int u = 0; u < T::kWarpUnits; ++u) {
#pragma unroll
      for (int i = 0; i < T::kUnitTiles; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) values_[u][i][e] = 0.0f;
      }
    }
  }

  // Takes the tile of keys from `first` on, which lies in stage `stage`.
  __device__ __forceinline__ void Step(int stage, int first) {
    const u8* k_tile = shared_ + stage * T::kStageBytes;
    const u8* v_tile = T::kView ? k_tile : k_tile + T::KTile::kBytes;
    KeyScores<T> scores(query_, k_tile, column_warp_ * T::kWarpKeys);
    ScaleScores(scores, first);
    if constexpr (T::kShared) {
      const float2_ factors = RaiseMaxima(SharedMaxima(LocalMaxima(scores)));
      StoreWeights(scores);
      Rescale(factors);
      RowBarrier();
      AddValuesFromShared(v_tile);
    } else {
      Rescale(RaiseMaxima(LocalMaxima(scores)));
      Weigh(scores);
      AddValues(scores, v_tile);
    }
  }

  // The sums of the rows of the lane, over all keys. All threads of the block take part.
  __device__ __forceinline__ void FinishSums() {
#pragma unroll
    for (int i = 0; i < 2; ++i) row_[i].sum = LanesSum<4>(row_[i].sum);
    if constexpr (T::kShared) {
      float* sums = reinterpret_cast<float*>(shared_ + T::kMaximaAt);
      RowBarrier();
      if (LaneIndex() % 4 == 0) {
#pragma unroll
        for (int i = 0; i < 2; ++i) sums[column_warp_ * T::kRows + Row(i)] = row_[i].sum;
      }
      RowBarrier();
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        row_[i].sum = 0.0f;
#pragma unroll
        for (int w = 0; w < T::kColumnWarps; ++w) row_[i].sum += sums[w * T::kRows + Row(i)];
      }
    }
  }

  // Calls store(row, column, value) for what the lane holds of the values, times factor[i].
  template <class Store>
  __device__ __forceinline__ void ForEachValue(const float (&factor)[2], Store store) const {
    const int t = LaneIndex() % 4;
#pragma unroll
    for (int u = 0; u < T::kWarpUnits; ++u) {
#pragma unroll
      for (int i = 0; i < T::kUnitTiles; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int column = (column_warp_ * T::kWarpUnits + u) * T::kUnitColumns +
                             ValueColumn<T::VTile::kType>(i, 2 * t + e % 2);
          const float value = factor[e / 2] == 0.0f ? 0.0f : values_[u][i][e] * factor[e / 2];
          if (column < T::kDv) store(Row(e / 2), column, value);
        }
      }
    }
  }

  // Row i (0 or 1) of the lane, in the tile.
  __device__ __forceinline__ int Row(int i) const {
    return 16 * row_warp_ + LaneIndex() / 4 + 8 * i;
  }
  __device__ __forceinline__ RowSum Sum(int i) const { return row_[i]; }
  // True in one lane of those that share a row.
  __device__ __forceinline__ bool SpeaksForRow() const {
    return column_warp_ == 0 && LaneIndex() % 4 == 0;
  }

  // Writes the results.
  __device__ __forceinline__ void WriteOut(const RowTile& rows) const {
    float factor[2];
    i64 at[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const TokenHead place = RowPlace(p_, rows, Min(Row(i), rows.rows - 1));
      at[i] = place.token * p_.out_token + place.head * p_.out_head;
      factor[i] =
          FinishRow(p_, place, row_[i], SpeaksForRow() && Row(i) < rows.rows) * T::VTile::kUnit;
    }
    ForEachValue(factor, [&](int row, int column, float value) {
      if (row < rows.rows) p_.out[(row == Row(0) ? at[0] : at[1]) + column] = value;
    });
  }

 private:
  struct float2_ {
    float of[2];
  };

  __device__ __forceinline__ void StoreQueryRow(const RowTile& rows, int r) const {
    constexpr int kPerLane = CeilDiv(T::kSteps * 16, kWarp);
    const TokenHead place = RowPlace(p_, rows, Min(r, rows.rows - 1));
    const float* q = p_.q + place.token * p_.q_token + place.head * p_.q_head;
    float x[kPerLane], largest = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int d = LaneIndex() + i * kWarp;
      x[i] = d < T::kDk ? q[d] : 0.0f;
      largest = fmaxf(largest, fabsf(x[i]));
    }
    // The exponent of `largest`, biased by 127, kept where both powers are normal numbers.
    const int exponent = Max(Min(static_cast<int>(FloatBits(LanesMax(largest)) >> 23), 250), 20);
    const float down = BitsFloat(static_cast<u32>(127 + 127 + 7 - exponent) << 23);
    u16* row = reinterpret_cast<u16*>(shared_ + T::kQueryAt + r * T::kQueryStride);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int d = LaneIndex() + i * kWarp;
      if (d < 16 * T::kSteps) {
        row[d / 16 * 16 + OperandPlace<T::KTile::kType>(d % 16)] = F32ToF16(x[i] * down);
      }
    }
    if (LaneIndex() == 0) {
      reinterpret_cast<float*>(shared_ + T::kScalesAt)[r] =
          BitsFloat(static_cast<u32>(exponent - 7) << 23) * T::KTile::kUnit;
    }
  }

  __device__ __forceinline__ void RowBarrier() const {
    NamedBarrierSync(1 + row_warp_, T::kColumnWarps * kWarp);
  }

  // The scores in base 2; -infinity for keys that are not seen.
  __device__ __forceinline__ void ScaleScores(KeyScores<T>& scores, int first) const {
    const bool masked = first < all_see_.begin || first + T::kKeys > all_see_.end;
#pragma unroll
    for (int n = 0; n < T::kKeyTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) scores.s[n][e] *= scale_[e / 2];
    }
    if (score_.cap > 0) {
#pragma unroll
      for (int n = 0; n < T::kKeyTiles; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) scores.s[n][e] = score_.Cap(scores.s[n][e]);
      }
    }
    if (!masked) return;
    const int key = first + column_warp_ * T::kWarpKeys + LaneIndex() % 4 * 2;
#pragma unroll
    for (int n = 0; n < T::kKeyTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int j = key + 8 * n + e % 2;
        if (j < seen_[e / 2].begin || j >= seen_[e / 2].end) scores.s[n][e] = -kInfinity;
      }
    }
  }

  __device__ __forceinline__ float2_ LocalMaxima(const KeyScores<T>& scores) const {
    float2_ maxima;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      maxima.of[i] = -kInfinity;
#pragma unroll
      for (int n = 0; n < T::kKeyTiles; ++n) {
        maxima.of[i] = fmaxf(maxima.of[i], fmaxf(scores.s[n][2 * i], scores.s[n][2 * i + 1]));
      }
      maxima.of[i] = LanesMax<4>(maxima.of[i]);
    }
    return maxima;
  }

  // The largest of the warps that share the rows.
  __device__ __forceinline__ float2_ SharedMaxima(float2_ mine) const {
    float* maxima = reinterpret_cast<float*>(shared_ + T::kMaximaAt);
    if (LaneIndex() % 4 == 0) {
#pragma unroll
      for (int i = 0; i < 2; ++i) maxima[column_warp_ * T::kRows + Row(i)] = mine.of[i];
    }
    RowBarrier();
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int w = 0; w < T::kColumnWarps; ++w) {
        mine.of[i] = fmaxf(mine.of[i], maxima[w * T::kRows + Row(i)]);
      }
    }
    return mine;
  }

  // What to multiply earlier sums with.
  __device__ __forceinline__ float2_ RaiseMaxima(float2_ maxima) {
    float2_ factors;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float maximum = fmaxf(row_[i].maximum, maxima.of[i]);
      base_[i] = maximum == -kInfinity ? 0.0f : maximum;
      factors.of[i] = Exp2(row_[i].maximum - base_[i]);
      row_[i] = {maximum, row_[i].sum * factors.of[i]};
    }
    return factors;
  }

  __device__ __forceinline__ void Rescale(float2_ factors) {
    const bool same = factors.of[0] == 1.0f && factors.of[1] == 1.0f;
    if (__all_sync(kAllLanes, same)) return;
#pragma unroll
    for (int u = 0; u < T::kWarpUnits; ++u) {
#pragma unroll
      for (int i = 0; i < T::kUnitTiles; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) values_[u][i][e] *= factors.of[e / 2];
      }
    }
  }

  // From scores to weights.
  __device__ __forceinline__ void Weigh(KeyScores<T>& scores) {
#pragma unroll
    for (int n = 0; n < T::kKeyTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores.s[n][e] = Exp2(scores.s[n][e] - base_[e / 2]);
        row_[e / 2].sum += scores.s[n][e];
      }
    }
  }

  __device__ __forceinline__ void StoreWeights(KeyScores<T>& scores) {
    Weigh(scores);
    u8* weights = shared_ + T::kWeightsAt;
    const int key = column_warp_ * T::kWarpKeys + LaneIndex() % 4 * 2;
#pragma unroll
    for (int n = 0; n < T::kKeyTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        *reinterpret_cast<u32*>(weights + Row(i) * T::kWeightStride + 2 * (key + 8 * n)) =
            F32ToF16x2(scores.s[n][2 * i], scores.s[n][2 * i + 1]);
      }
    }
  }

  __device__ __forceinline__ void AddValuesStep(const u32 (&a)[4], const u8* tile, int step) {
#pragma unroll
    for (int u = 0; u < T::kWarpUnits; ++u) {
      const int unit = column_warp_ * T::kWarpUnits + u;
      if (T::kUnits % T::kColumnWarps != 0 && unit >= T::kUnits) break;
      const ValueOperands<typename T::VTile> v(tile, 16 * step,
                                               T::kFirstColumn + unit * T::kUnitColumns);
#pragma unroll
      for (int i = 0; i < T::kUnitTiles; ++i) MmaF16(values_[u][i], a, v.b[i][0], v.b[i][1]);
    }
  }

  // Scores of two column tiles are an A operand as they are.
  __device__ __forceinline__ void AddValues(const KeyScores<T>& scores, const u8* tile) {
#pragma unroll
    for (int step = 0; step < T::kKeys / 16; ++step) {
      const float(&low)[4] = scores.s[2 * step];
      const float(&high)[4] = scores.s[2 * step + 1];
      const u32 a[4] = {F32ToF16x2(low[0], low[1]), F32ToF16x2(low[2], low[3]),
                        F32ToF16x2(high[0], high[1]), F32ToF16x2(high[2], high[3])};
      AddValuesStep(a, tile, step);
    }
  }

  __device__ __forceinline__ void AddValuesFromShared(const u8* tile) {
    const int lane = LaneIndex();
    const u32 weights = SharedAddress(shared_) + T::kWeightsAt +
                        (16 * row_warp_ + lane % 16) * T::kWeightStride + lane / 16 * 16;
#pragma unroll
    for (int step = 0; step < T::kKeys / 16; ++step) {
      u32 a[4];
      LoadMatrix4(a, weights + 32 * step);
      AddValuesStep(a, tile, step);
    }
  }

  const AttentionParams& p_;
  u8* shared_;
  int row_warp_, column_warp_;
  ScoreScale score_;
  QueryOperand<T> query_;
  KeySpan seen_[2];  // by the rows of the lane
  KeySpan all_see_;  // by every row
  float scale_[2];
  float base_[2];  // what is taken from scores; the maximum where there is one
  RowSum row_[2];  // the sums are those of the lane's keys until FinishSums
  float values_[T::kWarpUnits][T::kUnitTiles][4];
};

}  // namespace tandem::cuda
