// Attention of prompts on Hopper, after FlashAttention-3 (Shah et al. 2024, arXiv 2407.08608): one
// warpgroup brings keys and values by TMA, the others multiply; the softmax of a tile of keys runs
// while the tensor cores work on the next tile's scores and on the last tile's values.
//
// Block: 128 (1 + Consumers) threads, one block to an SM. Grid: any; blocks take work as they come.
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
template <class T, int Dk, int Dv, int Consumers, int KeyTile, int Stages, bool SoftCap,
          int Options>
struct PromptShape {
  using Type = T;
  static constexpr int kDk = Dk, kDv = Dv;
  static constexpr int kConsumers = Consumers;
  static constexpr int kRows = 64 * Consumers;
  static constexpr int kKeyTile = KeyTile;
  static constexpr int kStages = Stages;
  static constexpr bool kSoftCap = SoftCap;
  static constexpr bool kPingPong = Options & 2;
  static constexpr bool kLazy = Options & 4;

  static constexpr int kPage = 64;  // rows and columns of a box
  static constexpr int kBoxes = KeyTile / kPage;
  static constexpr int kKSlices = CeilDiv(Dk, 64), kVSlices = CeilDiv(Dv, 64);
  static constexpr int kSliceBytes = KeyTile * 128;
  static constexpr int kQBytes = kKSlices * kRows * 128;
  static constexpr int kKBytes = kKSlices * kSliceBytes;
  static constexpr int kVBytes = kVSlices * kSliceBytes;

  static constexpr int kThreads = 128 * (1 + Consumers);
  static constexpr int kProducerRegisters = Consumers == 2 ? 40 : 32;
  static constexpr int kConsumerRegisters = Consumers == 2 ? 232 : 160;

  using Queries = QueryLoader<T, Dk, kRows>;
  // Passes of the next queries that fit in registers beside the output and a tile of weights.
  static constexpr int kQueryRegisters = kConsumerRegisters - 40 - Dv / 2 - KeyTile / 4;
  static constexpr int kQueryPasses =
      Max(1, PowerOfTwoBelow(Min(Queries::kPasses, kQueryRegisters / (4 * Queries::kVectors))));

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
  u64 work_full[2], work_empty[2], work_wanted;
  PromptWork work[2];
};

inline constexpr int kSwizzleAlignment = 1024;

template <class Shape>
inline constexpr int kPromptSharedBytes = sizeof(PromptShared<Shape>) + kSwizzleAlignment;

template <class Shape>
__device__ __forceinline__ PromptShared<Shape>& GetPromptShared() {
  extern __shared__ u8 dynamic_shared[];
  const u32 over = SharedAddress(dynamic_shared) % kSwizzleAlignment;
  return *reinterpret_cast<PromptShared<Shape>*>(dynamic_shared +
                                                 (over == 0 ? 0 : kSwizzleAlignment - over));
}

template <class Shape>
__device__ void InitBarriers(PromptShared<Shape>& shared) {
  for (int i = 0; i < Shape::kStages; ++i) {
    MbarrierInit(&shared.k_full[i], 1);
    MbarrierInit(&shared.v_full[i], 1);
    MbarrierInit(&shared.k_empty[i], Shape::kConsumers);
    MbarrierInit(&shared.v_empty[i], Shape::kConsumers);
  }
  for (int i = 0; i < 2; ++i) {
    MbarrierInit(&shared.work_full[i], 1);
    MbarrierInit(&shared.work_empty[i], Shape::kConsumers + 1);
  }
  MbarrierInit(&shared.work_wanted, 1);
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
    if constexpr (Shape::kPingPong) NamedBarrierSync(8 + group, 256);
  }
  __device__ __forceinline__ void GiveTurn() {
    if constexpr (Shape::kPingPong) NamedBarrierArrive(8 + 1 - group, 256);
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

  // Neighbouring lanes exchange halves of two pieces of 8 columns: 16 bytes to a lane.
  __device__ __forceinline__ void StoreRow(int r, float factor, bool inside) {
    const bool odd = LaneIndex() % 2;
    float* to = OutRow(r) + (odd ? 8 : 0) + LaneIndex() % 4 / 2 * 4;
#pragma unroll
    for (int i = 2 * r; i < Shape::kDv / 2; i += 8) {
      const float a = o[i] * factor, b = o[i + 1] * factor;
      const float c = o[i + 4] * factor, d = o[i + 5] * factor;
      const float x = ShuffleXor(odd ? a : c, 1), y = ShuffleXor(odd ? b : d, 1);
      const float4 four = odd ? float4{x, y, c, d} : float4{a, b, x, y};
      if (inside) *reinterpret_cast<float4*>(to + i / 4 * 8) = four;
    }
  }

  // Products of this tile's scores become weights.
  __device__ __forceinline__ void Weigh(i32 key, float (&shrink)[2]) {
    if constexpr (Shape::kSoftCap) CapScores();
    const i32 first = position + group * 64;  // positions of this warpgroup's rows
    const i32 high = p.causal ? Min(first + 1, key_end) : key_end;
    const bool windowed = p.window > 0 && key <= first + 63 - p.window;
    if (key + kKeyTile > high || windowed) MaskScores(s, Visible(key));
    softmax.template Take<Shape::kLazy>(s, shrink);
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

  __device__ __forceinline__ void Shrink(const float (&shrink)[2]) {
    if (Shape::kLazy && !__any_sync(kAllLanes, shrink[0] != 1.0f || shrink[1] != 1.0f)) return;
    ShrinkRows(o, shrink);
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
      EndValues();
      WgmmaPin(s);
      Shrink(shrink);
      PackWeights<Type>(s, weights);
    }
    return key - kKeyTile;
  }

  // While the last values of one piece of work are multiplied, the queries of the next are brought;
  // while its first scores are, the results of the last are stored.
  __device__ __forceinline__ void Run() {
    if (Shape::kPingPong && group == 1) NamedBarrierArrive(8, 256);
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
      LoadQueries(*next, 0);
      BeginValues(last);
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

// The warp that finds work for the others.
template <class Shape>
struct PromptScheduler {
  const AttentionPromptParams& p;
  PromptShared<Shape>& shared;
  PromptTotals totals;
  PipelineState<2> state = {};
  PromptWork next = {};

  __device__ __forceinline__ PromptScheduler(const AttentionPromptParams& p,
                                             PromptShared<Shape>& shared)
      : p(p), shared(shared), totals(SumSequences<Shape::kRows>(p)) {}

  // The first item with something to do, from `item` on; none: rows == 0.
  __device__ __forceinline__ void Find(i32 item) {
    constexpr int kRowBytes = (Shape::kDk + Shape::kDv) * 2;
    for (; item < totals.tiles * p.heads; item = NextItem(p)) {
      next = FindWork<Shape::kRows, Shape::kKeyTile, kRowBytes>(p, totals, item);
      if (next.begin < next.end) return;
      if (next.first && next.last) WriteZeros();
    }
    next.rows = 0;
  }

  // Rows that see no key.
  __device__ void WriteZeros() {
    for (i32 i = LaneIndex(); i < next.rows * Shape::kDv; i += kWarp) {
      p.out[(next.token + i / Shape::kDv) * p.out_token + next.head * p.out_head + i % Shape::kDv] =
          0;
    }
    if (p.lse == nullptr) return;
    for (i32 row = LaneIndex(); row < next.rows; row += kWarp) {
      p.lse[(next.token + row) * p.lse_token + next.head] = NegativeInfinity();
    }
  }

  __device__ __forceinline__ void Publish() {
    if (LaneIndex() == 0) {
      MbarrierWait(&shared.work_empty[state.stage], state.parity ^ 1);
      shared.work[state.stage] = next;
      MbarrierArrive(&shared.work_full[state.stage]);
    }
    __syncwarp();
    state.Advance();
  }

  // Into the L2.
  __device__ __forceinline__ void PrefetchQueries() {
    constexpr int kLines = CeilDiv(Shape::kDk * 4, 128);
    for (int i = LaneIndex(); i < next.rows * kLines; i += kWarp) {
      PrefetchLine(p.q + (next.token + i / kLines) * p.q_token + next.head * p.q_head +
                   i % kLines * 32);
    }
  }

  __device__ __forceinline__ void Run() {
    i32 item = blockIdx.x;
    for (u32 parity = 0;; parity ^= 1) {
      Find(item);
      Publish();
      if (next.rows == 0) break;
      PrefetchQueries();
      MbarrierWait(&shared.work_wanted, parity);
      item = NextItem(p);
    }
    RetireBlock(p);
  }
};

// The warp that brings keys and values.
template <class Shape>
struct PromptProducer {
  static constexpr int kKeyTile = Shape::kKeyTile;

  const AttentionPromptParams& p;
  PromptShared<Shape>& shared;
  PipelineState<Shape::kStages> state = {};

  __device__ __forceinline__ void LoadTile(const i32 (&rows)[Shape::kBoxes], i32 kv_head) {
    const int stage = state.stage;
    MbarrierWait(&shared.k_empty[stage], state.parity ^ 1);
    MbarrierArriveExpect(&shared.k_full[stage], Shape::kKBytes);
    LoadBoxes<Shape::kBoxes, Shape::kKSlices>(shared.k[stage], p.k_map, &shared.k_full[stage],
                                              kv_head * Shape::kDk, rows);
    MbarrierWait(&shared.v_empty[stage], state.parity ^ 1);
    MbarrierArriveExpect(&shared.v_full[stage], Shape::kVBytes);
    LoadBoxes<Shape::kBoxes, Shape::kVSlices>(shared.v[stage], p.v_map, &shared.v_full[stage],
                                              kv_head * Shape::kDv, rows);
  }

  // Asks for the next work shortly before the end of this one: late, so that work goes to blocks
  // that are free, but not so late that the consumers wait for it.
  __device__ __forceinline__ void Produce(const PromptWork& work) {
    const i32 kv_head = work.head / p.heads_per_kv;
    KeyRows key_rows{p, work};
    bool asked = false;
    for (i32 key = work.begin; key < work.end; key += kKeyTile) {
      i32 rows[Shape::kBoxes];
#pragma unroll
      for (int i = 0; i < Shape::kBoxes; ++i) rows[i] = key_rows.Find(key / 64 + i);
      const bool ask = !asked && key + 2 * kKeyTile >= work.end;
      if (LaneIndex() == 0) {
        if (ask) MbarrierArrive(&shared.work_wanted);
        LoadTile(rows, kv_head);
      }
      asked |= ask;
      __syncwarp();
      state.Advance();
    }
  }

  __device__ __forceinline__ void Run() {
    PipelineState<2> work_state;
    for (;;) {
      MbarrierWait(&shared.work_full[work_state.stage], work_state.parity);
      const PromptWork work = shared.work[work_state.stage];
      __syncwarp();
      if (LaneIndex() == 0) MbarrierArrive(&shared.work_empty[work_state.stage]);
      work_state.Advance();
      if (work.rows == 0) break;
      Produce(work);
    }
  }
};

template <class T, int Dk, int Dv, int Consumers, int KeyTile, int Stages, bool SoftCap,
          int Options>
__global__ void __launch_bounds__(128 * (1 + Consumers), 1)
    AttentionPrompt(const __grid_constant__ AttentionPromptParams p) {
  using Shape = PromptShape<T, Dk, Dv, Consumers, KeyTile, Stages, SoftCap, Options>;
  PromptShared<Shape>& shared = GetPromptShared<Shape>();
  if (threadIdx.x == 0) InitBarriers(shared);
  __syncthreads();
  const int warp = WarpIndex();
  if (warp < 4) {
    RegistersShrink<Shape::kProducerRegisters>();
    if (warp == 0) PromptProducer<Shape>{p, shared}.Run();
    if (warp == 1) PromptScheduler<Shape>(p, shared).Run();
  } else {
    RegistersGrow<Shape::kConsumerRegisters>();
    PromptConsumer<Shape>(p, shared, warp / 4 - 1).Run();
  }
}

}  // namespace tandem::cuda
