// GGUF files with smaller weights.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/quantize_types.h"
#include "runtime/tensor_report.h"

namespace tandem {

struct QuantizeOptions {
  QuantizeTypes types;
  std::string importance_path;  // file of an importance matrix; empty: all columns count the same
  int threads = 0;              // 0: one for each core; the result does not depend on it
  TensorProgress progress;
};

// Writes the model in `in` (any shard of a split one) to the single file `out`, with the weights in
// the types that TypeOf says. Metadata is copied but for what says how the file is made. Works
// through the file in pieces, so that little memory is needed; `out` appears whole or not at all.
// Weights that are quantised already are decoded and encoded again; those of the right type are
// copied.
// A weight without an entry in the importance matrix, and experts that have only zeros there, are
// encoded as if all columns counted the same.
// Errors: the files'; InvalidArgument, naming the tensor, for weights that are infinite or no
// numbers, an entry of the importance matrix of the wrong length, and types that cannot be written;
// Unimplemented for a tensor of a type that is not supported.
absl::StatusOr<std::vector<TensorReport>> QuantizeGguf(std::string_view in, std::string_view out,
                                                       const QuantizeOptions& options);

}  // namespace tandem
