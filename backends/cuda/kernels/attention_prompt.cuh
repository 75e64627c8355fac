// Attention of prompts on Hopper, after FlashAttention-3 (Shah et al. 2024, arXiv 2407.08608): one
// warpgroup brings keys and values by TMA, the others multiply; the softmax of a tile of keys runs
// while the tensor cores work on the next tile's scores and on the last tile's values.
//
// Block: 128 (1 + Consumers) threads, one block to an SM. Grid: any; blocks take work as they come.
#pragma once

#include "attention_prompt_consumer.cuh"
#include "attention_prompt_producer.cuh"
#include "attention_prompt_scheduler.cuh"
#include "attention_prompt_shape.cuh"
#include "base.cuh"
#include "params/attention_prompt.h"
#include "ptx/launch.cuh"
#include "ptx/tma.cuh"
#include "ptx/wgmma.cuh"

namespace tandem::cuda {

template <class T, int Dk, int Dv, int Consumers, int KeyTile, int Stages, bool SoftCap>
__global__ void __launch_bounds__(128 * (1 + Consumers), 1)
    AttentionPrompt(const __grid_constant__ AttentionPromptParams p) {
  using Shape = PromptShape<T, Dk, Dv, Consumers, KeyTile, Stages, SoftCap>;
  PromptShared<Shape>& shared = GetPromptShared<Shape>();
  if (threadIdx.x == 0) {
    TmaPrefetchDescriptor(&p.k_map);
    TmaPrefetchDescriptor(&p.v_map);
    InitBarriers(shared);
  }
  __syncthreads();
  WaitForKernelsAhead();
  const int warp = WarpIndex();
  if (warp < 4) {
    RegistersShrink<Shape::kProducerRegisters>();
    if (warp == 0) PromptProducer<Shape>{p, shared}.Run();
    if (warp == 1) PromptScheduler<Shape>(p, shared).Run();
  } else {
    RegistersGrow<Shape::kConsumerRegisters>();
    PromptConsumer<Shape>(p, shared, warp / 4 - 1).Run();
  }
}

}  // namespace tandem::cuda
