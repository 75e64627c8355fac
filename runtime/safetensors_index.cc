#include "nlohmann/json.hpp"
#include "runtime/quoted.h"
#include "runtime/safetensors.h"

namespace tandem {
namespace {

using Json = nlohmann::json;

// Whether `name` is a plain name in the directory of the index, not a path out of it.
bool IsPlainName(std::string_view name) {
  constexpr std::string_view kSuffix = ".safetensors";
  return name.size() > kSuffix.size() && name.ends_with(kSuffix) && !name.starts_with('.') &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseSafetensorsIndex(std::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::InvalidArgumentError("the index is not valid JSON");
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object()) {
    return absl::InvalidArgumentError("the index has no object 'weight_map'");
  }
  if (map->empty()) return absl::InvalidArgumentError("'weight_map' of the index is empty");
  std::map<std::string, std::string> file_of;
  for (const auto& [tensor, value] : map->items()) {
    const auto* name = value.get_ptr<const Json::string_t*>();
    if (name == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("the file of tensor ", Quoted(tensor), " in the index is not a text"));
    }
    if (!IsPlainName(*name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the file of tensor ", Quoted(tensor), " in the index is ", Quoted(*name),
                       "; it must be a plain name that ends in '.safetensors'"));
    }
    file_of.emplace(tensor, *name);
  }
  return file_of;
}

}  // namespace tandem
