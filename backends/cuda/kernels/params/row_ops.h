// What the kernel that does several things to each token is told.
#pragma once

#include "../base.cuh"
#include "../params/rowwise.h"
#include "../params/store_kv.h"

namespace tandem::cuda {

enum class RowOpKind : i32 { kRmsNorm, kRopePairs, kRopeHalves, kAdd, kSwiGlu, kConcat, kStoreKv };

// The parameters of the kernel that does this alone.
struct RowOp {
  RowOpKind kind;
  alignas(8) u8 params[144];
};
static_assert(sizeof(RmsNormParams) <= 144 && sizeof(RopeParams) <= 144 &&
              sizeof(BinaryParams) <= 144 && sizeof(StoreKvParams) <= 144);

inline constexpr i32 kMostRowOps = 8;

struct RowOpsParams {
  RowOp ops[kMostRowOps];
  i32 count;
  const i32* live;
};

}  // namespace tandem::cuda
