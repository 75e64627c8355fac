// Loops over floats that need AVX2. They are files of their own, as those that plan share inline
// functions and templates with the rest of the program, of which the linker keeps one copy: those
// are compiled for every x86-64, so that an older processor can be refused.
#pragma once

#include <cstdint>

namespace tandem::cpu {

void AddRows(const float* a, const float* b, int64_t n, float* out);           // out = a + b
void MultiplySilu(const float* gate, const float* up, int64_t n, float* out);  // silu(gate) * up
void AddScaled(const float* x, float factor, int64_t n, float* out);           // out += factor x
void RmsNormRow(const float* x, const float* weight, int64_t n, float eps, float* out);

// The heads of a token, turned by the angles of up to kTurnPairs pairs at a time.
inline constexpr int64_t kTurnPairs = 64;
struct Turn {
  float cosine, sine;
};
// Pair i: elements first + i * step and first + i * step + distance of `x`.
struct TurnedPairs {
  int64_t first, step, distance, count;
};
void TurnHead(const float* x, const TurnedPairs& pairs, const Turn* turns, float* out);

}  // namespace tandem::cpu
