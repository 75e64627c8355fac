// Reading of JSON values that may be of any type. Private to runtime/: it includes nlohmann-json.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tandem {

using Json = nlohmann::json;

// The member `key` of `object`, or null where there is none or `object` is no object.
const Json& Member(const Json& object, std::string_view key);

// The member as a string; InvalidArgument where it is missing or something else.
absl::StatusOr<std::string> StringMember(const Json& object, std::string_view key);

// The member as a flag; `if_absent` where it is missing or null, InvalidArgument where it is no
// flag, or where it is missing and there is no `if_absent`.
absl::StatusOr<bool> FlagMember(const Json& object, std::string_view key,
                                std::optional<bool> if_absent = std::nullopt);

// The value as a token id: a whole number from 0 to 2^31 - 1.
absl::StatusOr<int32_t> TokenIdValue(const Json& value, std::string_view what);

}  // namespace tandem
