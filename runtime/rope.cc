#include "runtime/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "backends/device/status.h"

namespace tandem {
namespace {

double Magnitude(double factor, double k) {
  return factor <= 1.0 ? 1.0 : 1.0 + 0.1 * k * std::log(factor);
}

// The dimension that turns `beta` times within the original context (YaRN, section 3.2).
double CorrectionDim(const RopeConfig& c, double beta) {
  const double turns = c.original_context / (2.0 * std::numbers::pi * beta);
  return static_cast<double>(c.dim) * std::log(turns) / (2.0 * std::log(c.base));
}

void ScaleYarn(const RopeConfig& c, std::vector<double>& freqs) {
  double low = CorrectionDim(c, c.beta_fast), high = CorrectionDim(c, c.beta_slow);
  if (c.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(c.dim - 1));
  for (size_t i = 0; i < freqs.size(); ++i) {
    const double position = (static_cast<double>(i) - low) / std::max(0.001, high - low);
    const double keep = 1.0 - std::clamp(position, 0.0, 1.0);
    freqs[i] = freqs[i] / c.factor * (1.0 - keep) + freqs[i] * keep;
  }
}

void ScaleLlama3(const RopeConfig& c, std::vector<double>& freqs) {
  for (double& freq : freqs) {
    const double turns = c.original_context * freq / (2.0 * std::numbers::pi);
    const double share = std::clamp(
        (turns - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor), 0.0, 1.0);
    freq = (1.0 - share) * freq / c.factor + share * freq;
  }
}

}  // namespace

absl::Status ValidateRope(const RopeConfig& c) {
  const auto bad = [](const char* what, double value) {
    return absl::InvalidArgumentError(absl::StrCat("rope: ", what, " is ", value));
  };
  if (c.dim < 0 || c.dim % 2 != 0) return bad("dimension", static_cast<double>(c.dim));
  if (!(c.base > 1.0) || !std::isfinite(c.base)) return bad("base", c.base);
  if (!(c.factor > 0.0) || !std::isfinite(c.factor)) return bad("factor", c.factor);
  const bool needs_context = c.scaling == RopeScaling::kYarn || c.scaling == RopeScaling::kLlama3;
  if (needs_context && !(c.original_context >= 1.0)) {
    return bad("original context", c.original_context);
  }
  if (!(c.beta_fast > 0.0)) return bad("beta_fast", c.beta_fast);
  if (!(c.beta_slow > 0.0)) return bad("beta_slow", c.beta_slow);
  if (c.scaling == RopeScaling::kLlama3 && !(c.high_freq_factor > c.low_freq_factor)) {
    return bad("high_freq_factor", c.high_freq_factor);
  }
  if (const double magnitude = RopeMagnitude(c); !std::isfinite(magnitude)) {
    return bad("magnitude", magnitude);
  }
  if (!c.divisors.empty() && static_cast<int64_t>(c.divisors.size()) != c.dim / 2) {
    return bad("number of divisors", static_cast<double>(c.divisors.size()));
  }
  for (const float divisor : c.divisors) {
    if (!(divisor > 0.0f)) return bad("divisor", static_cast<double>(divisor));
  }
  return absl::OkStatus();
}

std::vector<float> RopeFrequencies(const RopeConfig& c) {
  std::vector<double> freqs(static_cast<size_t>(c.dim / 2));
  for (size_t i = 0; i < freqs.size(); ++i) {
    freqs[i] = std::pow(c.base, -2.0 * static_cast<double>(i) / static_cast<double>(c.dim));
    if (!c.divisors.empty()) freqs[i] /= static_cast<double>(c.divisors[i]);
    if (c.scaling == RopeScaling::kLinear) freqs[i] /= c.factor;
  }
  if (c.scaling == RopeScaling::kYarn) ScaleYarn(c, freqs);
  if (c.scaling == RopeScaling::kLlama3) ScaleLlama3(c, freqs);
  return {freqs.begin(), freqs.end()};
}

double RopeMagnitude(const RopeConfig& c) {
  if (c.scaling != RopeScaling::kYarn) return 1.0;
  if (c.attention_factor.has_value()) return *c.attention_factor;
  if (c.mscale != 0.0 && c.mscale_all_dim != 0.0) {
    return Magnitude(c.factor, c.mscale) / Magnitude(c.factor, c.mscale_all_dim);
  }
  return Magnitude(c.factor, 1.0);
}

double RopeScoreFactor(const RopeConfig& c) {
  if (c.scaling != RopeScaling::kYarn || c.mscale_all_dim == 0.0) return 1.0;
  const double m = Magnitude(c.factor, c.mscale_all_dim);
  return m * m;
}

}  // namespace tandem
