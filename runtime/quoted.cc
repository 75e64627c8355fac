#include "runtime/quoted.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "backends/device/status.h"

namespace tandem {

std::string Quoted(std::string_view text) {
  constexpr size_t kMaxShown = 96;
  if (text.size() <= kMaxShown) return absl::StrCat("'", absl::CHexEscape(Text(text)), "'");
  return absl::StrCat("'", absl::CHexEscape(Text(text.substr(0, kMaxShown))), "...' (", text.size(),
                      " bytes)");
}

}  // namespace tandem
