// Attention calls as the kernels take them, and their sizes, on which choices depend.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "backends/cuda/kernels/params/attention.h"
#include "backends/cuda/kernels/params/kv_layout.h"
#include "backends/device/kernels.h"

namespace tandem::cuda {

// The numbers of an attention call that do not change from step to step.
struct AttentionShape {
  Kv k = Kv::kF16, v = Kv::kF16;
  int dk = 0, dv = 0;
  int v_offset = -1;  // as in AttentionArgs
  int heads = 1, kv_heads = 1;
  int tokens = 1, seqs = 1;
  int64_t workspace_limit = 0;

  bool view() const { return v_offset >= 0; }
  int group() const { return heads / kv_heads; }
  // Row tiles of `rows` rows that the sequences of any step make at most, for each KV head.
  int64_t MostRowTiles(int rows) const;
  std::string ToString() const;
};

AttentionShape ShapeOf(const AttentionArgs& args);

// Whether kernels with mma.sync can take the types and sizes.
bool FitsTensorCores(const AttentionShape& shape);

// UnimplementedError for calls that no kernel over pages takes: those with an expansion, and caches
// whose pages are not contiguous.
absl::Status SupportsPages(const AttentionArgs& args);

// Whether asynchronous copies can read the pages: addresses and strides are multiples of 16 bytes.
bool PagesAreAligned(const AttentionArgs& args);

AttentionParams ToParams(const AttentionArgs& args);

Kv ToKv(DType type);  // a type that caches have
// As a template argument: "tandem::cuda::Kv(1)".
std::string KvArg(Kv type);
// The first template arguments of TileTraits: types and sizes.
std::string ShapeArgs(const AttentionShape& shape);

}  // namespace tandem::cuda
