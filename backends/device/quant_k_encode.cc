// Encoders of the blocks of 256. Each group is first fitted by itself. The scales found are then
// rounded to multiples of a common one; with that rounding known, the multiples and codes, and the
// common scale, are improved in turns.
#include <cstring>
#include <limits>

#include "backends/device/quant_codecs.h"
#include "backends/device/quant_fit.h"

namespace tandem {
namespace {

constexpr int kMaxGroups = kSuperBlock / 16;
constexpr uint16_t kF16MaxBits = 0x7BFF;
constexpr int kRounds = 4;  // turns of (multiples and codes, common scale)

// Scales of the groups of a block, and the weighted squared error they leave.
struct ScaledBlock {
  uint16_t d = 0;               // fp16 bits of the common scale
  int scales[kMaxGroups] = {};  // group scale = d * scales[group]
  float error = std::numeric_limits<float>::infinity();
};

struct AffineBlock {
  uint16_t d = 0, dmin = 0;     // fp16 bits
  int scales[kMaxGroups] = {};  // group scale = d * scales[group]
  int mins[kMaxGroups] = {};    // value of code 0 = -dmin * mins[group]
  float error = std::numeric_limits<float>::infinity();
};

// fp16 bits of the common scale of groups of which the largest has `scale`. Rounded away from zero:
// denormals are so coarse that the largest multiple of a smaller one might not reach `scale`.
uint16_t CommonScaleToF16(float scale) {
  const uint16_t half = ScaleToF16(scale);
  const bool short_of_it = std::abs(F16ToF32(half)) < std::abs(scale);
  return short_of_it && (half & 0x7FFF) < kF16MaxBits ? half + 1 : half;
}

template <class Grid>
float GroupError(const Samples& s, float scale) {
  const float inverse = InverseScale(scale);
  float sum = 0;
  for (int i = 0; i < s.n; ++i) {
    const float error = s.x[i] - scale * Grid::Value(Grid::Code(s.x[i] * inverse));
    sum += s.w[i] * error * error;
  }
  return sum;
}

float AffineGroupError(const Samples& s, const AffineFit& fit, int max_code) {
  const float inverse = InverseScale(fit.scale);
  float sum = 0;
  for (int i = 0; i < s.n; ++i) {
    const int q = RoundToRange((s.x[i] - fit.min) * inverse, 0, max_code);
    const float error = s.x[i] - (fit.scale * static_cast<float>(q) + fit.min);
    sum += s.w[i] * error * error;
  }
  return sum;
}

// A format with one signed scale per group: `Grid` of the codes, range of the scales.
template <class GridT, int kGroupSizeT, int kLowT, int kHighT>
struct ScaledFormat {
  using Grid = GridT;
  static constexpr int kGroupSize = kGroupSizeT, kLow = kLowT, kHigh = kHighT;
};

// A format with a scale and a min per group, both 0..kMaxScale; codes 0..kMaxCode.
template <int kGroupSizeT, int kMaxScaleT, int kMaxCodeT>
struct AffineFormat {
  static constexpr int kGroupSize = kGroupSizeT, kMaxScale = kMaxScaleT, kMaxCode = kMaxCodeT;
};

template <class Format>
Samples Group(const float* x, const float* w, int group) {
  return {x + group * Format::kGroupSize, w + group * Format::kGroupSize, Format::kGroupSize};
}

// The best multiple of the common scale for each group, near its own fit.
template <class Format>
ScaledBlock AssignScales(const float* x, const float* w, const float* fits, uint16_t d) {
  ScaledBlock block{.d = d, .error = 0};
  const float common = F16ToF32(d), inverse = InverseScale(common);
  for (int g = 0; g < kSuperBlock / Format::kGroupSize; ++g) {
    const Samples s = Group<Format>(x, w, g);
    const int nearest = RoundToRange(fits[g] * inverse, Format::kLow, Format::kHigh);
    float best = std::numeric_limits<float>::infinity();
    for (int scale = std::max(nearest - 1, Format::kLow);
         scale <= std::min(nearest + 1, Format::kHigh); ++scale) {
      const float error = GroupError<typename Format::Grid>(s, common * static_cast<float>(scale));
      if (error < best) {
        best = error;
        block.scales[g] = scale;
      }
    }
    block.error += best;
  }
  return block;
}

// The common scale that suits the codes of `block` best: A/B, as for ScaleFit.
template <class Format>
uint16_t RefitCommonScale(const float* x, const float* w, const ScaledBlock& block) {
  using Grid = typename Format::Grid;
  const float d = F16ToF32(block.d);
  double a = 0, b = 0;
  for (int i = 0; i < kSuperBlock; ++i) {
    const auto scale = static_cast<float>(block.scales[i / Format::kGroupSize]);
    const float q = scale * Grid::Value(Grid::Code(x[i] * InverseScale(d * scale)));
    a += w[i] * q * x[i];
    b += w[i] * q * q;
  }
  return b > 0 ? ScaleToF16(static_cast<float>(a / b)) : block.d;
}

template <class Format>
ScaledBlock FitScaledBlock(const float* x, const float* w) {
  float fits[kMaxGroups] = {};
  for (int g = 0; g < kSuperBlock / Format::kGroupSize; ++g) {
    fits[g] = FitScale<typename Format::Grid>(Group<Format>(x, w, g));
  }
  // The low end of the range reaches one further than the high end, so it takes the largest scale.
  uint16_t d = CommonScaleToF16(Peak(fits, kMaxGroups) / static_cast<float>(Format::kLow));
  ScaledBlock best;
  for (int round = 0; round < kRounds; ++round) {
    const ScaledBlock block = AssignScales<Format>(x, w, fits, d);
    if (!(block.error < best.error)) break;
    best = block;
    d = RefitCommonScale<Format>(x, w, best);
  }
  return best;
}

// Codes of all elements, each shifted by `offset` to be unsigned.
template <class Format>
void ScaledCodes(const float* x, const ScaledBlock& block, int offset,
                 uint8_t (&codes)[kSuperBlock]) {
  const float d = F16ToF32(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const float scale = d * static_cast<float>(block.scales[i / Format::kGroupSize]);
    codes[i] = static_cast<uint8_t>(Format::Grid::Code(x[i] * InverseScale(scale)) + offset);
  }
}

// The best multiples of the common scale and min for each group, near its own fit.
template <class Format>
AffineBlock AssignAffine(const float* x, const float* w, const AffineFit* fits, uint16_t d,
                         uint16_t dmin) {
  constexpr int kMax = Format::kMaxScale;
  AffineBlock block{.d = d, .dmin = dmin, .error = 0};
  const float common = F16ToF32(d), common_min = F16ToF32(dmin);
  for (int g = 0; g < kSuperBlock / Format::kGroupSize; ++g) {
    const Samples s = Group<Format>(x, w, g);
    const int scale0 = RoundToRange(fits[g].scale * InverseScale(common), 0, kMax);
    const int min0 = RoundToRange(-fits[g].min * InverseScale(common_min), 0, kMax);
    float best = std::numeric_limits<float>::infinity();
    for (int scale = std::max(scale0 - 1, 0); scale <= std::min(scale0 + 1, kMax); ++scale) {
      for (int min = std::max(min0 - 1, 0); min <= std::min(min0 + 1, kMax); ++min) {
        const AffineFit fit = {common * static_cast<float>(scale),
                               -common_min * static_cast<float>(min)};
        const float error = AffineGroupError(s, fit, Format::kMaxCode);
        if (error < best) {
          best = error;
          block.scales[g] = scale;
          block.mins[g] = min;
        }
      }
    }
    block.error += best;
  }
  return block;
}

template <class Format>
int AffineCode(float x, const AffineBlock& block, int group) {
  const float scale = F16ToF32(block.d) * static_cast<float>(block.scales[group]);
  const float min = F16ToF32(block.dmin) * static_cast<float>(block.mins[group]);
  return RoundToRange((x + min) * InverseScale(scale), 0, Format::kMaxCode);
}

// Sets d and dmin to those that suit the codes of `block` best: the two unknowns of the normal
// equations of y = d * u - dmin * v, with u = scale * q and v = min.
template <class Format>
void RefitCommonAffine(const float* x, const float* w, AffineBlock* block) {
  double uu = 0, uv = 0, vv = 0, ux = 0, vx = 0;
  for (int i = 0; i < kSuperBlock; ++i) {
    const int g = i / Format::kGroupSize;
    const double u = block->scales[g] * AffineCode<Format>(x[i], *block, g), v = block->mins[g];
    uu += w[i] * u * u;
    uv += w[i] * u * v;
    vv += w[i] * v * v;
    ux += w[i] * u * x[i];
    vx += w[i] * v * x[i];
  }
  const double determinant = uu * vv - uv * uv;
  double d = uu > 0 ? ux / uu : 0, dmin = F16ToF32(block->dmin);
  if (determinant > 1e-9 * uu * vv) {
    d = (ux * vv - vx * uv) / determinant;
    dmin = (ux * uv - vx * uu) / determinant;
  }
  block->d = ScaleToF16(static_cast<float>(std::max(d, 0.0)));
  block->dmin = ScaleToF16(static_cast<float>(std::max(dmin, 0.0)));
}

template <class Format>
AffineBlock FitAffineBlock(const float* x, const float* w) {
  AffineFit fits[kMaxGroups] = {};
  AffineFit largest;
  for (int g = 0; g < kSuperBlock / Format::kGroupSize; ++g) {
    fits[g] = FitAffine(Group<Format>(x, w, g), Format::kMaxCode, MinRange::kAtMostZero);
    largest.scale = std::max(largest.scale, fits[g].scale);
    largest.min = std::min(largest.min, fits[g].min);
  }
  AffineBlock next;
  next.d = CommonScaleToF16(largest.scale / Format::kMaxScale);
  next.dmin = CommonScaleToF16(-largest.min / Format::kMaxScale);
  AffineBlock best;
  for (int round = 0; round < kRounds; ++round) {
    next = AssignAffine<Format>(x, w, fits, next.d, next.dmin);
    if (!(next.error < best.error)) break;
    best = next;
    RefitCommonAffine<Format>(x, w, &next);
  }
  return best;
}

template <class Format>
void AffineCodes(const float* x, const AffineBlock& block, uint8_t (&codes)[kSuperBlock]) {
  for (int i = 0; i < kSuperBlock; ++i) {
    codes[i] = static_cast<uint8_t>(AffineCode<Format>(x[i], block, i / Format::kGroupSize));
  }
}

// Bits 2j, 2j+1 of byte 32h + l take bits `shift`, `shift` + 1 of the code of 128h + 32j + l.
void PackBitPairs(const uint8_t (&codes)[kSuperBlock], int shift, uint8_t (&packed)[64]) {
  std::memset(packed, 0, sizeof(packed));
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, j = i / 32 % 4, l = i % 32;
    packed[32 * half + l] |= static_cast<uint8_t>((codes[i] >> shift & 3) << (2 * j));
  }
}

// Bit g of byte l takes bit `shift` of the code of 32g + l.
void PackSingleBits(const uint8_t (&codes)[kSuperBlock], int shift, uint8_t (&packed)[32]) {
  std::memset(packed, 0, sizeof(packed));
  for (int i = 0; i < kSuperBlock; ++i) {
    packed[i % 32] |= static_cast<uint8_t>((codes[i] >> shift & 1) << (i / 32));
  }
}

// The low 4 bits of `span` elements in low nibbles, those of the next `span` in the high nibbles
// of the same bytes, and so on.
void PackNibbles(const uint8_t (&codes)[kSuperBlock], int span, uint8_t (&packed)[128]) {
  for (int byte = 0; byte < 128; ++byte) {
    const int i = byte / span * 2 * span + byte % span;
    packed[byte] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + span] & 15) << 4);
  }
}

// The inverse of UnpackScaleMin.
void PackScaleMins(const AffineBlock& block, uint8_t (&packed)[12]) {
  for (int g = 0; g < 4; ++g) {
    const int scale = block.scales[g + 4], min = block.mins[g + 4];
    packed[g] = static_cast<uint8_t>(block.scales[g] | (scale >> 4) << 6);
    packed[g + 4] = static_cast<uint8_t>(block.mins[g] | (min >> 4) << 6);
    packed[g + 8] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
  }
}

}  // namespace

void EncodeBlock(const float* x, const float* w, BlockQ2_K* block) {
  using Format = AffineFormat<16, 15, 3>;
  const AffineBlock fit = FitAffineBlock<Format>(x, w);
  block->d = fit.d;
  block->dmin = fit.dmin;
  for (int g = 0; g < 16; ++g) {
    block->scales[g] = static_cast<uint8_t>(fit.scales[g] | fit.mins[g] << 4);
  }
  uint8_t codes[kSuperBlock];
  AffineCodes<Format>(x, fit, codes);
  PackBitPairs(codes, /*shift=*/0, block->qs);
}

void EncodeBlock(const float* x, const float* w, BlockQ3_K* block) {
  using Format = ScaledFormat<IntegerGrid<-4, 3>, 16, -32, 31>;
  const ScaledBlock fit = FitScaledBlock<Format>(x, w);
  block->d = fit.d;
  std::memset(block->scales, 0, sizeof(block->scales));
  for (int g = 0; g < 16; ++g) {
    const int scale = fit.scales[g] + 32;
    block->scales[g % 8] |= static_cast<uint8_t>((scale & 15) << (4 * (g / 8)));
    block->scales[8 + g % 4] |= static_cast<uint8_t>((scale >> 4) << (2 * (g / 4)));
  }
  uint8_t codes[kSuperBlock];
  ScaledCodes<Format>(x, fit, /*offset=*/4, codes);
  PackBitPairs(codes, /*shift=*/0, block->qs);
  PackSingleBits(codes, /*shift=*/2, block->hmask);
}

void EncodeBlock(const float* x, const float* w, BlockQ4_K* block) {
  using Format = AffineFormat<32, 63, 15>;
  const AffineBlock fit = FitAffineBlock<Format>(x, w);
  block->d = fit.d;
  block->dmin = fit.dmin;
  PackScaleMins(fit, block->scales);
  uint8_t codes[kSuperBlock];
  AffineCodes<Format>(x, fit, codes);
  PackNibbles(codes, /*span=*/32, block->qs);
}

void EncodeBlock(const float* x, const float* w, BlockQ5_K* block) {
  using Format = AffineFormat<32, 63, 31>;
  const AffineBlock fit = FitAffineBlock<Format>(x, w);
  block->d = fit.d;
  block->dmin = fit.dmin;
  PackScaleMins(fit, block->scales);
  uint8_t codes[kSuperBlock];
  AffineCodes<Format>(x, fit, codes);
  PackNibbles(codes, /*span=*/32, block->qs);
  PackSingleBits(codes, /*shift=*/4, block->qh);
}

void EncodeBlock(const float* x, const float* w, BlockQ6_K* block) {
  using Format = ScaledFormat<IntegerGrid<-32, 31>, 16, -128, 127>;
  const ScaledBlock fit = FitScaledBlock<Format>(x, w);
  block->d = fit.d;
  for (int g = 0; g < 16; ++g) block->scales[g] = static_cast<int8_t>(fit.scales[g]);
  uint8_t codes[kSuperBlock];
  ScaledCodes<Format>(x, fit, /*offset=*/32, codes);
  PackNibbles(codes, /*span=*/64, block->ql);
  PackBitPairs(codes, /*shift=*/4, block->qh);
}

void EncodeBlock(const float* x, const float* w, BlockIQ4_XS* block) {
  using Format = ScaledFormat<IQ4Grid, 32, -32, 31>;
  const ScaledBlock fit = FitScaledBlock<Format>(x, w);
  block->d = fit.d;
  block->scales_h = 0;
  std::memset(block->scales_l, 0, sizeof(block->scales_l));
  for (int g = 0; g < 8; ++g) {
    const int scale = fit.scales[g] + 32;
    block->scales_l[g / 2] |= static_cast<uint8_t>((scale & 15) << (4 * (g % 2)));
    block->scales_h |= static_cast<uint16_t>((scale >> 4) << (2 * g));
  }
  uint8_t codes[kSuperBlock];
  ScaledCodes<Format>(x, fit, /*offset=*/0, codes);
  PackNibbles(codes, /*span=*/16, block->qs);
}

}  // namespace tandem
