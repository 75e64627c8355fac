#include "backends/cuda/kernel_sources.h"

#include <set>
#include <string>

namespace tandem::cuda {
namespace {

// The names in the #include "..." lines of a text.
std::vector<std::string> IncludesOf(std::string_view text) {
  static constexpr std::string_view kInclude = "#include \"";
  std::vector<std::string> names;
  for (size_t at = text.find(kInclude); at != std::string_view::npos;
       at = text.find(kInclude, at)) {
    at += kInclude.size();
    names.emplace_back(text.substr(at, text.find('"', at) - at));
  }
  return names;
}

void Visit(std::span<const SourceFile> all, const std::string& file, std::set<std::string>& seen) {
  if (!seen.insert(file).second) return;
  for (const SourceFile& source : all) {
    if (source.name != file) continue;
    for (const std::string& name : IncludesOf(source.text)) {
      Visit(all, name, seen);
    }
  }
}

}  // namespace

std::vector<SourceFile> SourcesOf(std::span<const SourceFile> all, std::string_view file) {
  std::set<std::string> seen;
  Visit(all, std::string(file), seen);
  std::vector<SourceFile> files;
  for (const SourceFile& source : all) {
    if (seen.contains(std::string(source.name))) files.push_back(source);
  }
  return files;
}

}  // namespace tandem::cuda
