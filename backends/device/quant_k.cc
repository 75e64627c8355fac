// Decoders of the blocks of 256.
#include "backends/device/float16.h"
#include "backends/device/quant_codecs.h"

namespace tandem {

void DecodeBlock(const BlockQ2_K& block, float* y) {
  const float d = F16ToF32(block.d), dmin = F16ToF32(block.dmin);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, j = i / 32 % 4, l = i % 32;
    const uint8_t scales = block.scales[i / 16];
    const float scale = d * static_cast<float>(scales & 15);
    const float min = dmin * static_cast<float>(scales >> 4);
    y[i] = scale * static_cast<float>(block.qs[32 * half + l] >> (2 * j) & 3) - min;
  }
}

void DecodeBlock(const BlockQ3_K& block, float* y) {
  const float d = F16ToF32(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, j = i / 32 % 4, l = i % 32;
    const int low = block.qs[32 * half + l] >> (2 * j) & 3;
    const int high = block.hmask[l] >> (i / 32) & 1;
    const float scale = d * static_cast<float>(UnpackQ3KScale(block.scales, i / 16));
    y[i] = scale * static_cast<float>((low | high << 2) - 4);
  }
}

void DecodeBlock(const BlockQ4_K& block, float* y) {
  const float d = F16ToF32(block.d), dmin = F16ToF32(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const ScaleMin packed = UnpackScaleMin(block.scales, group);
    const float scale = d * packed.scale, min = dmin * packed.min;
    const uint8_t* qs = block.qs + 32 * (group / 2);
    for (int l = 0; l < 32; ++l) {
      y[32 * group + l] = scale * static_cast<float>(qs[l] >> (4 * (group % 2)) & 15) - min;
    }
  }
}

void DecodeBlock(const BlockQ5_K& block, float* y) {
  const float d = F16ToF32(block.d), dmin = F16ToF32(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const ScaleMin packed = UnpackScaleMin(block.scales, group);
    const float scale = d * packed.scale, min = dmin * packed.min;
    const uint8_t* qs = block.qs + 32 * (group / 2);
    for (int l = 0; l < 32; ++l) {
      const int low = qs[l] >> (4 * (group % 2)) & 15;
      const int high = block.qh[l] >> group & 1;
      y[32 * group + l] = scale * static_cast<float>(low | high << 4) - min;
    }
  }
}

void DecodeBlock(const BlockQ6_K& block, float* y) {
  const float d = F16ToF32(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, j = i / 32 % 4, l = i % 32;
    const int low = block.ql[64 * half + i % 64] >> (4 * (j / 2)) & 15;
    const int high = block.qh[32 * half + l] >> (2 * j) & 3;
    y[i] = d * block.scales[i / 16] * static_cast<float>((low | high << 4) - 32);
  }
}

void DecodeBlock(const BlockIQ4_XS& block, float* y) {
  const float d = F16ToF32(block.d);
  for (int group = 0; group < 8; ++group) {
    const float scale = d * static_cast<float>(UnpackIQ4XSScale(block, group));
    const uint8_t* qs = block.qs + 16 * group;
    for (int j = 0; j < 16; ++j) {
      y[32 * group + j] = scale * kIQ4Values[qs[j] & 15];
      y[32 * group + j + 16] = scale * kIQ4Values[qs[j] >> 4];
    }
  }
}

}  // namespace tandem
