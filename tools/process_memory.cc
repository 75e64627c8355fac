#include "tools/process_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

namespace tandem {
namespace {

// The field "Name:   123 kB" in bytes.
int64_t Field(std::string_view status, std::string_view name) {
  const std::string start = "\n" + std::string(name) + ":";
  const size_t at = status.find(start);
  if (at == status.npos) return 0;
  std::string_view rest = status.substr(at + start.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  int64_t kilobytes = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), kilobytes);
  return kilobytes * 1024;
}

}  // namespace

ProcessMemory ParseProcessStatus(std::string_view status) {
  return {.anonymous = Field(status, "RssAnon"), .file = Field(status, "RssFile")};
}

ProcessMemory ReadProcessMemory() {
  std::ifstream file("/proc/self/status");
  return ParseProcessStatus(std::string(std::istreambuf_iterator<char>(file), {}));
}

ProcessMemory Most(const ProcessMemory& a, const ProcessMemory& b) {
  return {.anonymous = std::max(a.anonymous, b.anonymous), .file = std::max(a.file, b.file)};
}

}  // namespace tandem
