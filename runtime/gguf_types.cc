#include "runtime/gguf_types.h"

#include <algorithm>
#include <iterator>

namespace tandem {
namespace {

// The types that DType does not have. From 133 on they are those of the fork ik_llama.cpp.
constexpr GgufTensorType kSizeOnly[] = {
    {9, "q8_1", 32, 36},
    {15, "q8_k", 256, 292},
    {16, "iq2_xxs", 256, 66},
    {17, "iq2_xs", 256, 74},
    {18, "iq3_xxs", 256, 98},
    {19, "iq1_s", 256, 50},
    {21, "iq3_s", 256, 110},
    {22, "iq2_s", 256, 82},
    {24, "i8", 1, 1},
    {25, "i16", 1, 2},
    {27, "i64", 1, 8},
    {28, "f64", 1, 8},
    {29, "iq1_m", 256, 56},
    {34, "tq1_0", 256, 54},
    {35, "tq2_0", 256, 66},
    {40, "nvfp4", 64, 36},
    {41, "q1_0", 128, 18},
    {42, "q2_0", 64, 18},
    {133, "q6_0", 32, 26},
    {134, "iq1_bn", 64, 13, 2},
    {135, "iq2_bn", 64, 16, 4},
    {137, "iq2_k", 256, 76},
    {138, "iq3_k", 256, 110},
    {139, "iq4_k", 256, 144},
    {140, "iq5_k", 256, 176},
    {141, "iq6_k", 256, 212},
    {144, "iq4_ks", 256, 136, 4},
    {145, "iq2_ks", 256, 70, 2},
    {146, "iq4_kss", 256, 128, 4},
    {152, "iq5_ks", 256, 168, 4},
    {153, "iq2_kt", 256, 68, 4},
    {154, "iq3_kt", 256, 100, 4},
    {155, "iq4_kt", 256, 128, 4},
    {156, "iq3_ks", 256, 102, 2},
    {157, "iq2_kl", 256, 86, 2},
    {158, "iq1_kt", 256, 56, 4},
};

}  // namespace

std::optional<GgufTensorType> FindGgufTensorType(uint32_t number) {
  if (const auto dtype = DTypeFromNumber(number)) {
    const DTypeInfo& info = GetDTypeInfo(*dtype);
    return GgufTensorType{number, info.name, info.block_size, info.block_bytes, 0, dtype};
  }
  const auto* it = std::ranges::find(kSizeOnly, number, &GgufTensorType::number);
  if (it == std::end(kSizeOnly)) return std::nullopt;
  return *it;
}

}  // namespace tandem
