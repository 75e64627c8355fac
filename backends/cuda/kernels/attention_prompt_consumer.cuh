// The part of the prompt attention that multiplies.
#pragma once

#include "attention_prompt_queries.cuh"
#include "attention_prompt_shape.cuh"
#include "attention_prompt_softmax.cuh"
#include "attention_prompt_work.cuh"
#include "base.cuh"
#include "params/attention_prompt.h"
#include "ptx/mbarrier.cuh"
#include "ptx/wgmma_shapes.cuh"

namespace tandem::cuda {

// s = q k^T: not waited for.
template <class Shape>
__device__ __forceinline__ void IssueScores(float (&s)[Shape::kKeyTile / 2], u64 q, u64 k) {
  WgmmaFence();
#pragma unroll
  for (int i = 0; i < Shape::kDk / 16; ++i) {
    const u32 slice = i / 4, step = i % 4 * 32;
    Wgmma<Shape::kKeyTile>::template Shared<typename Shape::Type, false>(
        s, WgmmaAdvance(q, slice * Shape::kRows * 128 + step),
        WgmmaAdvance(k, slice * Shape::kSliceBytes + step), i > 0);
  }
  WgmmaCommit();
}

// o += p v: not waited for.
template <class Shape>
__device__ __forceinline__ void IssueValues(float (&o)[Shape::kDv / 2],
                                            const u32 (&p)[Shape::kKeyTile / 16][4], u64 v) {
  WgmmaFence();
#pragma unroll
  for (int i = 0; i < Shape::kKeyTile / 16; ++i) {
    Wgmma<Shape::kDv>::template Registers<typename Shape::Type, true>(o, p[i],
                                                                      WgmmaAdvance(v, i * 2048));
  }
  WgmmaCommit();
}

template <class T, int N>
__device__ __forceinline__ void PackWeights(const float (&s)[N], u32 (&p)[N / 8][4]) {
#pragma unroll
  for (int i = 0; i < N / 2; ++i) p[i / 4][i % 4] = PackPair<T>(s[2 * i], s[2 * i + 1]);
}

// Has sums, which are never negative, taken before what follows: the assembler would put a wait for
// products ahead of the exponents that are to be taken while these run.
__device__ __forceinline__ void KeepBefore(float a, float b) {
  if (a < 0.0f || b < 0.0f) asm volatile("nanosleep.u32 0;" ::: "memory");
}

// A consumer warpgroup.
template <class Shape>
struct PromptConsumer {
  static constexpr int kKeyTile = Shape::kKeyTile;
  using Type = typename Shape::Type;
  using Queries = typename Shape::Queries;

  const AttentionPromptParams& p;
  PromptShared<Shape>& shared;
  const int group;  // which consumer
  const int row;    // this thread's first row of the tile; the second is 8 below

  PipelineState<Shape::kStages> k_state = {}, v_state = {};
  PipelineState<2> work_state = {};
  const PromptWork* work;  // in shared memory
  i32 key_end, position;   // of it
  float o[Shape::kDv / 2];
  float s[kKeyTile / 2];
  u32 weights[kKeyTile / 16][4];
  SoftmaxRows softmax;
  float cap_factor[2];
  float4 queries[Shape::kQueryPasses][Queries::kVectors];

  __device__ __forceinline__ PromptConsumer(const AttentionPromptParams& p,
                                            PromptShared<Shape>& shared, int group)
      : p(p), shared(shared), group(group), row(FirstRow(group) + LaneIndex() / 4) {}

  // Of this thread's warp.
  static __device__ __forceinline__ int FirstRow(int group) {
    return group * 64 + static_cast<int>(threadIdx.x) % 128 / 32 * 16;
  }

  __device__ __forceinline__ void GroupBarrier() { NamedBarrierSync(1 + group, 128); }

  __device__ __forceinline__ void Release(u64* empty) {
    if (threadIdx.x % 128 == 0) MbarrierArrive(empty);
  }

  // Turns of the warpgroups at the tensor cores: one multiplies while the other takes exponents.
  __device__ __forceinline__ void TakeTurn() {
    if constexpr (Shape::kTurns) NamedBarrierSync(8 + group, 256);
  }
  __device__ __forceinline__ void GiveTurn() {
    if constexpr (Shape::kTurns) NamedBarrierArrive(8 + 1 - group, 256);
  }

  __device__ __forceinline__ const PromptWork* NextWork() {
    MbarrierWait(&shared.work_full[work_state.stage], work_state.parity);
    const PromptWork* next = &shared.work[work_state.stage];
    work_state.Advance();
    return next;
  }

  __device__ __forceinline__ float ScoreScale() const {
    return Shape::kSoftCap ? p.scale / p.soft_cap : p.scale * kLog2E;
  }

  static constexpr int kPasses = Shape::kQueryPasses;
  static_assert(Queries::kPasses % kPasses == 0);

  // A few passes of the next queries, into registers and from there to shared memory, which must be
  // free of the last.
  __device__ __forceinline__ void LoadQueries(const PromptWork& next, int pass) {
    Queries::Load(p, next, FirstRow(group) + pass * Queries::kPassRows, queries);
  }
  __device__ __forceinline__ void StoreQueries(int pass) {
    Queries::Store(queries, FirstRow(group) + pass * Queries::kPassRows, ScoreScale(), shared.q,
                   shared.factors);
  }

  // All but the first passes, which were loaded before.
  __device__ __forceinline__ void BringQueries(const PromptWork& next) {
    StoreQueries(0);
#pragma unroll
    for (int pass = kPasses; pass < Queries::kPasses; pass += kPasses) {
      LoadQueries(next, pass);
      StoreQueries(pass);
    }
    FenceAsyncProxy();
    GroupBarrier();
  }

  // o and the softmax as an earlier call left them, or empty.
  __device__ __forceinline__ void Begin() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float factor = shared.factors[row + 8 * r];
      cap_factor[r] = factor;
      softmax.factor[r] = Shape::kSoftCap ? 1.0f : Max(factor, 1e-37f);
    }
    softmax.Clear();
#pragma unroll
    for (int i = 0; i < Shape::kDv / 2; ++i) o[i] = 0;
    if (!work->first) LoadState();
    key_end = work->end;
    position = work->position;
  }

  __device__ __forceinline__ void LoadState() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (row + 8 * r >= work->rows) continue;
      const float* state = StateRow(r);
      softmax.sum[r] = state[LaneIndex() % 4];
      softmax.max[r] = state[4];
      const float* from = OutRow(r) + LaneIndex() % 4 * 2;
#pragma unroll
      for (int i = 2 * r; i < Shape::kDv / 2; i += 4) {
        const float2 pair = *reinterpret_cast<const float2*>(from + i / 4 * 8);
        o[i] = pair.x;
        o[i + 1] = pair.y;
      }
    }
  }

  __device__ __forceinline__ float* StateRow(int r) const {
    return p.state + (static_cast<i64>(work->token + row + 8 * r) * p.heads + work->head) * 8;
  }
  __device__ __forceinline__ float* OutRow(int r) const {
    return p.out + (work->token + row + 8 * r) * p.out_token + work->head * p.out_head;
  }

  __device__ __forceinline__ void Finish() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const bool inside = row + 8 * r < work->rows;
      const float factor = work->last ? FinishRow(r, inside) : 1.0f;
      if (!work->last && inside) StoreState(r);
      StoreRow(r, factor, inside);
    }
    GroupBarrier();
    Release(&shared.work_empty[work - shared.work]);
  }

  __device__ __forceinline__ void StoreState(int r) {
    StateRow(r)[LaneIndex() % 4] = softmax.sum[r];
    if (LaneIndex() % 4 == 0) StateRow(r)[4] = softmax.max[r];
  }

  __device__ __forceinline__ float FinishRow(int r, bool inside) {
    const bool sink = p.sinks != nullptr;
    const RowResult result = FinishSoftmax(softmax.max[r], LanesSum<4>(softmax.sum[r]), sink,
                                           sink ? p.sinks[work->head] : 0.0f);
    if (p.lse != nullptr && inside && LaneIndex() % 4 == 0) {
      p.lse[(work->token + row + 8 * r) * p.lse_token + work->head] = result.lse;
    }
    return result.factor;
  }

  __device__ __forceinline__ void StoreRow(int r, float factor, bool inside) {
    if (!inside) return;
    float* to = OutRow(r) + LaneIndex() % 4 * 2;
#pragma unroll
    for (int i = 2 * r; i < Shape::kDv / 2; i += 4) {
      *reinterpret_cast<float2*>(to + i / 4 * 8) = {o[i] * factor, o[i + 1] * factor};
    }
  }

  // Products of this tile's scores become weights.
  __device__ __forceinline__ void Weigh(i32 key, float (&shrink)[2]) {
    if constexpr (Shape::kSoftCap) CapScores();
    const i32 first = position + group * 64;  // positions of this warpgroup's rows
    const i32 high = p.causal ? Min(first + 1, key_end) : key_end;
    const bool windowed = p.window > 0 && key <= first + 63 - p.window;
    if (key + kKeyTile > high || windowed) MaskScores(s, Visible(key));
    softmax.Take(s, shrink);
  }

  __device__ __forceinline__ VisibleKeys Visible(i32 key) const {
    VisibleKeys keys;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const i32 own = position + row + 8 * r;
      keys.high[r] = (p.causal ? Min(own + 1, key_end) : key_end) - key;
      keys.low[r] = p.window > 0 ? own - p.window + 1 - key : 0;
    }
    return keys;
  }

  __device__ __forceinline__ void CapScores() {
#pragma unroll
    for (int i = 0; i < kKeyTile / 2; ++i) {
      s[i] = Tanh(s[i] * cap_factor[i / 2 % 2]) * (p.soft_cap * kLog2E);
    }
  }

  // The products of the next tile of keys begin.
  __device__ __forceinline__ void BeginScores() {
    MbarrierWait(&shared.k_full[k_state.stage], k_state.parity);
    const u32 q = SharedAddress(shared.q) + group * 8192;
    const u32 k = SharedAddress(shared.k[k_state.stage]);
    IssueScores<Shape>(s, WgmmaDescriptor(q, 16, 1024), WgmmaDescriptor(k, 16, 1024));
  }

  // Waits for them. `Running` younger products may go on.
  template <int Running>
  __device__ __forceinline__ void EndScores() {
    WgmmaWait<Running>();
    WgmmaPin(s);
    Release(&shared.k_empty[k_state.stage]);
    k_state.Advance();
  }

  __device__ __forceinline__ void BeginValues(i32 key) {
    MbarrierWait(&shared.v_full[v_state.stage], v_state.parity);
    const i32 valid = Min(work->length, p.key_end) - key;
    if (valid < kKeyTile) ClearValues(valid);
    const u32 v = SharedAddress(shared.v[v_state.stage]);
    IssueValues<Shape>(o, weights, WgmmaDescriptor(v, Shape::kSliceBytes, 1024));
  }

  __device__ __forceinline__ void EndValues() {
    WgmmaWait<0>();
    WgmmaPin(o);
    Release(&shared.v_empty[v_state.stage]);
    v_state.Advance();
  }

  // Rows of values that no key has may hold anything, NaN too; weight zero would keep that.
  __device__ __forceinline__ void ClearValues(i32 valid) {
#pragma unroll 1
    for (int i = threadIdx.x % 128; i < (kKeyTile - valid) * Shape::kVSlices * 8; i += 128) {
      const int line = i / 8;
      const int slice = line % Shape::kVSlices, key_row = valid + line / Shape::kVSlices;
      *reinterpret_cast<uint4*>(shared.v[v_state.stage] + slice * Shape::kSliceBytes +
                                key_row * 128 + i % 8 * 16) = uint4{0, 0, 0, 0};
    }
    FenceAsyncProxy();
    GroupBarrier();
  }

  // The scores of the first tile, which have begun, become weights.
  __device__ __forceinline__ void WeighFirst() {
    float shrink[2];
    EndScores<0>();
    Weigh(work->begin, shrink);
    if (!work->first) ShrinkRows(o, shrink);
    PackWeights<Type>(s, weights);
  }

  // The other tiles, each with the values of the tile before. The weights of the last are left.
  __device__ __forceinline__ i32 MainLoop() {
    float shrink[2];
    i32 key = work->begin + kKeyTile;
    for (; key < key_end; key += kKeyTile) {
      TakeTurn();
      BeginScores();
      BeginValues(key - kKeyTile);
      GiveTurn();
      EndScores<1>();
      Weigh(key, shrink);
      KeepBefore(softmax.sum[0], softmax.sum[1]);
      EndValues();
      WgmmaPin(s);
      ShrinkRows(o, shrink);
      PackWeights<Type>(s, weights);
    }
    return key - kKeyTile;
  }

  // While the last values of one piece of work are multiplied, the queries of the next are brought;
  // while its first scores are, the results of the last are stored.
  __device__ __forceinline__ void Run() {
    if (Shape::kTurns && group == 1) NamedBarrierArrive(8, 256);
    work = NextWork();
    if (work->rows == 0) return;
    LoadQueries(*work, 0);
    BringQueries(*work);
    BeginScores();
    Begin();
    WeighFirst();
    for (;;) {
      const i32 last = MainLoop();
      const PromptWork* next = NextWork();
      if (next->rows == 0) {
        BeginValues(last);
        break;
      }
      BeginValues(last);
      LoadQueries(*next, 0);
      GroupBarrier();  // nobody reads the last queries any more
      BringQueries(*next);
      EndValues();
      BeginScores();
      Finish();
      work = next;
      Begin();
      WeighFirst();
    }
    EndValues();
    Finish();
  }
};

}  // namespace tandem::cuda
