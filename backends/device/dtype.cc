#include "backends/device/dtype.h"

#include <algorithm>
#include <cctype>

namespace tandem {
namespace {

constexpr DTypeInfo kInfos[] = {
    {DType::kF32, "f32", 1, 4},         {DType::kF16, "f16", 1, 2},
    {DType::kQ4_0, "q4_0", 32, 18},     {DType::kQ4_1, "q4_1", 32, 20},
    {DType::kQ5_0, "q5_0", 32, 22},     {DType::kQ5_1, "q5_1", 32, 24},
    {DType::kQ8_0, "q8_0", 32, 34},     {DType::kQ2_K, "q2_k", 256, 84},
    {DType::kQ3_K, "q3_k", 256, 110},   {DType::kQ4_K, "q4_k", 256, 144},
    {DType::kQ5_K, "q5_k", 256, 176},   {DType::kQ6_K, "q6_k", 256, 210},
    {DType::kIQ4_NL, "iq4_nl", 32, 18}, {DType::kIQ4_XS, "iq4_xs", 256, 136},
    {DType::kI32, "i32", 1, 4},         {DType::kBF16, "bf16", 1, 2},
    {DType::kMXFP4, "mxfp4", 32, 17},
};

bool EqualIgnoringCase(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::span<const DTypeInfo> AllDTypes() { return kInfos; }

const DTypeInfo& GetDTypeInfo(DType dtype) {
  return *std::ranges::find(kInfos, dtype, &DTypeInfo::dtype);
}

std::optional<DType> DTypeFromNumber(uint32_t number) {
  const auto* it = std::ranges::find(kInfos, static_cast<DType>(number), &DTypeInfo::dtype);
  if (it == std::end(kInfos)) return std::nullopt;
  return it->dtype;
}

std::optional<DType> DTypeFromName(std::string_view name) {
  const auto* it = std::ranges::find_if(
      kInfos, [name](const DTypeInfo& info) { return EqualIgnoringCase(info.name, name); });
  if (it == std::end(kInfos)) return std::nullopt;
  return it->dtype;
}

}  // namespace tandem
