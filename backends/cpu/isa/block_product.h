// The inner loop of products with block-quantised weights: a panel times columns of activations.
//
// The result of an element is the same to the last bit in every instruction set and for every
// number of columns: the dot product of a group is an exact integer; then, group by group in order,
// sum = fma(dot, weight scale * activation scale, sum) and, with mins, sum = fma(min, sum of the
// activations, sum).
#pragma once

#include "backends/cpu/activations.h"
#include "backends/cpu/isa/panel.h"

namespace tandem::cpu::TANDEM_CPU_ISA {

template <int kColumns>
struct Columns {
  const ActivationSpan* at[kColumns];
};

#ifdef __AVX512F__

inline constexpr int kMostColumns = 8;

// Adds the dot products of quads [first, last) of a group.
template <int kColumns>
inline void AddDots(const Panel& panel, int g, int first, int last, const Columns<kColumns>& x,
                    Ints (&dots)[kColumns]) {
#pragma GCC unroll 8
  for (int j = first; j < last; ++j) {
    const Ints w = panel.quants[g][j];
    for (int c = 0; c < kColumns; ++c) {
      dots[c] = DotQuads(dots[c], w, Broadcast4(x.at[c]->quants + kGroup * g + 4 * j));
    }
  }
}

template <typename Format, int kColumns>
inline void GroupDots(const Panel& panel, int g, const Columns<kColumns>& x,
                      Ints (&dots)[kColumns]) {
  if constexpr (!Format::kHalves) {
    for (int c = 0; c < kColumns; ++c) {
      dots[c] = Format::kSigned ? SetI32(x.at[c]->bias[g]) : ZeroInts();
    }
    AddDots(panel, g, 0, kQuadsOf, x, dots);
    return;
  }
  for (int half = 0; half < 2; ++half) {
    Ints sums[kColumns];
    for (int c = 0; c < kColumns; ++c) {
      sums[c] = Format::kSigned ? SetI32(x.at[c]->half_bias[2 * g + half]) : ZeroInts();
    }
    AddDots(panel, g, 4 * half, 4 * half + 4, x, sums);
    for (int c = 0; c < kColumns; ++c) {
      const Ints scaled = MulI32(sums[c], panel.half_scales[g][half]);
      dots[c] = half == 0 ? scaled : AddI32(dots[c], scaled);
    }
  }
}

#else

inline constexpr int kMostColumns = 4;

// How many sums of pairs of products fit into i16: 2 * 127 * largest quant each.
template <typename Format>
constexpr int Depth() {
  const int most = 32767 / (2 * 127 * Format::kLargest);
  const int quads = Format::kHalves ? 4 : 8;
  return most >= quads ? quads : most >= 4 ? 4 : most >= 2 ? 2 : 1;
}

// Sums of pairs, in i16, of quads [first, first + Depth) of a group.
template <typename Format, int kColumns>
inline void PairSums(const Panel& panel, int g, int first, const Columns<kColumns>& x,
                     Ints (&pairs)[kColumns]) {
  constexpr int kDepth = Depth<Format>();
  for (int j = first; j < first + kDepth; ++j) {
    const Ints w = panel.quants[g][j];
    const Ints size = Format::kSigned ? AbsI8(w) : w;
    for (int c = 0; c < kColumns; ++c) {
      const Ints four = Broadcast4(x.at[c]->quants + kGroup * g + 4 * j);
      const Ints products = DotPairs(size, Format::kSigned ? WithSign(four, w) : four);
      pairs[c] = j == first ? products : AddI16(pairs[c], products);
    }
  }
}

template <typename Format, int kColumns>
inline void GroupDots(const Panel& panel, int g, const Columns<kColumns>& x,
                      Ints (&dots)[kColumns]) {
  for (int j = 0; j < kQuadsOf; j += Depth<Format>()) {
    Ints pairs[kColumns];
    PairSums<Format>(panel, g, j, x, pairs);
    const Ints factor = Format::kHalves ? panel.half_scales[g][j / 4] : SetI16(1);
    for (int c = 0; c < kColumns; ++c) {
      const Ints sums = AddPairs(pairs[c], factor);
      dots[c] = j == 0 ? sums : AddI32(dots[c], sums);
    }
  }
}

#endif

// The min of a group times the sum of the activations.
template <typename Format>
inline Floats AddMin(const Panel& panel, int g, const ActivationSpan& x, Floats sum) {
  if constexpr (!Format::kMins) return sum;
  if constexpr (!Format::kHalves) return Fma(panel.mins[g], Set(x.sums[g]), sum);
  const Ints first = MulI32(panel.half_mins[g][0], SetI32(x.half_bias[2 * g]));
  const Ints second = MulI32(panel.half_mins[g][1], SetI32(x.half_bias[2 * g + 1]));
  const Floats scale = Mul(panel.mins[g], Set(x.scales[g] * (-1.0f / 128)));
  return Fma(ToFloats(AddI32(first, second)), scale, sum);
}

// sums[c * kLanes + row] += panel . column c, for `groups` groups.
template <typename Format, int kColumns>
inline void AddColumns(const Panel& panel, int groups, const Columns<kColumns>& x, float* sums) {
  Floats totals[kColumns];
  for (int c = 0; c < kColumns; ++c) totals[c] = Load(sums + c * kLanes);
  for (int g = 0; g < groups; ++g) {
    Ints dots[kColumns];
    GroupDots<Format>(panel, g, x, dots);
    for (int c = 0; c < kColumns; ++c) {
      const Floats scale = Mul(panel.scales[g], Set(x.at[c]->scales[g]));
      totals[c] = Fma(ToFloats(dots[c]), scale, totals[c]);
      totals[c] = AddMin<Format>(panel, g, *x.at[c], totals[c]);
    }
  }
  for (int c = 0; c < kColumns; ++c) Store(sums + c * kLanes, totals[c]);
}

}  // namespace tandem::cpu::TANDEM_CPU_ISA
