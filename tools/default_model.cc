#include "tools/default_model.h"

#include <filesystem>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr std::string_view kDefaultModel = "stories-iq4_nl.gguf";

}  // namespace

absl::StatusOr<std::string> FindDefaultModel() {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  std::string looked;
  for (const char* place : {"../../models", "../share/tandem/models"}) {
    const fs::path path = (folder / place / kDefaultModel).lexically_normal();
    if (fs::exists(path, error)) return path.string();
    absl::StrAppend(&looked, looked.empty() ? "" : " nor ", path.string());
  }
  return absl::NotFoundError(
      absl::StrCat("no MODEL is given, and the default one is neither ", looked));
}

}  // namespace tandem
