// Which tensor of a model becomes which type.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/device/dtype.h"
#include "runtime/tensor_file.h"

namespace tandem {

// Tensors whose name matches `pattern` become `type`. In a pattern, * stands for any text.
struct TensorTypeRule {
  std::string pattern;
  DType type;
};

struct QuantizeTypes {
  DType type = DType::kIQ4_NL;        // of the weights that no rule names
  std::vector<TensorTypeRule> rules;  // the first that matches counts
};

// True if the whole of `text` matches `pattern`.
bool MatchesPattern(std::string_view pattern, std::string_view text);

// The type for a row of `columns` elements: `type` if they fill its blocks, else one of 32-element
// blocks that has at least as many bits (q4_k: q5_0, q5_k: q5_1, q6_k: q8_0; q2_k, q3_k and iq4_xs:
// iq4_nl); nothing if they do not fill those either.
std::optional<DType> TypeForColumns(DType type, int64_t columns);

// The type that `tensor` is written in.
// - Vectors, norms, biases and what is no weight of at least two dimensions: as it is.
// - Routers (ffn_gate_inp) decide by small differences: as they are, or what a rule says if that
//   is f32, f16 or bf16.
// - The output head weighs most per bit: q6_k if `type` has fewer bits. An embedding that is the
//   output too (no output.weight) counts as the output.
// - Rows that fill no block of any suitable type: as they are.
// InvalidArgument for a rule that asks for blocks in a router.
absl::StatusOr<DType> TypeOf(const FileTensor& tensor, DType current, bool tied,
                             const QuantizeTypes& types);

}  // namespace tandem
