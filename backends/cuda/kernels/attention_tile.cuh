// Flash attention (Dao et al. 2022) of a tile of rows of q over tiles of keys, with mma.sync.
//
// The warps of a block form kRowWarps x kColumnWarps. Each of the former takes 16 rows; the latter
// share these rows: of the scores each takes some keys, of the values some columns.
#pragma once

#include "attention_operands.cuh"
#include "attention_rows.cuh"
#include "base.cuh"
#include "ptx/convert.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/mma.cuh"

namespace tandem::cuda {

template <class T>
class AttentionTile;

template <Kv kKType, Kv kVType, int kDk, int kDv, int kVOffset, int kRowWarpsOf, int kColumnWarpsOf,
          int kKeys, int kSlotKeys, int kSlots, bool kQueryInRegistersOf>
struct AttentionTraits : TileTraits<kKType, kVType, kDk, kDv, kVOffset, kKeys, kSlotKeys, kSlots> {
  using Base = TileTraits<kKType, kVType, kDk, kDv, kVOffset, kKeys, kSlotKeys, kSlots>;
  using Worker = AttentionTile<AttentionTraits>;
  static constexpr int kRowWarps = kRowWarpsOf, kColumnWarps = kColumnWarpsOf;
  static constexpr int kRows = 16 * kRowWarps;
  static constexpr int kThreads = kRowWarps * kColumnWarps * kWarp;
  static constexpr bool kQueryInRegisters = kQueryInRegistersOf;

  static constexpr int kWarpSteps = Base::kSteps;
  static constexpr int kWarpKeys = kKeys / kColumnWarps;
  static constexpr int kKeyTiles = kWarpKeys / 8;
  static constexpr int kWarpUnits = CeilDiv(Base::kUnits, kColumnWarps);
  static constexpr bool kIdleWarps = kWarpUnits * (kColumnWarps - 1) >= Base::kUnits;

  // Shared memory.
  static constexpr bool kShared = kColumnWarps > 1;
  static constexpr int kQueryAt = kSlots * Base::kSlotBytes;
  static constexpr int kWeightsAt = kQueryAt + kRows * Base::kQueryStride;
  static constexpr int kMaximaAt = kWeightsAt + (kShared ? kRows * Base::kWeightStride : 0);
  static constexpr int kScalesAt = kMaximaAt + (kShared ? 4 * kColumnWarps * kRows : 0);
  static constexpr int kSharedBytes = kScalesAt + 4 * kRows;

  static_assert(kSharedBytes == AttentionSharedBytes(Base::kLayout, kRowWarps, kColumnWarps));
  static_assert(kWarpKeys % 8 == 0 && (kKeyTiles == 1 || kKeyTiles % 2 == 0));
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
        score_(p),
        values_(column_warp_) {}

  static constexpr float kValueUnit = T::VTile::kUnit;

  // Brings the rows of q into shared memory. A barrier must follow, and then Begin.
  __device__ __forceinline__ void StoreQueries(const RowTile& rows) const {
    StoreQuery<T>(p_, rows, shared_ + T::kQueryAt,
                  reinterpret_cast<float*>(shared_ + T::kScalesAt));
  }

  // `keys`: those that this block takes.
  __device__ __forceinline__ void Begin(const RowTile& rows, KeySpan keys) {
    query_.Load(shared_ + T::kQueryAt + 16 * row_warp_ * T::kQueryStride, 0);
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
    values_.Clear();
  }

  // Takes the tile of keys from `first` on.
  __device__ __forceinline__ void Step(const TileSlots<T>& slots, int first) {
    KeyScores<T> scores(query_, slots, column_warp_ * T::kWarpKeys, 0);
    ScaleScores(scores, first);
    if constexpr (T::kShared) {
      const RowPair factors = RaiseMaxima(SharedMaxima(LocalMaxima(scores)));
      StoreWeights(scores);
      Rescale(factors);
      RowBarrier();
      AddValuesFromShared(slots);
    } else {
      Rescale(RaiseMaxima(LocalMaxima(scores)));
      Weigh(scores);
      AddValues(scores, slots);
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

  template <class Store>
  __device__ __forceinline__ void WriteValues(const float (&factor)[2], Store store) {
    values_.Write(factor, store);
  }
  template <class Store>
  __device__ __forceinline__ void WriteFours(const float (&factor)[2], Store store) const {
    values_.WriteFours(factor, store);
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

 private:
  struct RowPair {
    float of[2];
  };

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

  __device__ __forceinline__ RowPair LocalMaxima(const KeyScores<T>& scores) const {
    RowPair maxima;
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
  __device__ __forceinline__ RowPair SharedMaxima(RowPair mine) const {
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
  __device__ __forceinline__ RowPair RaiseMaxima(RowPair maxima) {
    RowPair factors;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float maximum = fmaxf(row_[i].maximum, ceilf(maxima.of[i]));
      base_[i] = maximum == -kInfinity ? 0.0f : maximum;
      factors.of[i] = Exp2(row_[i].maximum - base_[i]);
      row_[i] = {maximum, row_[i].sum * factors.of[i]};
    }
    return factors;
  }

  __device__ __forceinline__ void Rescale(RowPair factors) {
    values_.Scale(factors.of[0], factors.of[1]);
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

  // Scores of two column tiles are an A operand as they are.
  __device__ __forceinline__ void AddValues(const KeyScores<T>& scores, const TileSlots<T>& slots) {
#pragma unroll
    for (int step = 0; step < T::kKeys / 16; ++step) {
      const float(&low)[4] = scores.s[2 * step];
      const float(&high)[4] = scores.s[2 * step + 1];
      const u32 a[4] = {F32ToF16x2(low[0], low[1]), F32ToF16x2(low[2], low[3]),
                        F32ToF16x2(high[0], high[1]), F32ToF16x2(high[2], high[3])};
      values_.Add(a, slots, step);
    }
  }

  __device__ __forceinline__ void AddValuesFromShared(const TileSlots<T>& slots) {
    const int lane = LaneIndex();
    const u32 weights = SharedAddress(shared_) + T::kWeightsAt +
                        (16 * row_warp_ + lane % 16) * T::kWeightStride + lane / 16 * 16;
#pragma unroll
    for (int step = 0; step < T::kKeys / 16; ++step) {
      if (!slots.Holds(16 * step)) break;
      u32 a[4];
      LoadMatrix4(a, weights + 32 * step);
      values_.Add(a, slots, step);
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
  ValueSums<T> values_;
};

}  // namespace tandem::cuda
