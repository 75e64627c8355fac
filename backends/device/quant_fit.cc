#include "backends/device/quant_fit.h"

namespace tandem {
namespace {

// Weighted sums over the samples, in double: the fit subtracts numbers of like size.
struct AffineSums {
  double w = 0, x = 0, q = 0, qq = 0, qx = 0;
};

struct ScoredFit {
  AffineFit fit;
  double gain = -1;  // how far sum w (x - y)^2 lies below sum w x^2
};

AffineSums SumAt(const Samples& s, const AffineFit& at, int max_code) {
  const float inverse = InverseScale(at.scale);
  float q[kMaxSamples];
  for (int i = 0; i < s.n; ++i) {
    q[i] = static_cast<float>(RoundToRange((s.x[i] - at.min) * inverse, 0, max_code));
  }
  AffineSums sums;
  for (int i = 0; i < s.n; ++i) {
    const double wq = s.w[i] * q[i], wx = s.w[i] * s.x[i];
    sums.w += s.w[i];
    sums.x += wx;
    sums.q += wq;
    sums.qq += wq * q[i];
    sums.qx += wx * q[i];
  }
  return sums;
}

// The best scale and min for the codes that `at` gives.
ScoredFit Refit(const Samples& s, const AffineFit& at, int max_code, MinRange min_range) {
  const AffineSums sums = SumAt(s, at, max_code);
  const double determinant = sums.w * sums.qq - sums.q * sums.q;
  double scale = 0, min = sums.x / sums.w;
  if (determinant > 0) {
    scale = (sums.w * sums.qx - sums.q * sums.x) / determinant;
    min = (sums.qq * sums.x - sums.q * sums.qx) / determinant;
  }
  if (min_range == MinRange::kAtMostZero && min > 0) {
    min = 0;
    scale = sums.qq > 0 ? sums.qx / sums.qq : 0;
  }
  const double error =
      scale * (scale * sums.qq + 2 * (min * sums.q - sums.qx)) + min * (min * sums.w - 2 * sums.x);
  return {{static_cast<float>(std::max(scale, 0.0)), static_cast<float>(min)}, -error};
}

}  // namespace

AffineFit FitAffine(const Samples& s, int max_code, MinRange min_range) {
  constexpr int kMaxTurns = 8;
  // Starts: the largest number from 3/4 of a code inside the range to one code outside it, code 0
  // on the smallest number or up to 0.7 steps above. A finer search of both (40 x 13 starts) takes
  // 1 % or less off the RMSE of normal deviates.
  constexpr int kTops = 8;
  constexpr float kLifts[] = {0, 0.35f, 0.7f};
  const auto [low, high] = std::minmax_element(s.x, s.x + s.n);
  const float min = min_range == MinRange::kAtMostZero ? std::min(*low, 0.0f) : *low;
  const float range = *high - min;
  if (!(range >= kSmallestPeak)) return {0, std::abs(min) < kSmallestPeak ? 0 : min};
  ScoredFit best = Refit(s, {range / static_cast<float>(max_code), min}, max_code, min_range);
  for (const float lift : kLifts) {
    for (int t = 0; t < kTops; ++t) {
      const float top = static_cast<float>(max_code) - 0.75f + 0.25f * static_cast<float>(t);
      const float scale = range / top;
      const ScoredFit fit = Refit(s, {scale, min + lift * scale}, max_code, min_range);
      if (fit.gain > best.gain) best = fit;
    }
  }
  for (int turn = 0; turn < kMaxTurns; ++turn) {
    const ScoredFit fit = Refit(s, best.fit, max_code, min_range);
    if (!(fit.gain > best.gain)) break;
    best = fit;
  }
  return best.fit;
}

}  // namespace tandem
