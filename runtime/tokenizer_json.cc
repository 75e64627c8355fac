#include "runtime/tokenizer_json.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "backends/device/status.h"
#include "runtime/tokenizer/json_fields.h"
#include "runtime/tokenizer/json_pipeline.h"
#include "runtime/tokenizer_fields.h"

namespace tandem {
namespace {

// The largest published tokenizer.json has 35 MB, and none is nested deeper than ten levels.
constexpr size_t kLargestFile = size_t{64} << 20;
constexpr int kDeepestNesting = 64;
// Ids may leave gaps, but a small file must not ask for a large vocabulary.
constexpr size_t kMostGaps = 1 << 16;

absl::StatusOr<Json> ParseFile(std::string_view text, std::string_view name) {
  if (text.size() > kLargestFile) {
    return absl::InvalidArgumentError(
        absl::StrCat(Text(name), " has ", text.size(), " bytes; at most ", kLargestFile));
  }
  bool too_deep = false;
  const auto keep = [&too_deep](int depth, Json::parse_event_t, const Json&) {
    too_deep = too_deep || depth > kDeepestNesting;
    return !too_deep;
  };
  Json json = Json::parse(text, keep, /*allow_exceptions=*/false);
  if (too_deep) {
    return absl::InvalidArgumentError(
        absl::StrCat(Text(name), " is nested deeper than ", kDeepestNesting, " levels"));
  }
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(Text(name), " is not a JSON object"));
  }
  return json;
}

class TokenizerJsonReader {
 public:
  absl::StatusOr<TokenizerSpec> Read(const Json& root, const Json& config) {
    const Json& model = Member(root, "model");
    TANDEM_RETURN_IF_ERROR(CheckModel(model));
    TANDEM_RETURN_IF_ERROR(ReadPipeline(root, spec_));
    TANDEM_RETURN_IF_ERROR(ReadTokens(Member(model, "vocab"), Member(root, "added_tokens")));
    TANDEM_RETURN_IF_ERROR(ReadModelFlags(model));
    TANDEM_RETURN_IF_ERROR(ReadMerges(Member(model, "merges")));
    TANDEM_ASSIGN_OR_RETURN(const PostProcessing around,
                            ReadPostProcessor(Member(root, "post_processor")));
    TANDEM_RETURN_IF_ERROR(ReadConfig(config, around));
    return std::move(spec_);
  }

 private:
  absl::Status CheckModel(const Json& model) const {
    const Json& type = Member(model, "type");
    if (!type.is_null() && type != "BPE") {
      return absl::UnimplementedError(absl::StrCat("tokenizer.json: model type ", Shown(type)));
    }
    for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json& value = Member(model, key);
      if (value.is_null() || value == "" || value == 0) continue;
      return absl::UnimplementedError(
          absl::StrCat("tokenizer.json: model with ", key, " ", Shown(value)));
    }
    return absl::OkStatus();
  }

  // A value in an error message. Bytes that are not UTF-8 cannot be in a parsed file.
  static std::string Shown(const Json& value) { return value.dump().substr(0, 80); }

  absl::Status ReadTokens(const Json& vocab, const Json& added) {
    if (!vocab.is_object() || !(added.is_array() || added.is_null())) {
      return absl::InvalidArgumentError(
          "tokenizer.json: model.vocab is not an object, or added_tokens not a list");
    }
    most_tokens_ = vocab.size() + added.size() + kMostGaps;
    for (const auto& [text, id] : vocab.items()) {
      TANDEM_RETURN_IF_ERROR(SetToken(text, id, TokenType::kNormal));
    }
    for (const Json& token : added) TANDEM_RETURN_IF_ERROR(ReadAddedToken(token));
    return absl::OkStatus();
  }

  absl::Status ReadAddedToken(const Json& token) {
    TANDEM_ASSIGN_OR_RETURN(const std::string text, StringMember(token, "content"));
    TANDEM_ASSIGN_OR_RETURN(const bool special, FlagMember(token, "special", false));
    TANDEM_ASSIGN_OR_RETURN(const bool single_word, FlagMember(token, "single_word", false));
    if (single_word) {
      return absl::UnimplementedError(
          absl::StrCat("tokenizer.json: added token \"", text, "\" with single_word"));
    }
    const Json& id = Member(token, "id");
    const TokenType type = special ? TokenType::kControl : TokenType::kUserDefined;
    TANDEM_RETURN_IF_ERROR(SetToken(text, id, type));
    TANDEM_ASSIGN_OR_RETURN(const bool left, FlagMember(token, "lstrip", false));
    TANDEM_ASSIGN_OR_RETURN(const bool right, FlagMember(token, "rstrip", false));
    if (left || right) spec_.strips.push_back({ids_[text], left, right});
    return absl::OkStatus();
  }

  // Enters a token; an added one may repeat one of the vocabulary.
  absl::Status SetToken(const std::string& text, const Json& json_id, TokenType type) {
    TANDEM_ASSIGN_OR_RETURN(const int32_t id, TokenIdValue(json_id, text));
    const auto index = static_cast<size_t>(id);
    if (index >= most_tokens_) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: token \"", text, "\" has id ",
                                                     id, ", far outside the vocabulary"));
    }
    if (index >= spec_.tokens.size()) {
      spec_.tokens.resize(index + 1);
      spec_.token_types.resize(index + 1, TokenType::kUnused);
    }
    const auto [entry, is_new] = ids_.try_emplace(text, id);
    if (entry->second != id || (is_new && !spec_.tokens[index].empty())) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.json: token \"", text, "\" and id ", id, " are not one to one"));
    }
    spec_.tokens[index] = text;
    spec_.token_types[index] = type;
    return absl::OkStatus();
  }

  std::optional<int32_t> Find(const std::string& text) const {
    const auto entry = ids_.find(text);
    return entry == ids_.end() ? std::nullopt : std::optional(entry->second);
  }

  absl::Status ReadModelFlags(const Json& model) {
    TANDEM_ASSIGN_OR_RETURN(spec_.ignore_merges, FlagMember(model, "ignore_merges", false));
    TANDEM_ASSIGN_OR_RETURN(spec_.byte_fallback, FlagMember(model, "byte_fallback", false));
    TANDEM_ASSIGN_OR_RETURN(spec_.fuse_unknown, FlagMember(model, "fuse_unk", false));
    if (spec_.model == TokenizerModel::kSentencePiece && spec_.ignore_merges) {
      return absl::UnimplementedError("tokenizer.json: ignore_merges with U+2581");
    }
    if (spec_.model == TokenizerModel::kSentencePiece && spec_.byte_fallback) MarkByteTokens();
    if (Member(model, "unk_token").is_null()) return absl::OkStatus();
    TANDEM_ASSIGN_OR_RETURN(const std::string unknown, StringMember(model, "unk_token"));
    spec_.unk_id = Find(unknown);
    if (spec_.unk_id) spec_.token_types[*spec_.unk_id] = TokenType::kUnknown;
    return absl::OkStatus();
  }

  void MarkByteTokens() {
    constexpr char kDigits[] = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; ++byte) {
      const std::string text = {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
      const std::optional<int32_t> id = Find(text);
      if (id && spec_.token_types[*id] == TokenType::kNormal) {
        spec_.token_types[*id] = TokenType::kByte;
      }
    }
  }

  absl::Status ReadMerges(const Json& merges) {
    if (!merges.is_array()) {
      return absl::InvalidArgumentError("tokenizer.json: model.merges is not a list");
    }
    spec_.merges.reserve(merges.size());
    for (const Json& merge : merges) {
      if (const auto* text = merge.get_ptr<const std::string*>()) {
        TANDEM_ASSIGN_OR_RETURN(auto pair, ParseMerge(*text));
        spec_.merges.push_back(std::move(pair));
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        spec_.merges.emplace_back(merge[0].get_ref<const std::string&>(),
                                  merge[1].get_ref<const std::string&>());
      } else {
        return absl::InvalidArgumentError(
            absl::StrCat("tokenizer.json: a merge is ", Shown(merge)));
      }
      const auto& [left, right] = spec_.merges.back();
      if (!Find(left) || !Find(right) || !Find(left + right)) {
        return absl::InvalidArgumentError(
            absl::StrCat("tokenizer.json: the merge of \"", left, "\" and \"", right,
                         "\" has a side, or a result, that is no token"));
      }
    }
    return absl::OkStatus();
  }

  // tokenizer_config.json names bos and eos, and may say whether texts get them; where it does not,
  // the post-processor decides.
  absl::Status ReadConfig(const Json& config, const PostProcessing& around) {
    TANDEM_ASSIGN_OR_RETURN(spec_.bos_id, SpecialToken(config, "bos_token", around.first));
    TANDEM_ASSIGN_OR_RETURN(spec_.eos_id, SpecialToken(config, "eos_token", around.last));
    TANDEM_ASSIGN_OR_RETURN(spec_.pad_id, SpecialToken(config, "pad_token", std::nullopt));
    TANDEM_ASSIGN_OR_RETURN(spec_.add_bos,
                            FlagMember(config, "add_bos_token", around.first.has_value()));
    TANDEM_ASSIGN_OR_RETURN(spec_.add_eos,
                            FlagMember(config, "add_eos_token", around.last.has_value()));
    return ReadChatTemplate(Member(config, "chat_template"));
  }

  absl::StatusOr<std::optional<int32_t>> SpecialToken(const Json& config, std::string_view key,
                                                      std::optional<std::string> text) const {
    const Json& value = Member(config, key);
    if (value.is_object()) {
      TANDEM_ASSIGN_OR_RETURN(text, StringMember(value, "content"));
    } else if (!value.is_null()) {
      TANDEM_ASSIGN_OR_RETURN(text, StringMember(config, key));
    }
    if (!text) return std::optional<int32_t>();
    const std::optional<int32_t> id = Find(*text);
    if (!id) {
      return absl::InvalidArgumentError(
          absl::StrCat(Text(key), " \"", *text, "\" is not in the vocabulary"));
    }
    return id;
  }

  // A text, or a list of named ones, of which "default" is taken.
  absl::Status ReadChatTemplate(const Json& json) {
    if (json.is_null()) return absl::OkStatus();
    if (const auto* text = json.get_ptr<const std::string*>()) {
      spec_.chat_template = *text;
      return absl::OkStatus();
    }
    if (!json.is_array()) return absl::InvalidArgumentError("chat_template is not a text or list");
    for (const Json& item : json) {
      if (Member(item, "name") != "default") continue;
      TANDEM_ASSIGN_OR_RETURN(spec_.chat_template, StringMember(item, "template"));
    }
    return absl::OkStatus();
  }

  TokenizerSpec spec_;
  absl::flat_hash_map<std::string, int32_t> ids_;
  size_t most_tokens_ = 0;
};

}  // namespace

absl::StatusOr<TokenizerSpec> ParseTokenizerJson(std::string_view tokenizer_json,
                                                 std::string_view tokenizer_config_json) {
  TANDEM_ASSIGN_OR_RETURN(const Json root, ParseFile(tokenizer_json, "tokenizer.json"));
  Json config = Json::object();
  if (!tokenizer_config_json.empty()) {
    TANDEM_ASSIGN_OR_RETURN(config, ParseFile(tokenizer_config_json, "tokenizer_config.json"));
  }
  return TokenizerJsonReader().Read(root, config);
}

}  // namespace tandem
