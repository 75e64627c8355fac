// Frequencies of rotary position embeddings, with the scalings that published models use.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "backends/device/kernels.h"

namespace tandem {

enum class RopeScaling {
  kNone,
  kLinear,  // all frequencies divided by `factor`
  kYarn,    // Peng et al. 2023, arXiv 2309.00071
  kLlama3,  // Llama 3.1: by wavelength
};

struct RopeConfig {
  int64_t dim = 0;  // rotated elements of a head
  RopePairing pairing = RopePairing::kInterleaved;
  double base = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  double original_context = 0.0;  // tokens that the model was trained on before scaling
  // YaRN: dimensions that turn more often than beta_fast within the original context keep their
  // frequency, those that turn less often than beta_slow are interpolated.
  double beta_fast = 32.0, beta_slow = 1.0;
  bool truncate = true;                       // round the bounds between them to whole dimensions
  double mscale = 0.0, mscale_all_dim = 0.0;  // DeepSeek's magnitudes; 0: not given
  std::optional<double> attention_factor;     // magnitude of cosine and sine, if given
  // Llama 3: bounds of the wavelengths that are blended, as parts of the original context.
  double low_freq_factor = 1.0, high_freq_factor = 4.0;
  // Divisors of the frequencies, [dim / 2], as GGUF's rope_freqs holds them; empty: none.
  std::vector<float> divisors;
};

// InvalidArgument for an odd or negative dim, a factor or base that is not positive, and so on.
absl::Status ValidateRope(const RopeConfig& config);

// Angle of pair i per position, [dim / 2].
std::vector<float> RopeFrequencies(const RopeConfig& config);

// What cosine and sine are multiplied with. YaRN: attention_factor; or the quotient of DeepSeek's
// two magnitudes; or 1 + 0.1 ln(factor).
double RopeMagnitude(const RopeConfig& config);

// What the scores of DeepSeek's attention are multiplied with on top of 1 / sqrt(Dk):
// m(mscale_all_dim)^2, m(k) = 1 + 0.1 k ln(factor) (DeepSeek-V2 model code).
double RopeScoreFactor(const RopeConfig& config);

}  // namespace tandem
