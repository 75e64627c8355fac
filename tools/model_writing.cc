#include "tools/model_writing.h"

#include "absl/strings/str_format.h"
#include "backends/device/status.h"
#include "tools/terminal.h"

namespace tandem {

CLI::Validator DTypeCheck() {
  const auto check = [](std::string& name) {
    if (DTypeFromName(name).has_value()) return std::string();
    std::string error = "\"" + OneLine(name) + "\" is none of";
    for (const DTypeInfo& info : AllDTypes()) error += " " + std::string(info.name);
    return error;
  };
  return CLI::Validator(check, "");
}

DType ParsedDType(const std::string& name) { return DTypeFromName(name).value_or(DType::kF32); }

std::string SummaryText(std::span<const TensorReport> tensors) {
  std::string text = "type    tensors          elements             bytes         RMSE\n";
  int64_t elements = 0, bytes = 0;
  for (const auto& [type, summary] : SummarizeByType(tensors)) {
    absl::StrAppendFormat(&text, "%-7s %7d %17d %17d %12.3e\n", Text(DTypeName(type)),
                          summary.tensors, summary.elements, summary.bytes, summary.rmse());
    elements += summary.elements;
    bytes += summary.bytes;
  }
  absl::StrAppendFormat(
      &text, "%-7s %7d %17d %17d   %.3f bits per weight\n", "all",
      static_cast<int64_t>(tensors.size()), elements, bytes,
      elements == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements));
  return text;
}

}  // namespace tandem
