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

// What the dot product with biased quants starts at: minus the bias times the sum of the
// activations, of which `bias_sum` is -128 times.
template <typename Format>
inline Ints StartOf(int32_t bias_sum) {
  if constexpr (Format::kSigned) return SetI32(bias_sum / (128 / Format::kBias));
  return ZeroInts();
}

template <int kColumns>
struct Columns {
  const ActivationSpan* at[kColumns];
};

// Sums of kP panels and kC columns in registers.
template <int kP, int kC>
struct IntBlock {
  Ints of[kP][kC];
};
template <int kP, int kC>
struct FloatBlock {
  Floats of[kP][kC];
};

#ifdef __AVX512F__

inline constexpr int kMostColumns = 4, kPanelsAtOnce = 2;

// Adds the dot products of quads [first, last) of a group.
template <int kP, int kC>
inline void AddDots(const Panel* panels, int g, int first, int last, const Columns<kC>& x,
                    IntBlock<kP, kC>& dots) {
#pragma GCC unroll 8
  for (int j = first; j < last; ++j) {
    Ints w[kP];
    for (int p = 0; p < kP; ++p) w[p] = panels[p].quants[g][j];
#pragma GCC unroll 8
    for (int c = 0; c < kC; ++c) {
      const Ints four = Broadcast4(x.at[c]->quants + kGroup * g + 4 * j);
      for (int p = 0; p < kP; ++p) dots.of[p][c] = DotQuads(dots.of[p][c], w[p], four);
    }
  }
}

template <typename Format, int kP, int kC>
inline void GroupDots(const Panel* panels, int g, const Columns<kC>& x, IntBlock<kP, kC>& dots) {
  if constexpr (!Format::kHalves) {
#pragma GCC unroll 8
    for (int c = 0; c < kC; ++c) {
      const Ints start = StartOf<Format>(x.at[c]->bias[g]);
      for (int p = 0; p < kP; ++p) dots.of[p][c] = start;
    }
    return AddDots(panels, g, 0, kQuadsOf, x, dots);
  }
  for (int half = 0; half < 2; ++half) {
    IntBlock<kP, kC> sums;
#pragma GCC unroll 8
    for (int c = 0; c < kC; ++c) {
      const Ints start = StartOf<Format>(x.at[c]->half_bias[2 * g + half]);
      for (int p = 0; p < kP; ++p) sums.of[p][c] = start;
    }
    AddDots(panels, g, 4 * half, 4 * half + 4, x, sums);
    for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 8
      for (int c = 0; c < kC; ++c) {
        const Ints scaled = MulI32(sums.of[p][c], panels[p].half_scales[g][half]);
        dots.of[p][c] = half == 0 ? scaled : AddI32(dots.of[p][c], scaled);
      }
    }
  }
}

#else

inline constexpr int kMostColumns = 8, kPanelsAtOnce = 1;

// How many sums of pairs of products fit into i16: 2 * 127 * largest quant each.
template <typename Format>
constexpr int Depth() {
  const int most = 32767 / (2 * 127 * Format::kLargest);
  const int quads = Format::kHalves ? 4 : 8;
  return most >= quads ? quads : most >= 4 ? 4 : most >= 2 ? 2 : 1;
}

// One column after the other, so that few sums of pairs need registers besides those of the group.
template <typename Format, int kP, int kC>
inline void GroupDots(const Panel* panels, int g, const Columns<kC>& x, IntBlock<kP, kC>& dots) {
  static_assert(kP == 1);
  constexpr int kDepth = Depth<Format>();
#pragma GCC unroll 8
  for (int c = 0; c < kC; ++c) dots.of[0][c] = ZeroInts();
  for (int j = 0; j < kQuadsOf; j += kDepth) {
    const Ints factor = Format::kHalves ? panels[0].half_scales[g][j / 4] : SetI16(1);
#pragma GCC unroll 8
    for (int c = 0; c < kC; ++c) {
      Ints pairs;
#pragma GCC unroll 8
      for (int k = j; k < j + kDepth; ++k) {
        const Ints w = panels[0].quants[g][k];
        const Ints four = Broadcast4(x.at[c]->quants + kGroup * g + 4 * k);
        const Ints products =
            Format::kSigned ? DotPairs(AbsI8(w), WithSign(four, w)) : DotPairs(w, four);
        pairs = k == j ? products : AddI16(pairs, products);
      }
      dots.of[0][c] = AddI32(dots.of[0][c], AddPairs(pairs, factor));
    }
  }
}

#endif

// The min of a group times the sum of the activations.
template <typename Format>
inline Floats AddMin(const Factors& panel, int g, const ActivationSpan& x, Floats sum) {
  if constexpr (!Format::kMins) return sum;
  if constexpr (!Format::kHalves) return Fma(panel.mins[g], Set(x.sums[g]), sum);
  const Ints first = MulI32(panel.half_mins[g][0], SetI32(x.half_bias[2 * g]));
  const Ints second = MulI32(panel.half_mins[g][1], SetI32(x.half_bias[2 * g + 1]));
  const Floats scale = Mul(panel.mins[g], Set(x.scales[g] * (-1.0f / 128)));
  return Fma(ToFloats(AddI32(first, second)), scale, sum);
}

// sums[p * stride + c * kLanes + row] += panel p . column c, for `groups` groups.
template <typename Format, int kP, int kC>
inline void AddColumns(const Panel* panels, int groups, const Columns<kC>& x, float* sums,
                       int64_t stride) {
  FloatBlock<kP, kC> totals;
  for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 8
    for (int c = 0; c < kC; ++c) totals.of[p][c] = Load(sums + p * stride + c * kLanes);
  }
  for (int g = 0; g < groups; ++g) {
    IntBlock<kP, kC> dots;
    GroupDots<Format>(panels, g, x, dots);
#pragma GCC unroll 8
    for (int c = 0; c < kC; ++c) {
      const Floats x_scale = Set(x.at[c]->scales[g]);
      for (int p = 0; p < kP; ++p) {
        Floats& total = totals.of[p][c];
        total = Fma(ToFloats(dots.of[p][c]), Mul(panels[p].scales[g], x_scale), total);
        total = AddMin<Format>(panels[p], g, *x.at[c], total);
      }
    }
  }
  for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 8
    for (int c = 0; c < kC; ++c) Store(sums + p * stride + c * kLanes, totals.of[p][c]);
  }
}

// The same for one column, straight from the blocks: a span is unpacked to it.
template <typename Format>
class OneColumn : public Factors {
 public:
  static constexpr bool kBiased = TANDEM_CPU_ISA::kBiased;

  OneColumn(const ActivationSpan& x, int groups, float* sums)
      : x_(x), groups_(groups), sums_(sums), total_(Load(sums)) {
    dots_[0] = Start(0);
    dots_[1] = Start(1);
  }
  ~OneColumn() { Store(sums_, total_); }

  void SetQuants(int g, int j, Ints quants) {
    const Ints four = Broadcast4(x_.quants + kGroup * g + 4 * j);
#ifdef __AVX512F__
    Ints& sums = Format::kHalves ? half_ : dots_[g % 2];
    if (Format::kHalves && j % 4 == 0) half_ = HalfStart(2 * g + j / 4);
    sums = DotQuads(sums, quants, four);
    if (Format::kHalves && j % 4 == 3) {
      dots_[g % 2] = AddI32(dots_[g % 2], MulI32(half_, half_scales[g][j / 4]));
    }
#else
    constexpr int kDepth = Depth<Format>();
    Ints& pairs = pairs_[g % 2][j / kDepth];
    const Ints products =
        Format::kSigned ? DotPairs(AbsI8(quants), WithSign(four, quants)) : DotPairs(quants, four);
    pairs = j % kDepth == 0 ? products : AddI16(pairs, products);
    if (j % kDepth != kDepth - 1) return;
    const Ints factor = Format::kHalves ? half_scales[g][j / 4] : SetI16(1);
    dots_[g % 2] = AddI32(dots_[g % 2], AddPairs(pairs, factor));
#endif
  }

  void EndGroup(int g) {
    if (g < groups_) {
      const Floats scale = Mul(scales[g], Set(x_.scales[g]));
      total_ = Fma(ToFloats(dots_[g % 2]), scale, total_);
      total_ = AddMin<Format>(*this, g, x_, total_);
    }
    if (g + 2 < kGroups) dots_[g % 2] = Start(g + 2);
  }

 private:
  Ints Start(int g) const {
    return kBiased && !Format::kHalves ? StartOf<Format>(x_.bias[g]) : ZeroInts();
  }
  Ints HalfStart(int half) const { return StartOf<Format>(x_.half_bias[half]); }

  const ActivationSpan& x_;
  const int groups_;
  float* sums_;
  Floats total_;
  Ints dots_[2];  // of even and of odd groups
#ifdef __AVX512F__
  Ints half_;
#else
  Ints pairs_[2][kQuadsOf];  // sums in i16, of even and of odd groups
#endif
};

}  // namespace tandem::cpu::TANDEM_CPU_ISA
