// Chooses the next token from a row of logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

struct SamplerOptions {
  float temperature = 0.0f;  // 0: always the most likely token
  int top_k = 0;             // keep the k most likely; 0: all
  float top_p = 1.0f;        // keep the fewest whose probabilities reach p (Holtzman et al. 2019)
  float min_p = 0.0f;        // drop those below p times the best one's probability
  float repeat_penalty = 1.0f;  // logits of recent tokens are divided by it (or multiplied, if < 0)
  int repeat_window = 64;       // recent tokens that count
  uint64_t seed = 0;
};

// The filters work in the order penalty, top-k, temperature, top-p, min-p. Ties go to the lower id.
// The same seed and logits give the same tokens on every machine.
class Sampler {
 public:
  // InvalidArgument, naming the option, for one out of range.
  static absl::StatusOr<Sampler> Create(const SamplerOptions& options);

  // The next token, given the tokens so far. A row without a finite logit, such as an empty one,
  // gives Internal; a logit that is not a number is never chosen.
  absl::StatusOr<int32_t> Sample(std::span<const float> logits, std::span<const int32_t> history);

 private:
  struct Candidate {
    int32_t id = 0;
    float logit = 0.0f;
    double probability = 0.0;
  };
  explicit Sampler(const SamplerOptions& options) : options_(options), state_(options.seed) {}
  void Penalize(std::span<const int32_t> history);
  static bool Better(const Candidate& a, const Candidate& b);  // more likely, or the lower id
  void KeepTopK();
  double Exponentiate();  // returns the sum of the probabilities
  void KeepTopP(double sum);
  double NextUniform();  // in [0, 1)

  SamplerOptions options_;
  uint64_t state_;
  std::vector<Candidate> candidates_;
};

}  // namespace tandem
