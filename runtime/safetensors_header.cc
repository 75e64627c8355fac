#include "runtime/safetensors_header.h"

#include <limits>
#include <utility>

#include "nlohmann/json.hpp"
#include "runtime/quoted.h"

namespace tandem {
namespace {

using Json = nlohmann::json;

// Receives the events of nlohmann's parser. Each returns whether to go on; after a false, error_
// says why.
class HeaderHandler final : public nlohmann::json_sax<Json> {
 public:
  bool key(string_t& key) override;
  bool string(string_t& value) override;
  bool number_unsigned(number_unsigned_t value) override;
  bool start_object(std::size_t) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool binary(binary_t&) override { return Unexpected("binary data"); }
  bool number_integer(number_integer_t value) override {
    return Fail(absl::StrCat("has the negative number ", value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return Fail(absl::StrCat("has ", Quoted(text), " where a whole number below 2^63 is expected"));
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ =
        absl::InvalidArgumentError(absl::StrCat("the header is not valid JSON at byte ", position));
    return false;
  }

  absl::StatusOr<SafetensorsHeader> Result(bool parsed) && {
    if (!error_.ok()) return error_;
    if (!parsed) return absl::InvalidArgumentError("the header is not valid JSON");
    return std::move(header_);
  }

 private:
  // Where in the header the parser stands.
  enum class Place { kOutside, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };

  bool Fail(std::string_view problem);
  bool Unexpected(std::string_view what) {
    return Fail(absl::StrCat("has ", Text(what), " in an unexpected place"));
  }
  bool TakeField(std::string_view field);
  bool EndTensor();

  Place place_ = Place::kOutside;
  SafetensorsHeader header_;
  SafetensorsEntry entry_;           // the tensor being read
  std::string field_;                // the last key: of a tensor's field, or of a text
  std::optional<std::string> type_;  // of entry_, once read; so are the next two
  std::optional<FileShape> shape_;
  std::optional<std::vector<uint64_t>> offsets_;
  bool has_metadata_ = false;
  absl::Status error_;
};

bool HeaderHandler::Fail(std::string_view problem) {
  const bool in_tensor =
      place_ == Place::kTensor || place_ == Place::kShape || place_ == Place::kOffsets;
  const std::string where = in_tensor ? absl::StrCat("tensor ", Quoted(entry_.name))
                            : place_ == Place::kMetadata ? "'__metadata__'"
                                                         : "the header";
  error_ = absl::InvalidArgumentError(absl::StrCat(where, " ", Text(problem)));
  return false;
}

bool HeaderHandler::key(string_t& key) {
  if (place_ == Place::kTensor) return TakeField(key);
  if (place_ == Place::kTop) {
    entry_ = {};
    type_.reset();
    shape_.reset();
    offsets_.reset();
    entry_.name = std::move(key);
    return true;
  }
  field_ = std::move(key);
  if (header_.metadata.contains(field_)) {
    return Fail(absl::StrCat("has the key ", Quoted(field_), " twice"));
  }
  return true;
}

bool HeaderHandler::TakeField(std::string_view field) {
  const bool again = (field == "dtype" && type_.has_value()) ||
                     (field == "shape" && shape_.has_value()) ||
                     (field == "data_offsets" && offsets_.has_value());
  if (again) return Fail(absl::StrCat("has the field ", Quoted(field), " twice"));
  if (field != "dtype" && field != "shape" && field != "data_offsets") {
    return Fail(absl::StrCat("has the unknown field ", Quoted(field)));
  }
  field_ = field;
  return true;
}

bool HeaderHandler::string(string_t& value) {
  if (place_ == Place::kMetadata) {
    header_.metadata.emplace(std::move(field_), std::move(value));
    return true;
  }
  if (place_ != Place::kTensor || field_ != "dtype") return Unexpected("a text");
  type_ = std::move(value);
  return true;
}

bool HeaderHandler::number_unsigned(number_unsigned_t value) {
  if (place_ != Place::kShape && place_ != Place::kOffsets) return Unexpected("a number");
  if (value > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return Fail(absl::StrCat("has the number ", value, ", which is too large"));
  }
  if (place_ == Place::kShape) {
    shape_->push_back(static_cast<int64_t>(value));
    return true;
  }
  if (offsets_->size() == 2) return Fail("has more than two data_offsets");
  offsets_->push_back(value);
  return true;
}

bool HeaderHandler::start_object(std::size_t) {
  if (place_ == Place::kOutside) {
    place_ = Place::kTop;
    return true;
  }
  if (place_ != Place::kTop) return Unexpected("an object");
  if (entry_.name != "__metadata__") {
    place_ = Place::kTensor;
    return true;
  }
  if (has_metadata_) return Fail("has '__metadata__' twice");
  has_metadata_ = true;
  place_ = Place::kMetadata;
  return true;
}

bool HeaderHandler::end_object() {
  if (place_ == Place::kTensor && !EndTensor()) return false;
  place_ = place_ == Place::kTop ? Place::kEnd : Place::kTop;
  return true;
}

bool HeaderHandler::EndTensor() {
  if (!type_.has_value()) return Fail("has no field 'dtype'");
  if (!shape_.has_value()) return Fail("has no field 'shape'");
  if (!offsets_.has_value()) return Fail("has no field 'data_offsets'");
  if (offsets_->size() != 2) {
    return Fail(absl::StrCat("has ", offsets_->size(), " data_offsets instead of two"));
  }
  entry_.type = *std::move(type_);
  entry_.shape = *std::move(shape_);
  entry_.begin = offsets_->front();
  entry_.end = offsets_->back();
  header_.entries.push_back(std::move(entry_));
  return true;
}

bool HeaderHandler::start_array(std::size_t) {
  if (place_ == Place::kTensor && field_ == "shape") {
    shape_.emplace();
    place_ = Place::kShape;
    return true;
  }
  if (place_ == Place::kTensor && field_ == "data_offsets") {
    offsets_.emplace();
    place_ = Place::kOffsets;
    return true;
  }
  return Unexpected("an array");
}

bool HeaderHandler::end_array() {
  place_ = Place::kTensor;
  return true;
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json) {
  HeaderHandler handler;
  const bool parsed = Json::sax_parse(json.begin(), json.end(), &handler);
  return std::move(handler).Result(parsed);
}

}  // namespace tandem
