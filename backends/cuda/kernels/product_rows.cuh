// Products of weights in tiles with one to eight rows of activations: bound by the memory that the
// weights come from.
//
// A block has 16 warps, each with a ring of its own that it keeps full of the weights it will need,
// whatever the others do. The activations are quantised by each block while the first weights are
// on their way. `parts` warps share a panel of 16 rows, each a range of the elements; sums of the
// parts are added in their order.
#pragma once

#include "activations.cuh"
#include "params/product_rows.h"
#include "ptx/launch.cuh"
#include "ptx/mma.cuh"
#include "tiles.cuh"
#include "warp_ring.cuh"

namespace tandem::cuda {

inline constexpr int kRowsThreads = kRowsWarps * kWarp;

template <WeightType kType>
inline constexpr int kStageUnits = StageUnits(kTileForm<kType>.unit_bytes);
template <WeightType kType>
inline constexpr int kStageBytes = kStageUnits<kType>* kTileForm<kType>.unit_bytes;
template <WeightType kType>
inline constexpr int kUnitElements = kTileForm<kType>.unit_tiles* kTileElements;

// Columns of the result that a lane has: 2t and 2t + 1, or one if there is only one.
template <int kColumns>
inline constexpr int kLaneColumns = kColumns == 1 ? 1 : 2;

// The activations as lane (g, t) needs them: codes of column g, info of columns 2t and 2t + 1, from
// the block with which the row begins.
template <WeightType kType, int kColumns>
struct LaneActivations {
  const u8* codes;
  const InfoOf<kType>* info[kLaneColumns<kColumns>];
};

// Sums of rows g and g + 8.
template <int kColumns>
struct LaneSums {
  float v[2][kLaneColumns<kColumns>] = {};
};

template <WeightType kType, int kColumns>
__device__ __forceinline__ void AddTile(const u8* unit, int tile, int block, int lane,
                                        const SplitTable& table,
                                        const LaneActivations<kType, kColumns>& x,
                                        LaneSums<kColumns>& sums) {
  constexpr int kN = kLaneColumns<kColumns>;
  constexpr InfoForm form = kInfoForm<kType>;
  const TileCodes<kType> codes = LoadTileCodes<kType>(unit, tile, lane);
  u32 a[4], a2[4];
  if constexpr (kTwoLookUps<kType>) {
    UnpackTwice<kType>(table, codes, a, a2);
  } else {
    UnpackBytes<kType>(codes, a);
  }
  const TileScales<kType> scales = LoadTileScales<kType>(unit, tile, lane / 4);
  const uint2 b = *reinterpret_cast<const uint2*>(x.codes + block * kTileElements);
  InfoOf<kType> info[kN];
#pragma unroll
  for (int c = 0; c < kN; ++c) info[c] = x.info[c][block];
#pragma unroll
  for (int half = 0; half < kTileScales<kType>; ++half) {
    i32 d[4] = {kIntegerBits, kIntegerBits, kIntegerBits, kIntegerBits};
    if constexpr (form == InfoForm::kBias || form == InfoForm::kBias16) {
      d[0] = d[2] = info[0].bias[half];
      d[1] = d[3] = info[kN - 1].bias[half];
    }
    if constexpr (kTileScales<kType> == 1) {
      MmaS8(d, a, b.x, b.y);
      if constexpr (kTwoLookUps<kType>) MmaS8(d, a2, b.x, b.y);
    } else {
      MmaS8(d, a[2 * half], a[2 * half + 1], half == 0 ? b.x : b.y);
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) {
#pragma unroll
      for (int c = 0; c < kN; ++c) {
        float& sum = sums.v[row][c];
        sum += scales.scale[row][half] * info[c].scale * IntegerToFloat(d[2 * row + c]);
        if constexpr (kHasMin<kType>) sum += scales.min[row][half] * info[c].sum[half];
      }
    }
  }
}

// With one row of activations a product has seven columns to spare. They take the products of
// other tiles: the row's block of tile j stands in column j, the other columns are zero, and the
// sums of up to eight tiles come out side by side, lane (g, t) having those of tiles 2t and 2t + 1.
// So scales are applied once for eight tiles, and the sums of the four lanes t are added up at the
// end.
template <WeightType kType, int kColumns>
inline constexpr bool kSpread = kColumns == 1 && kTileScales<kType> == 1;

// Tile `i` of those that begin at `units`, with a unit each or all in one.
template <WeightType kType>
__device__ __forceinline__ const u8* UnitOf(const u8* units, int i) {
  return kTileForm<kType>.unit_tiles == 1 ? units + i * kTileForm<kType>.unit_bytes : units;
}
template <WeightType kType>
__device__ __forceinline__ int TileInUnit(int i) {
  return kTileForm<kType>.unit_tiles == 1 ? 0 : i;
}

template <WeightType kType, int kCount>
__device__ __forceinline__ void AddSpread(const u8* units, int block, int lane,
                                          const SplitTable& table,
                                          const LaneActivations<kType, 1>& x, LaneSums<1>& sums) {
  constexpr InfoForm form = kInfoForm<kType>;
  const int g = lane / 4, t = lane % 4;
  uint2 b = *reinterpret_cast<const uint2*>(x.codes + (block + Min(g, kCount - 1)) * kTileElements);
  InfoOf<kType> info[2];
  i32 d[4] = {kIntegerBits, kIntegerBits, kIntegerBits, kIntegerBits}, d2[4] = {};
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    info[c] = x.info[0][block + Min(2 * t + c, kCount - 1)];
    if constexpr (form == InfoForm::kBias) d[c] = d[c + 2] = info[c].bias[0];
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const TileCodes<kType> codes =
        LoadTileCodes<kType>(UnitOf<kType>(units, i), TileInUnit<kType>(i), lane);
    const u32 b0 = g == i ? b.x : 0, b1 = g == i ? b.y : 0;
    u32 a[4];
    if constexpr (kTwoLookUps<kType>) {
      u32 a2[4];
      UnpackTwice<kType>(table, codes, a, a2);
      MmaS8(d2, a2, b0, b1);
    } else {
      UnpackBytes<kType>(codes, a);
    }
    MmaS8(d, a, b0, b1);
  }
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const bool inside = 2 * t + c < kCount;
    const int i = Min(2 * t + c, kCount - 1);
    const TileScales<kType> scales =
        LoadTileScales<kType>(UnitOf<kType>(units, i), TileInUnit<kType>(i), g);
    const float factor = inside ? info[c].scale : 0.0f;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const i32 sum = kTwoLookUps<kType> ? d[2 * row + c] + d2[2 * row + c] : d[2 * row + c];
      sums.v[row][0] += scales.scale[row][0] * factor * IntegerToFloat(sum);
      if constexpr (kHasMin<kType>) {
        sums.v[row][0] += scales.min[row][0] * (inside ? info[c].sum[0] : 0.0f);
      }
    }
  }
}

// kCount tiles that begin at `units`.
template <WeightType kType, int kColumns, int kCount>
__device__ __forceinline__ void AddTiles(const u8* units, int block, int lane,
                                         const SplitTable& table,
                                         const LaneActivations<kType, kColumns>& x,
                                         LaneSums<kColumns>& sums) {
  if constexpr (kSpread<kType, kColumns>) {
    AddSpread<kType, kCount>(units, block, lane, table, x, sums);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      AddTile<kType, kColumns>(UnitOf<kType>(units, i), TileInUnit<kType>(i), block + i, lane,
                               table, x, sums);
    }
  }
}

// Adds units [first, first + count) of a row, which begin at `stage`.
template <WeightType kType, int kColumns>
__device__ __forceinline__ void AddUnits(const u8* stage, int first, int count, int lane,
                                         const SplitTable& table,
                                         const LaneActivations<kType, kColumns>& x,
                                         LaneSums<kColumns>& sums) {
  constexpr TileForm f = kTileForm<kType>;
  if constexpr (f.unit_tiles > 1) {  // one unit
    AddTiles<kType, kColumns, f.unit_tiles>(stage, first * f.unit_tiles, lane, table, x, sums);
  } else {
    constexpr int kMost = kSpread<kType, kColumns> ? 8 : 4;
    int i = 0;
#pragma unroll 1
    for (; i + kMost <= count; i += kMost) {
      AddTiles<kType, kColumns, kMost>(stage + i * f.unit_bytes, first + i, lane, table, x, sums);
    }
    if (kMost > 4 && i + 4 <= count) {
      AddTiles<kType, kColumns, 4>(stage + i * f.unit_bytes, first + i, lane, table, x, sums);
      i += 4;
    }
    if (i + 2 <= count) {
      AddTiles<kType, kColumns, 2>(stage + i * f.unit_bytes, first + i, lane, table, x, sums);
      i += 2;
    }
    if (i < count) {
      AddTiles<kType, kColumns, 1>(stage + i * f.unit_bytes, first + i, lane, table, x, sums);
    }
  }
}

// The run of units that a warp fetches next, ahead of their use.
template <WeightType kType>
struct Feeder {
  const u8* at = nullptr;
  int left = 0;  // units

  // next(*this) begins another run, if there is one.
  template <class Ring, class Next>
  __device__ __forceinline__ void Feed(Ring& ring, Next& next) {
    if (left == 0) next(*this);
    const int count = Min(kStageUnits<kType>, left), bytes = count * kTileForm<kType>.unit_bytes;
    ring.Fetch(at, bytes);
    at += bytes;
    left -= count;
  }
};

// A warp adds a run of units [begin, end) of a row.
template <WeightType kType, int kColumns, class Ring, class Next>
__device__ __forceinline__ void AddRun(int begin, int end, int lane, const SplitTable& table,
                                       const LaneActivations<kType, kColumns>& x, Ring& ring,
                                       Feeder<kType>& feeder, Next& next,
                                       LaneSums<kColumns>& sums) {
#pragma unroll 1
  for (int unit = begin; unit < end; unit += kStageUnits<kType>) {
    const u8* stage = ring.Wait();
    AddUnits<kType, kColumns>(stage, unit, Min(kStageUnits<kType>, end - unit), lane, table, x,
                              sums);
    feeder.Feed(ring, next);
  }
  if constexpr (kSpread<kType, kColumns>) {
#pragma unroll
    for (int row = 0; row < 2; ++row) sums.v[row][0] = LanesSum<4>(sums.v[row][0]);
  }
}

// Partial sums of a warp in shared memory: [16][column].
template <int kColumns>
inline constexpr int kPartialFloats = kTileRows* kColumns;

template <int kColumns>
__device__ __forceinline__ void StorePartial(const LaneSums<kColumns>& sums, float* to, int lane) {
  const int g = lane / 4, column = lane % 4 * 2;
  if (column >= kColumns) return;
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    float* at = to + (g + 8 * row) * kColumns + column;
    if constexpr (kColumns == 1) {
      *at = sums.v[row][0];
    } else {
      *reinterpret_cast<float2*>(at) = float2{sums.v[row][0], sums.v[row][1]};
    }
  }
}

// A range of the units of a row.
struct UnitRange {
  int begin, end;
};
__device__ __forceinline__ UnitRange PartOfUnits(int units, int part, int parts_log2) {
  return {part * units >> parts_log2, (part + 1) * units >> parts_log2};
}

// Activations in shared memory.
template <WeightType kType>
struct SharedActivations {
  u8* codes;
  u8* info;
  int codes_row, info_row;  // bytes

  __device__ __forceinline__ u8* Codes(int row) const { return codes + row * codes_row; }
  __device__ __forceinline__ InfoOf<kType>* Info(int row) const {
    return reinterpret_cast<InfoOf<kType>*>(info + row * info_row);
  }
  // Columns are the rows of activations; those beyond `rows` repeat the last.
  template <int kColumns>
  __device__ __forceinline__ LaneActivations<kType, kColumns> OfLane(int rows, int lane) const {
    const int g = lane / 4, t = lane % 4;
    LaneActivations<kType, kColumns> x;
    x.codes = Codes(Min(g, rows - 1)) + t * 8;
#pragma unroll
    for (int c = 0; c < kLaneColumns<kColumns>; ++c) {
      x.info[c] = Info(kColumns == 1 ? 0 : Min(2 * t + c, rows - 1));
    }
    return x;
  }
};

// Of `rows` rows beginning at `first`.
__device__ __forceinline__ int LiveRows(const i32* live_rows, int first, int rows) {
  return live_rows == nullptr ? rows : Max(0, Min(*live_rows - first, rows));
}

__device__ __forceinline__ float4 LoadFloat4(const float* p) {
  return *reinterpret_cast<const float4*>(p);
}
__device__ __forceinline__ float Silu(float x) {
  return __fdividef(x, 1.0f + Exp2(-1.4426950408889634f * x));
}

// Quantises `rows` rows of `k` elements with all threads of the block. load(row, i): elements
// i..i+3. Each row has as many threads as it has groups of eight elements, rounded up to a power of
// two. kBatch rows are loaded together, as a load takes long.
template <WeightType kType, int kBatch, class Load>
__device__ __forceinline__ void QuantizeRows(const SharedActivations<kType>& to, int rows, int k,
                                             Load load) {
  constexpr int kThreadsBits = 9;
  static_assert(1 << kThreadsBits == kRowsThreads);
  const int eighths = k / 8, bits = Min(kThreadsBits, 32 - __clz(eighths - 1));
  const int mine = threadIdx.x & ((1 << bits) - 1), t = threadIdx.x % 4;
  const int row_step = kRowsThreads >> bits, my_row = threadIdx.x >> bits;
  const int warp_row = WarpIndex() * kWarp >> bits;
#pragma unroll 1
  for (int base = 0; base < eighths; base += 1 << bits) {
    const int block = (base + mine) / 4;
    const bool inside = base + mine < eighths;  // the same for the four lanes of a block
#pragma unroll 1
    for (int first = 0; first + warp_row < rows; first += kBatch * row_step) {
      float4 v[kBatch][2];
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const int row = first + j * row_step + my_row;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          v[j][half] = inside && row < rows ? load(row, block * kTileElements + half * 16 + 4 * t)
                                            : float4{};
        }
      }
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const int row = first + j * row_step + my_row;
        if (first + j * row_step + warp_row >= rows) break;
        QuantizeBlock<kType>(v[j][0], v[j][1], to.Codes(row) + block * kTileElements,
                             to.Info(row) + block, t, inside && row < rows);
      }
    }
  }
}
template <int kColumns>
inline constexpr int kLoadBatch = kColumns == 1 ? 1 : 2;

// Linear layers

// Factors of the RMS norm of each row, into factors[rows]. `scratch`: kRowsWarps floats a row.
__device__ __forceinline__ void NormFactors(const LinearRowsParams& p, const float* x, int rows,
                                            float* scratch, float* factors) {
  const int warp = WarpIndex(), lane = LaneIndex();
  for (int row = 0; row < rows; ++row) {
    float sum = 0;
    for (int i = 4 * static_cast<int>(threadIdx.x); i < p.k; i += 4 * kRowsThreads) {
      const float4 v = LoadFloat4(x + row * p.x_row + i);
      sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
    sum = LanesSum(sum);
    if (lane == 0) scratch[row * kRowsWarps + warp] = sum;
  }
  __syncthreads();
  if (threadIdx.x < rows) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kRowsWarps; ++i) sum += scratch[threadIdx.x * kRowsWarps + i];
    factors[threadIdx.x] = rsqrtf(sum / static_cast<float>(p.k) + p.eps);
  }
  __syncthreads();
}

template <WeightType kType, int kColumns, Prologue kPrologue>
__device__ __forceinline__ void QuantizeInputs(const LinearRowsParams& p, int group,
                                               const SharedActivations<kType>& to, float* scratch) {
  const float* x = p.x + group * p.x_group;
  if constexpr (kPrologue == Prologue::kRmsNorm) {
    float* factors = scratch + kMaxRows * kRowsWarps;
    NormFactors(p, x, p.tokens, scratch, factors);
    QuantizeRows<kType, kLoadBatch<kColumns>>(to, p.tokens, p.k, [&](int row, int i) {
      const float4 v = LoadFloat4(x + row * p.x_row + i), w = LoadFloat4(p.norm + i);
      const float f = factors[row];
      return float4{v.x * f * w.x, v.y * f * w.y, v.z * f * w.z, v.w * f * w.w};
    });
  } else if constexpr (kPrologue == Prologue::kSwiGlu) {
    QuantizeRows<kType, kLoadBatch<kColumns>>(to, p.tokens, p.k, [&](int row, int i) {
      const float4 v = LoadFloat4(x + row * p.x_row + i);
      const float4 g = LoadFloat4(p.gate + row * p.gate_row + i);
      return float4{Silu(g.x) * v.x, Silu(g.y) * v.y, Silu(g.z) * v.z, Silu(g.w) * v.w};
    });
  } else {
    QuantizeRows<kType, kLoadBatch<kColumns>>(
        to, p.tokens, p.k, [&](int row, int i) { return LoadFloat4(x + row * p.x_row + i); });
  }
}

// The matrix of a block.
__device__ __forceinline__ JoinedMatrix MatrixOf(const LinearRowsParams& p) {
  JoinedMatrix matrix = {p.weight, p.out, p.out_row, p.rows, 0, p.blocks};
#pragma unroll
  for (int i = 0; i < kMostJoined; ++i) {
    if (i < p.joined_count && static_cast<int>(blockIdx.x) >= p.joined[i].first_block) {
      matrix = p.joined[i];
    }
  }
  return matrix;
}

// Adds up the parts of a panel and writes its 16 rows. `partials`: those of the team's first part.
template <int kColumns>
__device__ __forceinline__ void WriteLinear(const LinearRowsParams& p, const JoinedMatrix& m,
                                            const float* partials,
                                            int panel, int group, int live, int thread,
                                            int threads) {
  for (int i = thread; i < kPartialFloats<kColumns>; i += threads) {
    const int column = i % kColumns, out = panel * kTileRows + i / kColumns;
    float sum = 0;
#pragma unroll 4
    for (int part = 0; part < 1 << p.parts_log2; ++part) {
      sum += partials[part * kPartialFloats<kColumns> + i];
    }
    if (column >= live) continue;
    if (p.bias != nullptr) sum += p.bias[out];
    if (p.add != nullptr) sum += p.add[column * p.add_row + out];
    m.out[column * m.out_row + group * p.out_group + out] = sum;
  }
}

// Grid: x: blocks among which the panels are dealt, y: groups. kRowsThreads threads.
template <WeightType kType, int kColumns, int kStages, Prologue kPrologue>
__global__ void __launch_bounds__(kRowsThreads, 2)
    LinearRows(const __grid_constant__ LinearRowsParams p) {
  extern __shared__ __align__(128) u8 shared[];
  const RowsShared at = MakeRowsShared(kTileForm<kType>.unit_bytes, sizeof(InfoOf<kType>), kStages,
                                       kColumns, p.k, PanelPartials(kColumns));
  const JoinedMatrix m = MatrixOf(p);
  const int warp = WarpIndex(), lane = LaneIndex(), group = blockIdx.y;
  const int parts = 1 << p.parts_log2, teams = kRowsWarps >> p.parts_log2;
  const int team = warp >> p.parts_log2, part = warp & (parts - 1);
  const int units = p.k / kUnitElements<kType>, panels = m.rows / kTileRows;
  const UnitRange range = PartOfUnits(units, part, p.parts_log2);
  const int first = (static_cast<int>(blockIdx.x) - m.first_block) * teams + team;
  const int step = m.blocks * teams;

  using Ring = WarpRing<kStages, kStageBytes<kType>>;
  Ring ring(shared + at.ring + warp * Ring::kBytes,
            reinterpret_cast<u64*>(shared + at.barriers) + warp * kStages);
  const i64 panel_bytes = static_cast<i64>(units) * kTileForm<kType>.unit_bytes;
  const i64 step_bytes = step * panel_bytes;
  const u8* from = m.weight + group * p.weight_group + first * panel_bytes +
                   static_cast<i64>(range.begin) * kTileForm<kType>.unit_bytes;
  int ahead = first;  // the next panel to fetch
  auto next = [&](Feeder<kType>& feeder) {
    if (ahead >= panels) return;
    feeder.at = from;
    feeder.left = range.end - range.begin;
    from += step_bytes;
    ahead += step;
  };
  Feeder<kType> feeder;
#pragma unroll 1
  for (int i = 0; i < kStages; ++i) feeder.Feed(ring, next);

  WaitForKernelsAhead();
  LetNextKernelStart();  // earlier, its blocks would crowd on few multiprocessors
  const SharedActivations<kType> x = {shared + at.codes, shared + at.info, ActivationRowBytes(p.k),
                                      ActivationInfoRowBytes(p.k, sizeof(InfoOf<kType>))};
  float* partials = reinterpret_cast<float*>(shared + at.partials);
  const int live = LiveRows(p.live_rows, p.first_row, p.tokens);
  QuantizeInputs<kType, kColumns, kPrologue>(p, group, x, partials);
  __syncthreads();
  const LaneActivations<kType, kColumns> mine = x.template OfLane<kColumns>(p.tokens, lane);

  const SplitTable table = LoadSplitTable<kType>();
  int turn = 0;
  for (int panel = first; panel < panels; panel += step) {
    LaneSums<kColumns> sums;
    AddRun<kType, kColumns>(range.begin, range.end, lane, table, mine, ring, feeder, next, sums);
    float* set = partials + turn * kRowsWarps * kPartialFloats<kColumns>;
    StorePartial<kColumns>(sums, set + warp * kPartialFloats<kColumns>, lane);
    if (parts > 1) {
      NamedBarrierSync(1 + team, parts * kWarp);
    } else {
      __syncwarp();
    }
    WriteLinear<kColumns>(p, m, set + team * parts * kPartialFloats<kColumns>, panel, group, live,
                          part * kWarp + lane, parts * kWarp);
    turn ^= 1;
  }
}

}  // namespace tandem::cuda
