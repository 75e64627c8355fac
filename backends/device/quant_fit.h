// Private to the codecs: weighted least-squares fits of scales to a group of numbers.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "backends/device/float16.h"
#include "backends/device/quant_blocks.h"

namespace tandem {

// The numbers to encode. `n` is a multiple of 16, at most 32.
struct Samples {
  const float* x;
  const float* w;  // weights, in (0, 1]
  int n;
};

inline constexpr int kMaxSamples = 32;

// Groups below half the smallest fp16 number encode as zeros.
inline constexpr float kSmallestPeak = kF16SmallestDenormal / 2;

// Nearest integer, ties to even, of |v| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction.
inline int RoundToInt(float v) {
  return std::bit_cast<int32_t>(v + 12582912.0f) - std::bit_cast<int32_t>(12582912.0f);
}

inline int RoundToRange(float v, int low, int high) {
  return RoundToInt(std::clamp(v, static_cast<float>(low), static_cast<float>(high)));
}

// fp16 bits of a scale. Finite, and zero only if `scale` is: the smallest denormal, and codes to
// suit, beat a block of zeros.
inline uint16_t ScaleToF16(float scale) {
  if (scale == 0) return 0;
  const uint16_t half = F32ToF16(std::clamp(scale, -kF16Max, kF16Max));
  return (half & 0x7FFF) == 0 ? half | 1 : half;
}

// 1 / scale, or 0 for a scale of zero, so that all codes become that of 0.
inline float InverseScale(float scale) { return scale == 0 ? 0 : 1 / scale; }

// The sets of values that codes stand for, before they are scaled.
//   Code(v): the code of the value nearest to v.   Value(code): that value.
//   kEnds: values that the largest number of a group is tried on.
//   kSteps, kStep: how many positions around an end are tried on each side, and their distance.

template <int kLow, int kHigh>
struct IntegerGrid {
  static constexpr std::array<float, 2> kEnds = {kLow, kHigh};
  static constexpr int kSteps = kHigh < 8 ? 8 : 4;
  static constexpr float kStep = kHigh < 4 ? 0.05f : kHigh < 8 ? 0.025f : 0.5f / kHigh;
  static int Code(float v) { return RoundToRange(v, kLow, kHigh); }
  static float Value(int code) { return static_cast<float>(code); }
};

struct IQ4Grid {
  static constexpr std::array<float, 2> kEnds = {kIQ4Values[0], kIQ4Values[15]};
  static constexpr int kSteps = 8;
  static constexpr float kStep = 0.02f;

  // The borders between neighbouring values are multiples of 1/2, so a table over floor(2v) is
  // exact. Entry k is for floor(2v) = k - 256.
  static constexpr std::array<uint8_t, 512> kCodes = [] {
    std::array<uint8_t, 512> codes{};
    for (int k = 0; k < 512; ++k) {
      for (int i = 0; i < 15; ++i) codes[k] += kIQ4Values[i] + kIQ4Values[i + 1] <= k - 256;
    }
    return codes;
  }();

  static int Code(float v) {
    return kCodes[static_cast<int>(std::clamp(2 * v + 256.0f, 0.0f, 511.0f))];
  }
  static float Value(int code) { return kIQ4Values[code]; }
};

// The scale d that minimises sum w (x - d q)^2 for given values q is A/B, with A = sum w q x and
// B = sum w q^2; the sum falls by A^2/B from sum w x^2.
struct ScaleFit {
  float scale = 0;
  float gain = 0;  // A^2/B
};

// The fit for the values that the grid gives to x * inverse.
template <class Grid>
ScaleFit FitAtInverse(const Samples& s, float inverse) {
  constexpr int kLanes = 4;  // independent sums, for the compiler to vectorise
  float q[kMaxSamples], a[kLanes] = {}, b[kLanes] = {};
  for (int i = 0; i < s.n; ++i) q[i] = Grid::Value(Grid::Code(s.x[i] * inverse));
  for (int i = 0; i < s.n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float wq = s.w[i + lane] * q[i + lane];
      a[lane] += wq * s.x[i + lane];
      b[lane] += wq * q[i + lane];
    }
  }
  const float sum_a = (a[0] + a[1]) + (a[2] + a[3]), sum_b = (b[0] + b[1]) + (b[2] + b[3]);
  if (!(sum_b > 0)) return {};
  return {sum_a / sum_b, sum_a * (sum_a / sum_b)};
}

// The number of largest magnitude, with its sign.
inline float Peak(const float* x, int n) {
  float peak = 0;
  for (int i = 0; i < n; ++i) {
    if (std::abs(x[i]) > std::abs(peak)) peak = x[i];
  }
  return peak;
}

// A scale for y = scale * value. The peak is put on several places around both ends of the grid,
// and codes and scale are then fitted to each other in turns, which can only lower the error.
template <class Grid>
float FitScale(const Samples& s) {
  constexpr int kMaxTurns = 8;
  const float peak = Peak(s.x, s.n);
  if (std::abs(peak) < kSmallestPeak) return 0;
  ScaleFit best;
  for (const float end : Grid::kEnds) {
    for (int t = -Grid::kSteps; t <= Grid::kSteps; ++t) {
      const float place = end * (1 + static_cast<float>(t) * Grid::kStep);
      const ScaleFit fit = FitAtInverse<Grid>(s, place / peak);
      if (fit.gain > best.gain) best = fit;
    }
  }
  for (int turn = 0; turn < kMaxTurns; ++turn) {
    const ScaleFit fit = FitAtInverse<Grid>(s, InverseScale(best.scale));
    if (!(fit.gain > best.gain)) break;
    best = fit;
  }
  return best.scale;
}

struct AffineFit {
  float scale = 0;  // not negative
  float min = 0;    // value of code 0
};

// Which values code 0 may have.
enum class MinRange { kAny, kAtMostZero };

// Scale and min for y = scale * q + min, q = 0..max_code; searched as in FitScale.
AffineFit FitAffine(const Samples& s, int max_code, MinRange min_range);

}  // namespace tandem
