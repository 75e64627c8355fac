// JSON in and out. Reading uses nlohmann's event parser, so nesting costs no stack.
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

// Builds values from the events of the parser.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Add(None{}); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(int64_t value) override { return Add(value); }
  bool number_unsigned(uint64_t value) override {
    if (value > static_cast<uint64_t>(INT64_MAX)) return TooLarge(absl::StrCat(value));
    return Add(static_cast<int64_t>(value));
  }
  bool number_float(double value, const std::string& text) override {
    if (text.find_first_of(".eE") == std::string::npos) return TooLarge(text);
    return Add(value);
  }
  bool string(std::string& value) override { return Add(Value(std::move(value))); }
  bool binary(nlohmann::json::binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(/*is_object=*/true); }
  bool key(std::string& value) override {
    open_.back().key = std::move(value);
    return true;
  }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(/*is_object=*/false); }
  bool end_array() override { return Close(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    error_ = error.what();
    return false;
  }

  Value Take() && { return std::move(result_); }
  const std::string& error() const { return error_; }

 private:
  struct Container {
    bool is_object;
    std::string key;
    Dict dict;
    std::vector<Value> items;
  };

  bool TooLarge(const std::string& text) {
    error_ = absl::StrCat("the integer ", text, " does not fit in 64 bits");
    return false;
  }

  bool Open(bool is_object) {
    if (open_.size() >= kMaxValueDepth) {
      error_ = absl::StrCat("nested deeper than ", kMaxValueDepth, " levels");
      return false;
    }
    open_.push_back({is_object, {}, {}, {}});
    return true;
  }

  bool Close() {
    Container container = std::move(open_.back());
    open_.pop_back();
    if (container.is_object) return Add(Value(std::move(container.dict)));
    return Add(Value(List(std::move(container.items))));
  }

  bool Add(Value value) {
    if (open_.empty()) {
      result_ = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().dict.InsertText(std::move(open_.back().key), std::move(value));
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }

  std::vector<Container> open_;
  Value result_;
  std::string error_;
};

void AppendCodeUnit(char32_t unit, std::string* out) {
  char buffer[16];
  std::snprintf(buffer, sizeof(buffer), "\\u%04x", static_cast<unsigned>(unit));
  out->append(buffer, 6);
}

std::string QuoteJson(std::string_view text, bool ensure_ascii) {
  std::string out = "\"";
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = DecodeNext(text, &pos);
    constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t";
    constexpr std::string_view kLetters = "\"\\bfnrt";
    const size_t simple = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : std::string_view::npos;
    if (simple != std::string_view::npos) {
      out.append({'\\', kLetters[simple]});
    } else if (c < 0x20 || (ensure_ascii && c >= 0x7F && c < 0x10000)) {
      AppendCodeUnit(c, &out);
    } else if (ensure_ascii && c >= 0x10000) {
      AppendCodeUnit(0xD800 + ((c - 0x10000) >> 10), &out);
      AppendCodeUnit(0xDC00 + ((c - 0x10000) & 0x3FF), &out);
    } else {
      AppendUtf8(c, &out);
    }
  }
  return out + '"';
}

std::string JsonFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return FloatText(value);
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  absl::Status Write(const Value& value);
  std::string Take() && { return std::move(out_); }

 private:
  absl::Status Append(std::string_view text) {
    out_.append(text);
    TANDEM_RETURN_IF_ERROR(budget_.Step());
    return budget_.Allocate(text.size());
  }
  absl::Status NewLine();
  absl::Status WriteList(const std::vector<Value>& items);
  absl::Status WriteDict(const Dict& dict);
  absl::StatusOr<std::string> Key(const Value& key);
  absl::StatusOr<std::string> Scalar(const Value& value) const;

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
  int level_ = 0;
};

absl::Status JsonWriter::NewLine() {
  if (!style_.indent) return absl::OkStatus();
  TANDEM_RETURN_IF_ERROR(Append("\n"));
  for (int i = 0; i < level_; ++i) TANDEM_RETURN_IF_ERROR(Append(*style_.indent));
  return absl::OkStatus();
}

absl::Status JsonWriter::WriteList(const std::vector<Value>& items) {
  if (items.empty()) return Append("[]");
  TANDEM_RETURN_IF_ERROR(Append("["));
  ++level_;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) TANDEM_RETURN_IF_ERROR(Append(style_.item_separator));
    TANDEM_RETURN_IF_ERROR(NewLine());
    TANDEM_RETURN_IF_ERROR(Write(items[i]));
  }
  --level_;
  TANDEM_RETURN_IF_ERROR(NewLine());
  return Append("]");
}

absl::StatusOr<std::string> JsonWriter::Key(const Value& key) {
  if (key.string()) return QuoteJson(key.string()->text, style_.ensure_ascii);
  TANDEM_ASSIGN_OR_RETURN(const std::string text, Scalar(key));
  return absl::StrCat("\"", text, "\"");
}

absl::Status JsonWriter::WriteDict(const Dict& dict) {
  if (dict.items.empty()) return Append("{}");
  std::vector<const std::pair<Value, Value>*> items;
  for (const auto& item : dict.items) items.push_back(&item);
  if (style_.sort_keys) {
    absl::Status failure;
    std::stable_sort(items.begin(), items.end(), [&](const auto* a, const auto* b) {
      const absl::StatusOr<int> order = Order(a->first, b->first, budget_);
      if (!order.ok()) failure = order.status();
      return order.ok() && *order < 0;
    });
    TANDEM_RETURN_IF_ERROR(failure);
  }
  TANDEM_RETURN_IF_ERROR(Append("{"));
  ++level_;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) TANDEM_RETURN_IF_ERROR(Append(style_.item_separator));
    TANDEM_RETURN_IF_ERROR(NewLine());
    TANDEM_ASSIGN_OR_RETURN(const std::string key, Key(items[i]->first));
    TANDEM_RETURN_IF_ERROR(Append(key));
    TANDEM_RETURN_IF_ERROR(Append(style_.key_separator));
    TANDEM_RETURN_IF_ERROR(Write(items[i]->second));
  }
  --level_;
  TANDEM_RETURN_IF_ERROR(NewLine());
  return Append("}");
}

absl::StatusOr<std::string> JsonWriter::Scalar(const Value& value) const {
  if (value.string()) return QuoteJson(value.string()->text, style_.ensure_ascii);
  if (value.is_none()) return std::string("null");
  if (const auto* boolean = value.As<bool>()) return std::string(*boolean ? "true" : "false");
  if (const auto* integer = value.As<int64_t>()) return absl::StrCat(*integer);
  if (const auto* number = value.As<double>()) return JsonFloat(*number);
  return TypeError(absl::StrCat("Object of type ", value.TypeName(), " is not JSON serializable"));
}

absl::Status JsonWriter::Write(const Value& value) {
  if (value.dict()) return WriteDict(*value.dict());
  if (value.list() && value.list()->kind != List::Kind::kRange) {
    return WriteList(value.list()->items);
  }
  TANDEM_ASSIGN_OR_RETURN(const std::string text, Scalar(value));
  return Append(text);
}

}  // namespace

absl::StatusOr<std::string> DumpJson(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  TANDEM_RETURN_IF_ERROR(writer.Write(value));
  return std::move(writer).Take();
}

absl::StatusOr<Value> ParseJson(std::string_view json, std::string_view what) {
  Builder builder;
  if (!nlohmann::json::sax_parse(json, &builder)) {
    return absl::InvalidArgumentError(
        absl::StrCat(Text(what), " are no valid JSON: ", builder.error()));
  }
  return std::move(builder).Take();
}

}  // namespace tandem::jinja
