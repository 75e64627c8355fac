// The choice of experts for one token; compiled for AVX2, see vector_loops.h.
#pragma once

#include <cstdint>

#include "backends/device/kernels.h"

namespace tandem::cpu {

int64_t RouteFloats(const RouteArgs& args);  // of scratch for a token
void RouteToken(const RouteArgs& args, float* scratch, int64_t token);

}  // namespace tandem::cpu
