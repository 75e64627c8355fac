// Sixteen rows of q over tiles of keys: what generation needs, where few rows meet many keys.
//
// The warps of a block form kStepWarps x kKeyWarps for the scores: a warp takes some elements of
// some keys, so it holds but a part of q in registers. Their sums meet in shared memory, where each
// warp turns some rows into weights. Of the values each warp takes some columns.
#pragma once

#include "attention_operands.cuh"
#include "attention_rows.cuh"
#include "base.cuh"
#include "ptx/convert.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/mma.cuh"

namespace tandem::cuda {

template <class T>
class DecodeTile;

template <Kv kKType, Kv kVType, int kDk, int kDv, int kVOffset, int kStepWarpsOf, int kKeyWarpsOf,
          int kKeys, int kSlotKeys, int kSlots>
struct DecodeTraits : TileTraits<kKType, kVType, kDk, kDv, kVOffset, kKeys, kSlotKeys, kSlots> {
  using Base = TileTraits<kKType, kVType, kDk, kDv, kVOffset, kKeys, kSlotKeys, kSlots>;
  using Worker = DecodeTile<DecodeTraits>;
  static constexpr int kStepWarps = kStepWarpsOf, kKeyWarps = kKeyWarpsOf;
  static constexpr int kWarps = kStepWarps * kKeyWarps, kThreads = kWarps * kWarp;
  static constexpr int kRows = 16, kWarpRows = kRows / kWarps;
  static constexpr bool kQueryInRegisters = true;

  // Steps come in pairs: the blocks of block types have 32 elements.
  static constexpr int kWarpSteps = Base::KTile::kBlocks ? 2 * CeilDiv(Base::kSteps / 2, kStepWarps)
                                                         : CeilDiv(Base::kSteps, kStepWarps);
  static constexpr int kWarpKeys = kKeys / kKeyWarps;
  static constexpr int kKeyTiles = kWarpKeys / 8;
  static constexpr int kWarpUnits = CeilDiv(Base::kUnits, kWarps);
  static constexpr bool kIdleWarps = kWarpUnits * (kWarps - 1) >= Base::kUnits;

  // Shared memory.
  static constexpr int kScoreStride = ScoreStride(kKeys);
  static constexpr int kQueryAt = kSlots * Base::kSlotBytes;
  static constexpr int kWeightsAt = kQueryAt + kRows * Base::kQueryStride;
  static constexpr int kScoresAt = kWeightsAt + kRows * Base::kWeightStride;
  static constexpr int kRowsAt = kScoresAt + 4 * kStepWarps * kRows * kScoreStride;
  static constexpr int kSharedBytes = kRowsAt + 16 * kRows;

  static_assert(kSharedBytes == DecodeSharedBytes(Base::kLayout, kStepWarps));
  static_assert(kRows % kWarps == 0 && kKeys % kWarp == 0);
  static_assert(kWarpKeys % 8 == 0 && (kKeyTiles == 1 || kKeyTiles % 2 == 0));
};

template <class T>
class DecodeTile {
 public:
  static constexpr float kValueUnit = T::VTile::kUnit;

  __device__ __forceinline__ DecodeTile(const AttentionParams& p, u8* shared)
      : p_(p),
        shared_(shared),
        scores_(reinterpret_cast<float*>(shared + T::kScoresAt)),
        rows_(reinterpret_cast<RowShare*>(shared + T::kRowsAt)),
        warp_(WarpIndex()),
        step_warp_(warp_ / T::kKeyWarps),
        key_warp_(warp_ % T::kKeyWarps),
        score_(p),
        values_(warp_) {}

  // Among the warps that compute.
  __device__ __forceinline__ void Barrier() const { NamedBarrierSync(1, T::kThreads); }

  // Brings the rows of q into shared memory. A barrier must follow, and then Begin.
  __device__ __forceinline__ void StoreQueries(const RowTile& rows) const {
    StoreQuery<T>(p_, rows, shared_ + T::kQueryAt,
                  reinterpret_cast<float*>(shared_ + T::kWeightsAt));
  }

  // `keys`: those that this block takes.
  __device__ __forceinline__ void Begin(const RowTile& rows, KeySpan keys) {
    query_.Load(shared_ + T::kQueryAt, step_warp_ * T::kWarpSteps);
#pragma unroll
    for (int i = 0; i < T::kWarpRows; ++i) {
      const int row = WarpRow(i);
      const KeySpan seen = RowKeys(p_, rows, Min(row, rows.rows - 1));
      seen_[i] = {Max(seen.begin, keys.begin), Min(seen.end, keys.end)};
      // Lies where the weights will be: barriers are between.
      scale_[i] = reinterpret_cast<const float*>(shared_ + T::kWeightsAt)[row] * score_.scale;
      row_[i] = {-kInfinity, 0.0f};
    }
    values_.Clear();
  }

  // Takes the tile of keys from `first` on.
  __device__ __forceinline__ void Step(const TileSlots<T>& slots, int first) {
    StoreScores(slots);
    Barrier();
#pragma unroll
    for (int i = 0; i < T::kWarpRows; ++i) WeighRow(i, first);
    Barrier();
    const int g = LaneIndex() / 4;
    values_.Scale(rows_[g].factor, rows_[g + 8].factor);
    const u32 weights = SharedAddress(shared_) + T::kWeightsAt +
                        LaneIndex() % 16 * T::kWeightStride + LaneIndex() / 16 * 16;
#pragma unroll
    for (int step = 0; step < T::kKeys / 16; ++step) {
      if (!slots.Holds(16 * step)) break;
      u32 a[4];
      LoadMatrix4(a, weights + 32 * step);
      values_.Add(a, slots, step);
    }
  }

  // Shares the sums of the rows. All threads of the block take part.
  __device__ __forceinline__ void FinishSums() {
#pragma unroll
    for (int i = 0; i < T::kWarpRows; ++i) {
      const float sum = LanesSum(row_[i].sum);
      if (LaneIndex() == 0) rows_[WarpRow(i)].sum = {row_[i].maximum, sum};
    }
    Barrier();
  }
  template <class Store>
  __device__ __forceinline__ void WriteValues(const float (&factor)[2], Store store) {
    values_.Write(factor, store);
  }
  template <class Store>
  __device__ __forceinline__ void WriteFours(const float (&factor)[2], Store store) const {
    values_.WriteFours(factor, store);
  }
  // Row i (0 or 1) of the lane's values, and its sum.
  __device__ __forceinline__ int Row(int i) const { return LaneIndex() / 4 + 8 * i; }
  __device__ __forceinline__ RowSum Sum(int i) const { return rows_[Row(i)].sum; }
  // True in one lane of those that share a row.
  __device__ __forceinline__ bool SpeaksForRow() const {
    return warp_ == 0 && LaneIndex() % 4 == 0;
  }

 private:
  // What all threads know of a row: what to multiply its values with, and at the end its sum.
  struct RowShare {
    float factor;
    RowSum sum;
    float unused;
  };

  // Row i of those that the warp weighs.
  __device__ __forceinline__ int WarpRow(int i) const { return warp_ * T::kWarpRows + i; }

  __device__ __forceinline__ float* ScoreRow(int step_warp, int row) const {
    return scores_ + (step_warp * T::kRows + row) * T::kScoreStride;
  }

  __device__ __forceinline__ void StoreScores(const TileSlots<T>& slots) const {
    const int key = key_warp_ * T::kWarpKeys, g = LaneIndex() / 4, t = LaneIndex() % 4;
    const KeyScores<T> scores(query_, slots, key, step_warp_ * T::kWarpSteps);
#pragma unroll
    for (int n = 0; n < T::kKeyTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        *reinterpret_cast<float2*>(ScoreRow(step_warp_, g + 8 * i) + key + 8 * n + 2 * t) =
            float2{scores.s[n][2 * i], scores.s[n][2 * i + 1]};
      }
    }
  }

  __device__ __forceinline__ void WeighRow(int i, int first) {
    const int row = WarpRow(i), lane = LaneIndex();
    constexpr int kPerLane = T::kKeys / kWarp;
    float s[kPerLane], maximum = -kInfinity;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      s[j] = 0.0f;
#pragma unroll
      for (int w = 0; w < T::kStepWarps; ++w) s[j] += ScoreRow(w, row)[lane + j * kWarp];
      s[j] *= scale_[i];
      if (score_.cap > 0) s[j] = score_.Cap(s[j]);
      const int key = first + lane + j * kWarp;
      if (key < seen_[i].begin || key >= seen_[i].end) s[j] = -kInfinity;
      maximum = fmaxf(maximum, s[j]);
    }
    maximum = fmaxf(row_[i].maximum, ceilf(LanesMax(maximum)));
    const float base = maximum == -kInfinity ? 0.0f : maximum;
    const float factor = Exp2(row_[i].maximum - base);
    row_[i] = {maximum, row_[i].sum * factor};
    u16* weights = reinterpret_cast<u16*>(shared_ + T::kWeightsAt + row * T::kWeightStride);
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const float weight = Exp2(s[j] - base);
      row_[i].sum += weight;
      weights[lane + j * kWarp] = F32ToF16(weight);
    }
    if (lane == 0) rows_[row].factor = factor;
  }

  const AttentionParams& p_;
  u8* shared_;
  float* scores_;  // [kStepWarps, kRows, kScoreStride]
  RowShare* rows_;
  int warp_, step_warp_, key_warp_;
  ScoreScale score_;
  QueryOperand<T> query_;
  KeySpan seen_[T::kWarpRows];
  float scale_[T::kWarpRows];
  RowSum row_[T::kWarpRows];  // of the keys of the lane
  ValueSums<T> values_;
};

}  // namespace tandem::cuda
