// Arguments of the kernel of rearrange.cuh.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

struct RearrangeParams {
  const u8* from;  // rows of blocks as files have them, 2-byte aligned
  u8* to;          // tiles
  i64 panels;      // rows / 16, of all matrices together
  i32 units;       // blocks of a row
};

}  // namespace tandem::cuda
