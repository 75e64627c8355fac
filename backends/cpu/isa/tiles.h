// The inner loop for prompts in the tiles of AMX: a panel times 16 columns of activations at a
// time. A tile of 16 columns times 32 elements by one of 32 elements times 16 rows is one
// instruction; the sums of a group leave the tiles as exact integers, so that the results have the
// same bits as those of block_product.h.
#pragma once

#include <cstddef>

#include "backends/cpu/isa/block_product.h"

#ifdef __AMX_INT8__

namespace tandem::cpu::TANDEM_CPU_ISA {

inline constexpr int kTokens = 16;  // columns of a tile

// The compiler's functions for tiles do not say which memory they read: what was stored before
// this, at `address` too, has to be there.
inline void FinishStores(const void* address) { asm volatile("" : : "r"(address) : "memory"); }

// A panel whose signed quants are as they are: tiles multiply signed bytes.
struct PlainPanel {
  static constexpr bool kBiased = false;
  Panel& panel;

  void SetHalfScale(int half, Ints v) { panel.SetHalfScale(half, v); }
  void SetHalfMin(int half, Ints v) { panel.SetHalfMin(half, v); }
  void SetScale(int g, Floats v) { panel.SetScale(g, v); }
  void SetMin(int g, Floats v) { panel.SetMin(g, v); }
  void SetQuants(int g, int j, Ints v) { panel.SetQuants(g, j, v); }
  void EndGroup(int) {}
};

// Shapes of the tiles, for as long as it lives: 0 to 3 are sums, 4 and 5 activations, 6 and 7
// weights.
template <typename Format>
class TileShapes {
 public:
  static constexpr int kElements = Format::kHalves ? 16 : 32;  // of a product

  TileShapes() {
    struct alignas(64) Shapes {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shapes;
    for (int t = 0; t < 8; ++t) {
      shapes.row_bytes[t] = t == 4 || t == 5 ? kElements : 64;
      shapes.rows[t] = t >= 6 ? kElements / 4 : kTokens;
    }
    FinishStores(&shapes);
    _tile_loadconfig(&shapes);
  }
  TileShapes(const TileShapes&) = delete;
  TileShapes& operator=(const TileShapes&) = delete;
  ~TileShapes() { _tile_release(); }
};

// Scales and sums of a span, as they follow each other there.
struct alignas(64) SpanFactors {
  float scales[kGroups];
  float sums[kGroups];
};
static_assert(offsetof(ActivationSpan, sums) ==
              offsetof(ActivationSpan, scales) + sizeof(float) * kGroups);

// Rows of activations of 16 columns, and copies of their factors at distances that the compiler
// knows.
struct Tokens {
  const ActivationSpan* first;
  int64_t stride;  // bytes
  const SpanFactors* factors;
  const ActivationSpan& at(int t) const {
    return *reinterpret_cast<const ActivationSpan*>(reinterpret_cast<const std::byte*>(first) +
                                                    t * stride);
  }
};

struct alignas(64) TileSums {
  int32_t of[kTokens][kLanes];
};

// Sums of quads [j, j + 4) and [j + 4, j + 8), or of all eight, for two products at a time.
template <typename Format>
inline void MultiplyTiles(const Panel& panel, int g, const Tokens& x, TileSums (&sums)[2]) {
  // With halves: the halves of group g. Without: groups g and g + 1.
  const int8_t* first = x.first->quants + kGroup * g;
  const int8_t* second = first + TileShapes<Format>::kElements;
  const Ints* w_first = panel.quants[g];
  const Ints* w_second = Format::kHalves ? panel.quants[g] + 4 : panel.quants[g + 1];
  FinishStores(w_first);
  _tile_zero(0);
  _tile_zero(1);
  _tile_loadd(4, first, x.stride);
  _tile_loadd(6, w_first, 64);
  _tile_loadd(5, second, x.stride);
  _tile_loadd(7, w_second, 64);
  if constexpr (Format::kSigned) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 5, 7);
  } else {
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 5, 7);
  }
  _tile_stored(0, sums[0].of, 64);
  _tile_stored(1, sums[1].of, 64);
}

template <typename Format>
inline Floats AddGroup(const Panel& panel, int g, const Tokens& x, int t, Ints dots, Floats sum) {
  const SpanFactors& factors = x.factors[t];
  sum = Fma(ToFloats(dots), Mul(panel.scales[g], Set(factors.scales[g])), sum);
  if constexpr (!Format::kMins) return sum;
  if constexpr (Format::kHalves) return AddMin<Format>(panel, g, x.at(t), sum);
  return Fma(panel.mins[g], Set(factors.sums[g]), sum);
}

// sums[t * kLanes + row] += panel . token t, for 16 tokens of which `count` are wanted, and
// `groups` groups.
template <typename Format>
inline void AddTokens(const Panel& panel, int groups, const Tokens& x, int count, float* sums) {
  Floats totals[kTokens];
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) totals[t] = t < count ? Load(sums + t * kLanes) : ZeroFloats();
  // The sums of the next groups are on their way while those of the last ones are used.
  constexpr int kStep = Format::kHalves ? 1 : 2;
  TileSums dots[2][2];
  MultiplyTiles<Format>(panel, 0, x, dots[0]);
  for (int g = 0, turn = 0; g < groups; g += kStep, turn ^= 1) {
    if (g + kStep < groups) MultiplyTiles<Format>(panel, g + kStep, x, dots[turn ^ 1]);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const Ints a = LoadInts(dots[turn][0].of[t]), b = LoadInts(dots[turn][1].of[t]);
      if constexpr (Format::kHalves) {
        const Ints both =
            AddI32(MulI32(a, panel.half_scales[g][0]), MulI32(b, panel.half_scales[g][1]));
        totals[t] = AddGroup<Format>(panel, g, x, t, both, totals[t]);
      } else {
        totals[t] = AddGroup<Format>(panel, g, x, t, a, totals[t]);
        if (g + 1 < groups) totals[t] = AddGroup<Format>(panel, g + 1, x, t, b, totals[t]);
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
    if (t < count) Store(sums + t * kLanes, totals[t]);
  }
}

}  // namespace tandem::cpu::TANDEM_CPU_ISA

#endif
