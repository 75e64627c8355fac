// The loops whose speed is measured. Each file of them is compiled for the instructions in its name
// and may only run where the CPU has them, so it holds plain loops alone: a function of a header
// that it emitted could be the copy that the linker keeps for the whole program.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem::machine {

// Read `bytes` bytes, a multiple of 512, from `data`, aligned to 64; give a sum of what they read.
uint64_t ReadAvx2(const void* data, size_t bytes);
uint64_t ReadAvx512(const void* data, size_t bytes);

// Do `turns` turns of multiplying and adding; the operations of one turn are the constants. They
// give a number that depends on all of them.
float Int8Avx2(int64_t turns);        // maddubs, madd, add
float F32Avx2(int64_t turns);         // fmadd
float F32Avx512(int64_t turns);       // fmadd
float Int8Avx512Vnni(int64_t turns);  // dpbusd
float Int8Amx(int64_t turns);         // tdpbssd; the process must have asked for tiles
float Bf16Amx(int64_t turns);         // tdpbf16ps; likewise

inline constexpr int kInt8Avx2Operations = 6 * 32 * 2;
inline constexpr int kF32Avx2Operations = 12 * 8 * 2;
inline constexpr int kF32Avx512Operations = 16 * 16 * 2;
inline constexpr int kInt8Avx512VnniOperations = 16 * 64 * 2;
inline constexpr int kInt8AmxOperations = 4 * 16 * 16 * 64 * 2;
inline constexpr int kBf16AmxOperations = 4 * 16 * 16 * 32 * 2;

}  // namespace tandem::machine
