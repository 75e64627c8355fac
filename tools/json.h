// JSON as the tool prints it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tandem {

using Json = nlohmann::ordered_json;

// `json` in one line, without a line end. Text in it that is not UTF-8 becomes U+FFFD.
inline std::string JsonText(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tandem
