#include <utility>

#include "nlohmann/json.hpp"
#include "runtime/quoted.h"
#include "runtime/safetensors.h"

namespace tandem {
namespace {

using Json = nlohmann::json;
using Index = std::map<std::string, std::string>;

// Whether `name` is a plain name in the directory of the index, not a path out of it.
bool IsPlainName(std::string_view name) {
  constexpr std::string_view kSuffix = ".safetensors";
  return name.size() > kSuffix.size() && name.ends_with(kSuffix) && !name.starts_with('.') &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

// Receives the events of nlohmann's parser and keeps the texts of "weight_map" alone, so that
// memory follows them, whatever else is in the file. After a false, error_ says why.
class IndexHandler final : public nlohmann::json_sax<Json> {
 public:
  bool key(string_t& key) override {
    if (in_map_) {
      tensor_ = std::move(key);
    } else if (depth_ == 1) {
      is_map_next_ = key == "weight_map";
    }
    return true;
  }
  bool string(string_t& value) override;
  bool start_object(std::size_t) override;
  bool end_object() override {
    --depth_;
    in_map_ = false;
    return true;
  }
  bool start_array(std::size_t) override {
    if (!Skip()) return false;
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool null() override { return Skip(); }
  bool boolean(bool) override { return Skip(); }
  bool number_integer(number_integer_t) override { return Skip(); }
  bool number_unsigned(number_unsigned_t) override { return Skip(); }
  bool number_float(number_float_t, const string_t&) override { return Skip(); }
  bool binary(binary_t&) override { return Skip(); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("the index is not valid JSON at byte ", position));
  }

  absl::StatusOr<Index> Result(bool parsed) && {
    if (!error_.ok()) return error_;
    if (!parsed) return absl::InvalidArgumentError("the index is not valid JSON");
    if (!has_map_) return absl::InvalidArgumentError(kNoMap);
    if (index_.empty()) return absl::InvalidArgumentError("'weight_map' of the index is empty");
    return std::move(index_);
  }

 private:
  static constexpr char kNoMap[] = "the index has no object 'weight_map'";

  bool Fail(const std::string& message) {
    error_ = absl::InvalidArgumentError(message);
    return false;
  }
  // Passes over a value that is of no interest, where one may stand.
  bool Skip();

  int64_t depth_ = 0;         // of the open objects and arrays
  bool is_map_next_ = false;  // at depth 1: the value to come is that of "weight_map"
  bool in_map_ = false;       // inside that object
  bool has_map_ = false;
  std::string tensor_;  // the last key inside it
  Index index_;
  absl::Status error_;
};

bool IndexHandler::Skip() {
  if (in_map_) {
    return Fail(
        absl::StrCat("the file of tensor ", Quoted(tensor_), " in the index is not a text"));
  }
  if (depth_ == 0 || (depth_ == 1 && is_map_next_)) return Fail(kNoMap);
  return true;
}

bool IndexHandler::start_object(std::size_t) {
  const bool is_map = depth_ == 1 && is_map_next_;
  if (depth_ > 0 && !is_map && !Skip()) return false;
  if (is_map && has_map_) return Fail("the index has 'weight_map' twice");
  has_map_ = has_map_ || is_map;
  in_map_ = is_map;
  ++depth_;
  return true;
}

bool IndexHandler::string(string_t& value) {
  if (!in_map_) return Skip();
  if (!IsPlainName(value)) {
    return Fail(absl::StrCat("the file of tensor ", Quoted(tensor_), " in the index is ",
                             Quoted(value),
                             "; it must be a plain name that ends in '.safetensors'"));
  }
  if (!index_.emplace(tensor_, std::move(value)).second) {
    return Fail(absl::StrCat("tensor ", Quoted(tensor_), " is twice in the index"));
  }
  return true;
}

}  // namespace

absl::StatusOr<Index> ParseSafetensorsIndex(std::string_view text) {
  IndexHandler handler;
  const bool parsed = Json::sax_parse(text.begin(), text.end(), &handler);
  return std::move(handler).Result(parsed);
}

}  // namespace tandem
