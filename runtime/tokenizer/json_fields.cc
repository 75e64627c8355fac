#include "runtime/tokenizer/json_fields.h"

#include <limits>

#include "backends/device/status.h"

namespace tandem {
namespace {

absl::Status WrongType(std::string_view key, std::string_view wanted, const Json& value) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", Text(key), "\" is a ", value.type_name(), ", not a ", Text(wanted)));
}

}  // namespace

const Json& Member(const Json& object, std::string_view key) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto member = object.find(key);
  return member == object.end() ? null : *member;
}

absl::StatusOr<std::string> StringMember(const Json& object, std::string_view key) {
  const Json& member = Member(object, key);
  const auto* text = member.get_ptr<const std::string*>();
  if (text == nullptr) return WrongType(key, "string", member);
  return *text;
}

absl::StatusOr<bool> FlagMember(const Json& object, std::string_view key,
                                std::optional<bool> if_absent) {
  const Json& member = Member(object, key);
  if (member.is_null() && if_absent) return *if_absent;
  const auto* flag = member.get_ptr<const bool*>();
  if (flag == nullptr) return WrongType(key, "flag", member);
  return *flag;
}

absl::StatusOr<int32_t> TokenIdValue(const Json& value, std::string_view what) {
  const auto* number = value.get_ptr<const Json::number_unsigned_t*>();
  if (number == nullptr || *number > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the id of token \"", Text(what), "\" is not a whole number of 31 bits"));
  }
  return static_cast<int32_t>(*number);
}

}  // namespace tandem
