// Attention of prompts on Hopper, after FlashAttention-3 (Shah et al. 2024, arXiv 2407.08608): one
// warpgroup brings keys and values by TMA, the others multiply; the softmax of a tile of keys runs
// while the tensor cores work on the next tile's scores and on the last tile's values.
//
// Block: 128 (1 + Consumers) threads, one block to an SM. Grid: any; blocks take work in turn.
#pragma once

#include "attention_prompt_queries.cuh"
#include "attention_prompt_softmax.cuh"
#include "attention_prompt_work.cuh"
#include "base.cuh"
#include "params/attention.h"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"
#include "ptx/wgmma.cuh"

namespace tandem::cuda {

// T: f16 or bf16, the type of keys and values. Each of the Consumers warpgroups has 64 rows.
template <class T, int Dk, int Dv, int Consumers, int KeyTile, int Stages, bool SoftCap>
struct PromptShape {
  using Type = T;
  static constexpr int kDk = Dk, kDv = Dv;
  static constexpr int kConsumers = Consumers;
  static constexpr int kRows = 64 * Consumers;
  static constexpr int kKeyTile = KeyTile;
  static constexpr int kStages = Stages;
  static constexpr bool kSoftCap = SoftCap;

  static constexpr int kPage = 64;  // rows and columns of a box
  static constexpr int kBoxes = KeyTile / kPage;
  static constexpr int kKSlices = CeilDiv(Dk, 64), kVSlices = CeilDiv(Dv, 64);
  static constexpr int kSliceBytes = KeyTile * 128;
  static constexpr int kQBytes = kKSlices * kRows * 128;
  static constexpr int kKBytes = kKSlices * kSliceBytes;
  static constexpr int kVBytes = kVSlices * kSliceBytes;

  static constexpr int kThreads = 128 * (1 + Consumers);
  static constexpr int kProducerRegisters = Consumers == 2 ? 24 : 32;
  static constexpr int kConsumerRegisters = Consumers == 2 ? 240 : 160;

  static_assert(KeyTile % kPage == 0 && Dk % 16 == 0 && Dv % 16 == 0);
};

template <class Shape>
struct PromptShared {
  u8 q[Shape::kQBytes];
  u8 k[Shape::kStages][Shape::kKBytes];
  u8 v[Shape::kStages][Shape::kVBytes];
  float factors[Shape::kRows];
  u64 k_full[Shape::kStages], k_empty[Shape::kStages];
  u64 v_full[Shape::kStages], v_empty[Shape::kStages];
};

inline constexpr int kSwizzleAlignment = 1024;

template <class Shape>
inline constexpr int kPromptSharedBytes = sizeof(PromptShared<Shape>) + kSwizzleAlignment;

template <class Shape>
__device__ __forceinline__ PromptShared<Shape>& GetPromptShared() {
  extern __shared__ u8 dynamic_shared[];
  const u32 over = SharedAddress(dynamic_shared) % kSwizzleAlignment;
  return *reinterpret_cast<PromptShared<Shape>*>(
      dynamic_shared + (over == 0 ? 0 : kSwizzleAlignment - over));
}

template <class Shape>
__device__ void InitBarriers(PromptShared<Shape>& shared) {
  for (int i = 0; i < Shape::kStages; ++i) {
    MbarrierInit(&shared.k_full[i], 1);
    MbarrierInit(&shared.v_full[i], 1);
    MbarrierInit(&shared.k_empty[i], Shape::kConsumers);
    MbarrierInit(&shared.v_empty[i], Shape::kConsumers);
  }
  MbarrierInitFence();
}

// The row, in the matrices of keys and values, of 64 keys. Pages beyond the last one repeat it.
struct KeyRows {
  const AttentionPromptParams& p;
  const PromptWork& work;
  i32 cached = 0;
  i32 cached_first = -kWarp;

  // By a whole warp.
  __device__ __forceinline__ i32 Find(i32 page) {
    if (p.page_table == nullptr) {
      return work.sequence * p.rows_per_sequence + page * 64 - p.key_begin;
    }
    if (page >= cached_first + kWarp || cached_first < 0) {
      cached_first = page;
      const i32 last = Max(work.length - 1, 0) / 64;
      cached = p.page_table[static_cast<i64>(work.sequence) * p.page_stride +
                            Min(page + LaneIndex(), last)];
    }
    return Shuffle(cached, page - cached_first) * 64;
  }
};

// Brings Boxes x Slices boxes: slice after slice, in it the rows of all boxes.
template <int Boxes, int Slices>
__device__ __forceinline__ void LoadBoxes(u8* to, const TensorMap& map, u64* full, i32 column,
                                          const i32 (&rows)[Boxes]) {
#pragma unroll
  for (int slice = 0; slice < Slices; ++slice) {
#pragma unroll
    for (int box = 0; box < Boxes; ++box) {
      TmaLoad2D(to + (slice * Boxes + box) * 8192, &map, full, column + slice * 64, rows[box]);
    }
  }
}

// The producer's part of one piece of work, by one warp.
template <class Shape>
__device__ void Produce(const AttentionPromptParams& p, const PromptWork& work,
                        PromptShared<Shape>& shared, PipelineState<Shape::kStages>& state) {
  const i32 kv_head = work.head / p.heads_per_kv;
  KeyRows key_rows{p, work};
  for (i32 key = work.begin; key < work.end; key += Shape::kKeyTile) {
    i32 rows[Shape::kBoxes];
#pragma unroll
    for (int i = 0; i < Shape::kBoxes; ++i) rows[i] = key_rows.Find(key / 64 + i);
    if (LaneIndex() == 0) {
      MbarrierWait(&shared.k_empty[state.stage], state.parity ^ 1);
      MbarrierArriveExpect(&shared.k_full[state.stage], Shape::kKBytes);
      LoadBoxes<Shape::kBoxes, Shape::kKSlices>(shared.k[state.stage], p.k_map,
                                                &shared.k_full[state.stage], kv_head * Shape::kDk,
                                                rows);
      MbarrierWait(&shared.v_empty[state.stage], state.parity ^ 1);
      MbarrierArriveExpect(&shared.v_full[state.stage], Shape::kVBytes);
      LoadBoxes<Shape::kBoxes, Shape::kVSlices>(shared.v[state.stage], p.v_map,
                                                &shared.v_full[state.stage], kv_head * Shape::kDv,
                                                rows);
    }
    __syncwarp();
    state.Advance();
  }
}

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

// A consumer warpgroup at one piece of work.
template <class Shape>
struct PromptConsumer {
  static constexpr int kKeyTile = Shape::kKeyTile;
  using State = PipelineState<Shape::kStages>;

  const AttentionPromptParams& p;
  const PromptWork& work;
  PromptShared<Shape>& shared;
  const int group;  // which consumer
  const int row;    // this thread's first row of the tile; the second is 8 below

  float o[Shape::kDv / 2];
  float s[kKeyTile / 2];
  u32 weights[kKeyTile / 16][4];
  SoftmaxRows softmax;

  __device__ __forceinline__ PromptConsumer(const AttentionPromptParams& p, const PromptWork& work,
                                            PromptShared<Shape>& shared, int group)
      : p(p),
        work(work),
        shared(shared),
        group(group),
        row(group * 64 + static_cast<int>(threadIdx.x) % 128 / 32 * 16 + LaneIndex() / 4) {}

  __device__ __forceinline__ void GroupBarrier() { NamedBarrierSync(1 + group, 128); }

  __device__ __forceinline__ float ScoreScale() const {
    return Shape::kSoftCap ? p.scale / p.soft_cap : p.scale * kLog2E;
  }

  __device__ __forceinline__ void LoadQueries() {
    GroupBarrier();  // the last work's products have read their queries
    const int first = group * 64 + static_cast<int>(threadIdx.x) % 128 / 32 * 16;
    LoadQueryRows<typename Shape::Type, Shape::kDk, Shape::kRows>(p, work, first, ScoreScale(),
                                                                  shared.q, shared.factors);
    FenceAsyncProxy();
    GroupBarrier();
    for (int r = 0; r < 2; ++r) {
      softmax.factor[r] = Max(shared.factors[row + 8 * r], 1e-37f);
    }
  }

  // o and the softmax as an earlier call left them, or empty.
  __device__ __forceinline__ void Begin() {
    softmax.Clear();
#pragma unroll
    for (int i = 0; i < Shape::kDv / 2; ++i) o[i] = 0;
    if (work.first) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (row + 8 * r >= work.rows) continue;
      const float* state = StateRow(r);
      softmax.sum[r] = state[LaneIndex() % 4];
      softmax.max[r] = state[4];
      const float* from = OutRow(r);
#pragma unroll
      for (int i = 2 * r; i < Shape::kDv / 2; i += 4) {
        const float2 pair = *reinterpret_cast<const float2*>(from + i / 4 * 8);
        o[i] = pair.x;
        o[i + 1] = pair.y;
      }
    }
  }

  __device__ __forceinline__ float* StateRow(int r) const {
    return p.state + (static_cast<i64>(work.token + row + 8 * r) * p.heads + work.head) * 8;
  }
  __device__ __forceinline__ float* OutRow(int r) const {
    return p.out + (work.token + row + 8 * r) * p.out_token + work.head * p.out_head +
           LaneIndex() % 4 * 2;
  }

  __device__ __forceinline__ void Store() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float factor = 1.0f;
      const float sum = LanesSum<4>(softmax.sum[r]);
      if (row + 8 * r >= work.rows) continue;
      if (work.last) {
        const bool sink = p.sinks != nullptr;
        const RowResult result =
            FinishRow(softmax.max[r], sum, sink, sink ? p.sinks[work.head] : 0.0f);
        factor = result.factor;
        if (p.lse != nullptr && LaneIndex() % 4 == 0) {
          p.lse[(work.token + row + 8 * r) * p.lse_token + work.head] = result.lse;
        }
      } else {
        StateRow(r)[LaneIndex() % 4] = softmax.sum[r];
        if (LaneIndex() % 4 == 0) StateRow(r)[4] = softmax.max[r];
      }
      float* to = OutRow(r);
#pragma unroll
      for (int i = 2 * r; i < Shape::kDv / 2; i += 4) {
        *reinterpret_cast<float2*>(to + i / 4 * 8) = {o[i] * factor, o[i + 1] * factor};
      }
    }
  }

  // Products of this tile's scores become weights.
  __device__ __forceinline__ void Weigh(i32 key, float (&shrink)[2]) {
    if constexpr (Shape::kSoftCap) CapScores();
    const i32 first = work.position + group * 64;  // positions of this warpgroup's rows
    const i32 high = p.causal ? Min(first + 1, work.end) : work.end;
    const bool windowed = p.window > 0 && key <= first + 63 - p.window;
    if (key + kKeyTile > high || windowed) MaskScores(s, Visible(key));
    softmax.Take(s, shrink);
  }

  __device__ __forceinline__ VisibleKeys Visible(i32 key) const {
    VisibleKeys keys;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const i32 position = work.position + row + 8 * r;
      keys.high[r] = (p.causal ? Min(position + 1, work.end) : work.end) - key;
      keys.low[r] = p.window > 0 ? position - p.window + 1 - key : 0;
    }
    return keys;
  }

  __device__ __forceinline__ void CapScores() {
#pragma unroll
    for (int i = 0; i < kKeyTile / 2; ++i) {
      s[i] = Tanh(s[i] * softmax.factor[i / 2 % 2]) * (p.soft_cap * kLog2E);
    }
  }

  __device__ __forceinline__ u64 QDescriptor() const {
    return WgmmaDescriptor(SharedAddress(shared.q) + group * 8192, 16, 1024);
  }
  __device__ __forceinline__ u64 KDescriptor(int stage) const {
    return WgmmaDescriptor(SharedAddress(shared.k[stage]), 16, 1024);
  }
  __device__ __forceinline__ u64 VDescriptor(int stage) const {
    return WgmmaDescriptor(SharedAddress(shared.v[stage]), Shape::kSliceBytes, 1024);
  }

  __device__ __forceinline__ void Release(u64* empty) {
    if (threadIdx.x % 128 == 0) MbarrierArrive(empty);
  }

  // Rows of values that no key has may hold anything, NaN too; weight zero would keep that.
  __device__ __forceinline__ void WaitValues(i32 key, const State& state) {
    MbarrierWait(&shared.v_full[state.stage], state.parity);
    const i32 valid = Min(work.length, p.key_end) - key;
    if (valid >= kKeyTile) return;
    for (int i = threadIdx.x % 128; i < (kKeyTile - valid) * Shape::kVSlices * 8; i += 128) {
      const int line = i / 8;
      const int slice = line % Shape::kVSlices, key_row = valid + line / Shape::kVSlices;
      *reinterpret_cast<uint4*>(shared.v[state.stage] + slice * Shape::kSliceBytes +
                                key_row * 128 + i % 8 * 16) = uint4{0, 0, 0, 0};
    }
    FenceAsyncProxy();
    GroupBarrier();
  }

  __device__ __forceinline__ void Run(State& k_state, State& v_state) {
    LoadQueries();
    Begin();
    float shrink[2];
    const u64 q = QDescriptor();
    i32 key = work.begin;
    if (key < work.end) {
      MbarrierWait(&shared.k_full[k_state.stage], k_state.parity);
      IssueScores<Shape>(s, q, KDescriptor(k_state.stage));
      WgmmaWait<0>();
      WgmmaPin(s);
      Release(&shared.k_empty[k_state.stage]);
      k_state.Advance();
      Weigh(key, shrink);
      ShrinkRows(o, shrink);
      PackWeights<typename Shape::Type>(s, weights);
      for (key += kKeyTile; key < work.end; key += kKeyTile) {
        MbarrierWait(&shared.k_full[k_state.stage], k_state.parity);
        IssueScores<Shape>(s, q, KDescriptor(k_state.stage));
        WaitValues(key - kKeyTile, v_state);
        IssueValues<Shape>(o, weights, VDescriptor(v_state.stage));
        WgmmaWait<1>();
        WgmmaPin(s);
        Release(&shared.k_empty[k_state.stage]);
        k_state.Advance();
        Weigh(key, shrink);
        WgmmaWait<0>();
        WgmmaPin(o);
        WgmmaPin(s);
        Release(&shared.v_empty[v_state.stage]);
        v_state.Advance();
        ShrinkRows(o, shrink);
        PackWeights<typename Shape::Type>(s, weights);
      }
      WaitValues(key - kKeyTile, v_state);
      IssueValues<Shape>(o, weights, VDescriptor(v_state.stage));
      WgmmaWait<0>();
      WgmmaPin(o);
      Release(&shared.v_empty[v_state.stage]);
      v_state.Advance();
    }
    Store();
  }
};

template <class T, int Dk, int Dv, int Consumers, int KeyTile, int Stages, bool SoftCap>
__global__ void __launch_bounds__(128 * (1 + Consumers), 1)
    AttentionPrompt(const __grid_constant__ AttentionPromptParams p) {
  using Shape = PromptShape<T, Dk, Dv, Consumers, KeyTile, Stages, SoftCap>;
  PromptShared<Shape>& shared = GetPromptShared<Shape>();
  const PromptTotals totals = SumSequences<Shape::kRows>(p);
  const i32 items = totals.tiles * p.heads;
  if (static_cast<i32>(blockIdx.x) >= items) return;
  if (threadIdx.x == 0) InitBarriers(shared);
  __syncthreads();

  const int warp = WarpIndex();
  constexpr int kRowBytes = (Dk + Dv) * 2;
  if (warp < 4) {
    RegistersShrink<Shape::kProducerRegisters>();
    if (warp != 0) return;
    if (LaneIndex() == 0) {
      TmaPrefetchDescriptor(&p.k_map);
      TmaPrefetchDescriptor(&p.v_map);
    }
    PipelineState<Stages> state;
    for (i32 i = blockIdx.x; i < items; i += gridDim.x) {
      const PromptWork work = FindWork<Shape::kRows, KeyTile, kRowBytes>(p, totals, i);
      if (!work.empty()) Produce<Shape>(p, work, shared, state);
    }
  } else {
    RegistersGrow<Shape::kConsumerRegisters>();
    PipelineState<Stages> k_state, v_state;
    for (i32 i = blockIdx.x; i < items; i += gridDim.x) {
      const PromptWork work = FindWork<Shape::kRows, KeyTile, kRowBytes>(p, totals, i);
      if (work.empty()) continue;
      PromptConsumer<Shape>(p, work, shared, warp / 4 - 1).Run(k_state, v_state);
    }
  }
}

}  // namespace tandem::cuda
