// How close a result must be to the oracle's.
#pragma once

#include <string>

#include "backends/conformance/case.h"

namespace tandem {

// The relative RMS that is allowed for a kernel whose weights (or cache) have this type.
double Tolerance(KernelId kernel, DType dtype);
// The same between two runs of one device that differ in what must not matter.
inline constexpr double kSameTolerance = 1e-5;

// The error of `actual` against `expected`: the largest over rows r of
// |actual[r] - expected[r]| / max(|expected[r]|, root mean square of all |expected[r]|), |.| being
// the Euclidean norm of a row of the last dimension. Infinite where only one is NaN or where
// infinities differ, and for numbers of type i32 that differ.
// Both are at the storage of `output` but for their bases, which lie at these addresses.
double RelativeError(const Output& output, const std::byte* actual, const std::byte* expected);

}  // namespace tandem
