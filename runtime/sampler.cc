#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "backends/device/status.h"

namespace tandem {
namespace {

absl::Status OutOfRange(const char* option, double value) {
  return absl::InvalidArgumentError(absl::StrCat("sampler: ", option, " is ", value));
}

// Keeps differences of logits finite; what is not a number is never chosen.
float Bounded(float logit) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  return std::isnan(logit) ? -kLargest : std::clamp(logit, -kLargest, kLargest);
}

}  // namespace

bool Sampler::Better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

absl::StatusOr<Sampler> Sampler::Create(const SamplerOptions& o) {
  if (!(o.temperature >= 0.0f) || !std::isfinite(o.temperature)) {
    return OutOfRange("temperature", o.temperature);
  }
  if (o.top_k < 0) return OutOfRange("top-k", o.top_k);
  if (!(o.top_p > 0.0f && o.top_p <= 1.0f)) return OutOfRange("top-p", o.top_p);
  if (!(o.min_p >= 0.0f && o.min_p <= 1.0f)) return OutOfRange("min-p", o.min_p);
  if (!(o.repeat_penalty > 0.0f) || !std::isfinite(o.repeat_penalty)) {
    return OutOfRange("repeat penalty", o.repeat_penalty);
  }
  if (o.repeat_window < 0) return OutOfRange("repeat window", o.repeat_window);
  return Sampler(o);
}

// splitmix64 (Steele, Lea and Flood 2014): tiny, and the same everywhere, unlike the distributions
// of the standard library.
double Sampler::NextUniform() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

void Sampler::Penalize(std::span<const int32_t> history) {
  if (options_.repeat_penalty == 1.0f) return;
  const size_t count = std::min(history.size(), static_cast<size_t>(options_.repeat_window));
  const auto recent = history.last(count);
  for (const int32_t id : std::set<int32_t>(recent.begin(), recent.end())) {
    if (id < 0 || static_cast<size_t>(id) >= candidates_.size()) continue;
    float& logit = candidates_[static_cast<size_t>(id)].logit;
    logit =
        Bounded(logit > 0.0f ? logit / options_.repeat_penalty : logit * options_.repeat_penalty);
  }
}

void Sampler::KeepTopK() {
  const auto k = static_cast<size_t>(options_.top_k);
  if (k == 0 || k >= candidates_.size()) return;
  std::ranges::nth_element(candidates_, candidates_.begin() + static_cast<std::ptrdiff_t>(k),
                           Better);
  candidates_.resize(k);
}

// Turns logits into probabilities relative to the best one's.
double Sampler::Exponentiate() {
  const double best =
      static_cast<double>(std::ranges::max_element(candidates_, {}, &Candidate::logit)->logit);
  double sum = 0.0;
  for (Candidate& c : candidates_) {
    c.probability =
        std::exp((static_cast<double>(c.logit) - best) / static_cast<double>(options_.temperature));
    sum += c.probability;
  }
  return sum;
}

// A heap gives the likely candidates one by one; sorting a large vocabulary for a few of them would
// take longer than a step of a small model.
void Sampler::KeepTopP(double sum) {
  if (options_.top_p >= 1.0f) return;
  const auto worse = [](const Candidate& a, const Candidate& b) { return Better(b, a); };
  std::ranges::make_heap(candidates_, worse);
  auto end = candidates_.end();
  double reached = 0.0;
  while (end != candidates_.begin() && reached < static_cast<double>(options_.top_p) * sum) {
    std::ranges::pop_heap(candidates_.begin(), end, worse);
    reached += (--end)->probability;
  }
  candidates_.erase(candidates_.begin(), end);
}

absl::StatusOr<int32_t> Sampler::Sample(std::span<const float> logits,
                                        std::span<const int32_t> history) {
  candidates_.clear();
  bool any = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    any = any || std::isfinite(logits[i]);
    candidates_.push_back({static_cast<int32_t>(i), Bounded(logits[i]), 0.0});
  }
  if (!any) return absl::InternalError("no logit of the next token is finite");
  Penalize(history);
  if (options_.temperature == 0.0f) {
    return std::ranges::max_element(candidates_, {}, &Candidate::logit)->id;
  }
  KeepTopK();
  KeepTopP(Exponentiate());
  // The best candidate has the relative probability 1. What has none is not chosen, however the sum
  // is rounded.
  std::erase_if(candidates_, [this](const Candidate& c) {
    return c.probability == 0.0 || c.probability < static_cast<double>(options_.min_p);
  });
  // The filters leave an order that depends on the standard library.
  if (!std::ranges::is_sorted(candidates_, {}, &Candidate::id)) {
    std::ranges::sort(candidates_, {}, &Candidate::id);
  }
  double sum = 0.0;
  for (const Candidate& c : candidates_) sum += c.probability;
  double point = NextUniform() * sum;
  for (const Candidate& c : candidates_) {
    point -= c.probability;
    if (point < 0.0) return c.id;
  }
  return candidates_.back().id;
}

}  // namespace tandem
