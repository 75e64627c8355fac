// Several kernels on single rows as one: a block does one after the other to its token.
#pragma once

#include "base.cuh"
#include "params/row_ops.h"
#include "rowwise.cuh"
#include "store_kv.cuh"

namespace tandem::cuda {

template <class Params>
__device__ __forceinline__ const Params& ParamsOf(const RowOp& op) {
  return *reinterpret_cast<const Params*>(op.params);
}

template <Kv kStored>
__device__ __forceinline__ void RunRowOp(const RowOp& op, i64 t) {
  switch (op.kind) {
    case RowOpKind::kRmsNorm: {
      const auto& p = ParamsOf<RmsNormParams>(op);
      for (int h = 0; h < p.heads; ++h) RmsNormHead(p, t, h);
      break;
    }
    case RowOpKind::kRopePairs:
      RopeToken<false>(ParamsOf<RopeParams>(op), t);
      break;
    case RowOpKind::kRopeHalves:
      RopeToken<true>(ParamsOf<RopeParams>(op), t);
      break;
    case RowOpKind::kAdd:
      AddToken(ParamsOf<BinaryParams>(op), t);
      break;
    case RowOpKind::kSwiGlu:
      SwiGluToken(ParamsOf<BinaryParams>(op), t);
      break;
    case RowOpKind::kConcat:
      ConcatToken(ParamsOf<BinaryParams>(op), t);
      break;
    case RowOpKind::kStoreKv: {
      const auto& p = ParamsOf<StoreKvParams>(op);
      for (int h = 0; h < p.heads; ++h) StoreKvHead<kStored>(p, t, h);
      break;
    }
  }
}

// A block for each token. `kStored`: the type of the caches that are written.
template <Kv kStored>
__global__ void RowOps(const __grid_constant__ RowOpsParams p) {
  TakeTurn();
  if (!IsLive(p.live, blockIdx.x)) return;
  for (int i = 0; i < p.count; ++i) {
    if (i > 0) __syncthreads();  // what the last one wrote
    RunRowOp<kStored>(p.ops[i], blockIdx.x);
  }
}

}  // namespace tandem::cuda
