// Codecs of the blocks of 32.
#include <cstring>
#include <limits>

#include "backends/device/quant_codecs.h"
#include "backends/device/quant_fit.h"

namespace tandem {
namespace {

constexpr int kHalf = kSmallBlock / 2;

// The code, 0..15, of element i.
int Nibble(const uint8_t (&qs)[kHalf], int i) {
  return i < kHalf ? qs[i] & 15 : qs[i - kHalf] >> 4;
}

void PackNibbles(const uint8_t (&codes)[kSmallBlock], uint8_t (&qs)[kHalf]) {
  for (int j = 0; j < kHalf; ++j) {
    qs[j] = static_cast<uint8_t>((codes[j] & 15) | (codes[j + kHalf] & 15) << 4);
  }
}

// Bit 4 of the code of element i, in its place.
int FifthBit(const uint8_t (&qh)[4], int i) { return (qh[i / 8] >> (i % 8) & 1) << 4; }

void PackFifthBits(const uint8_t (&codes)[kSmallBlock], uint8_t (&qh)[4]) {
  std::memset(qh, 0, sizeof(qh));
  for (int i = 0; i < kSmallBlock; ++i) {
    qh[i / 8] |= static_cast<uint8_t>((codes[i] >> 4 & 1) << (i % 8));
  }
}

// Chooses the scale and the codes, each shifted by `offset` to be unsigned. The codes are picked
// for the scale as stored, so its rounding to fp16 costs nothing twice.
template <class Grid>
uint16_t EncodeScaled(const float* x, const float* w, int offset, uint8_t (&codes)[kSmallBlock]) {
  const uint16_t d = ScaleToF16(FitScale<Grid>({x, w, kSmallBlock}));
  const float inverse = InverseScale(F16ToF32(d));
  for (int i = 0; i < kSmallBlock; ++i) {
    codes[i] = static_cast<uint8_t>(Grid::Code(x[i] * inverse) + offset);
  }
  return d;
}

struct StoredAffine {
  uint16_t d;
  uint16_t m;
};

StoredAffine EncodeAffine(const float* x, const float* w, int max_code,
                          uint8_t (&codes)[kSmallBlock]) {
  const AffineFit fit = FitAffine({x, w, kSmallBlock}, max_code, MinRange::kAny);
  const StoredAffine stored = {ScaleToF16(fit.scale),
                               F32ToF16(std::clamp(fit.min, -kF16Max, kF16Max))};
  const float inverse = InverseScale(F16ToF32(stored.d)), min = F16ToF32(stored.m);
  for (int i = 0; i < kSmallBlock; ++i) {
    codes[i] = static_cast<uint8_t>(RoundToRange((x[i] - min) * inverse, 0, max_code));
  }
  return stored;
}

// Code of the e2m1 value nearest to v, where the values are doubled.
int MXFP4Code(float v) {
  const float magnitude = std::abs(v);
  int code = 0;
  for (int i = 0; i < 7; ++i) {
    code += 2 * magnitude > static_cast<float>(kMXFP4Values[i] + kMXFP4Values[i + 1]);
  }
  return v < 0 && code > 0 ? code + 8 : code;
}

// Sum of w (x - y)^2 with exponent `e`. In double: x reaches the largest float.
double MXFP4Error(const float* x, const float* w, int e) {
  const double scale = MXFP4Scale(static_cast<uint8_t>(e));
  double sum = 0;
  for (int i = 0; i < kSmallBlock; ++i) {
    const int code = MXFP4Code(static_cast<float>(x[i] / scale));
    const double error = x[i] - scale * kMXFP4Values[code];
    sum += w[i] * error * error;
  }
  return sum;
}

// True if all values of the block are finite numbers; sets `peak` to the largest in magnitude.
bool FindPeak(const float* x, float* peak) {
  bool finite = true;
  for (int i = 0; i < kSmallBlock; ++i) {
    finite &= std::abs(x[i]) <= std::numeric_limits<float>::max();
  }
  *peak = Peak(x, kSmallBlock);
  return finite;
}

constexpr uint16_t kF16NaN = 0x7E00;

}  // namespace

void DecodeBlock(const BlockQ4_0& block, float* y) {
  const float d = F16ToF32(block.d);
  for (int i = 0; i < kSmallBlock; ++i) y[i] = d * static_cast<float>(Nibble(block.qs, i) - 8);
}

void DecodeBlock(const BlockQ4_1& block, float* y) {
  const float d = F16ToF32(block.d), m = F16ToF32(block.m);
  for (int i = 0; i < kSmallBlock; ++i) y[i] = d * static_cast<float>(Nibble(block.qs, i)) + m;
}

void DecodeBlock(const BlockQ5_0& block, float* y) {
  const float d = F16ToF32(block.d);
  for (int i = 0; i < kSmallBlock; ++i) {
    const int q = Nibble(block.qs, i) | FifthBit(block.qh, i);
    y[i] = d * static_cast<float>(q - 16);
  }
}

void DecodeBlock(const BlockQ5_1& block, float* y) {
  const float d = F16ToF32(block.d), m = F16ToF32(block.m);
  for (int i = 0; i < kSmallBlock; ++i) {
    const int q = Nibble(block.qs, i) | FifthBit(block.qh, i);
    y[i] = d * static_cast<float>(q) + m;
  }
}

void DecodeBlock(const BlockQ8_0& block, float* y) {
  const float d = F16ToF32(block.d);
  for (int i = 0; i < kSmallBlock; ++i) y[i] = d * static_cast<float>(block.qs[i]);
}

void DecodeBlock(const BlockIQ4_NL& block, float* y) {
  const float d = F16ToF32(block.d);
  for (int i = 0; i < kSmallBlock; ++i) y[i] = d * kIQ4Values[Nibble(block.qs, i)];
}

void DecodeBlock(const BlockMXFP4& block, float* y) {
  const float d = MXFP4Scale(block.e);
  for (int i = 0; i < kSmallBlock; ++i) y[i] = d * kMXFP4Values[Nibble(block.qs, i)];
}

void EncodeBlock(const float* x, const float* w, BlockQ4_0* block) {
  uint8_t codes[kSmallBlock];
  block->d = EncodeScaled<IntegerGrid<-8, 7>>(x, w, /*offset=*/8, codes);
  PackNibbles(codes, block->qs);
}

void EncodeBlock(const float* x, const float* w, BlockQ4_1* block) {
  uint8_t codes[kSmallBlock];
  const StoredAffine stored = EncodeAffine(x, w, /*max_code=*/15, codes);
  block->d = stored.d;
  block->m = stored.m;
  PackNibbles(codes, block->qs);
}

void EncodeBlock(const float* x, const float* w, BlockQ5_0* block) {
  uint8_t codes[kSmallBlock];
  block->d = EncodeScaled<IntegerGrid<-16, 15>>(x, w, /*offset=*/16, codes);
  PackFifthBits(codes, block->qh);
  PackNibbles(codes, block->qs);
}

void EncodeBlock(const float* x, const float* w, BlockQ5_1* block) {
  uint8_t codes[kSmallBlock];
  const StoredAffine stored = EncodeAffine(x, w, /*max_code=*/31, codes);
  block->d = stored.d;
  block->m = stored.m;
  PackFifthBits(codes, block->qh);
  PackNibbles(codes, block->qs);
}

void EncodeBlock(const float* x, const float* w, BlockQ8_0* block) {
  uint8_t codes[kSmallBlock];
  block->d = EncodeScaled<IntegerGrid<-127, 127>>(x, w, /*offset=*/0, codes);
  std::memcpy(block->qs, codes, sizeof(codes));
}

void EncodeBlock(const float* x, const float* w, BlockIQ4_NL* block) {
  uint8_t codes[kSmallBlock];
  block->d = EncodeScaled<IQ4Grid>(x, w, /*offset=*/0, codes);
  PackNibbles(codes, block->qs);
}

void EncodeBlock(const float* x, const float* w, BlockMXFP4* block) {
  // The exponent that leaves the peak between 4 and 8 units of e2m1, whose largest value is 6; the
  // neighbours may fit the rest of the block better.
  int exponent = 0;
  std::frexp(Peak(x, kSmallBlock), &exponent);
  const int start = exponent - 1 - 2 + 127;
  int best = std::clamp(start, 0, 252);  // 253 * 12 overflows
  double best_error = MXFP4Error(x, w, best);
  for (int e = std::max(start - 1, 0); e <= std::min(start + 1, 252); ++e) {
    const double error = MXFP4Error(x, w, e);
    if (error < best_error) {
      best_error = error;
      best = e;
    }
  }
  block->e = static_cast<uint8_t>(best);
  const double scale = MXFP4Scale(block->e);
  uint8_t codes[kSmallBlock];
  for (int i = 0; i < kSmallBlock; ++i) {
    codes[i] = static_cast<uint8_t>(MXFP4Code(static_cast<float>(x[i] / scale)));
  }
  PackNibbles(codes, block->qs);
}

void EncodeBlockOnePass(const float* x, BlockQ4_0* block) {
  float peak;
  const bool finite = FindPeak(x, &peak);
  block->d = finite ? ScaleToF16(std::abs(peak) < kSmallestPeak ? 0 : peak / -8) : kF16NaN;
  const float inverse = finite ? InverseScale(F16ToF32(block->d)) : 0;
  uint8_t codes[kSmallBlock];
  for (int i = 0; i < kSmallBlock; ++i) {
    codes[i] = static_cast<uint8_t>(finite ? RoundToRange(x[i] * inverse, -8, 7) + 8 : 0);
  }
  PackNibbles(codes, block->qs);
}

void EncodeBlockOnePass(const float* x, BlockQ8_0* block) {
  float peak;
  const bool finite = FindPeak(x, &peak);
  const float amax = std::abs(peak);
  block->d = finite ? ScaleToF16(amax < kSmallestPeak ? 0 : amax / 127) : kF16NaN;
  const float inverse = finite ? InverseScale(F16ToF32(block->d)) : 0;
  for (int i = 0; i < kSmallBlock; ++i) {
    block->qs[i] = static_cast<int8_t>(finite ? RoundToRange(x[i] * inverse, -127, 127) : 0);
  }
}

}  // namespace tandem
