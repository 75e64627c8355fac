// Filling the KV cache.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "backends/cuda/launch.h"
#include "backends/device/kernels.h"

namespace tandem::cuda {

absl::Status SupportsStoreKv(const StoreKvArgs& args);
std::vector<Launch> LowerStoreKv(const StoreKvArgs& args);

}  // namespace tandem::cuda
