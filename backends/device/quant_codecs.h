// Private to the codecs: one block decoded, one block encoded, for each block type.
#pragma once

#include "backends/device/quant_blocks.h"

namespace tandem {

// Writes the values of a block: `y` has room for the type's block size.
void DecodeBlock(const BlockQ4_0& block, float* y);
void DecodeBlock(const BlockQ4_1& block, float* y);
void DecodeBlock(const BlockQ5_0& block, float* y);
void DecodeBlock(const BlockQ5_1& block, float* y);
void DecodeBlock(const BlockQ8_0& block, float* y);
void DecodeBlock(const BlockIQ4_NL& block, float* y);
void DecodeBlock(const BlockMXFP4& block, float* y);
void DecodeBlock(const BlockQ2_K& block, float* y);
void DecodeBlock(const BlockQ3_K& block, float* y);
void DecodeBlock(const BlockQ4_K& block, float* y);
void DecodeBlock(const BlockQ5_K& block, float* y);
void DecodeBlock(const BlockQ6_K& block, float* y);
void DecodeBlock(const BlockIQ4_XS& block, float* y);

// Encodes a block. `x`: finite and, but for MXFP4, at most kMaxEncoded in magnitude. `w`: weights
// in (0, 1]. Both have the type's block size.
inline constexpr float kMaxEncoded = 1e9f;  // above what any fp16 scale reaches: 65504*128*32

void EncodeBlock(const float* x, const float* w, BlockQ4_0* block);
void EncodeBlock(const float* x, const float* w, BlockQ4_1* block);
void EncodeBlock(const float* x, const float* w, BlockQ5_0* block);
void EncodeBlock(const float* x, const float* w, BlockQ5_1* block);
void EncodeBlock(const float* x, const float* w, BlockQ8_0* block);
void EncodeBlock(const float* x, const float* w, BlockIQ4_NL* block);
void EncodeBlock(const float* x, const float* w, BlockMXFP4* block);
void EncodeBlock(const float* x, const float* w, BlockQ2_K* block);
void EncodeBlock(const float* x, const float* w, BlockQ3_K* block);
void EncodeBlock(const float* x, const float* w, BlockQ4_K* block);
void EncodeBlock(const float* x, const float* w, BlockQ5_K* block);
void EncodeBlock(const float* x, const float* w, BlockQ6_K* block);
void EncodeBlock(const float* x, const float* w, BlockIQ4_XS* block);

// The encoders of QuantizeRowOnePass.
void EncodeBlockOnePass(const float* x, BlockQ4_0* block);
void EncodeBlockOnePass(const float* x, BlockQ8_0* block);

}  // namespace tandem
