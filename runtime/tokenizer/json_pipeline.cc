#include "runtime/tokenizer/json_pipeline.h"

#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "backends/device/status.h"
#include "runtime/tokenizer/pretokenizer_rules.h"

namespace tandem {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
constexpr size_t kMostSteps = 64;

absl::Status Unknown(std::string_view what, std::string_view name) {
  return absl::UnimplementedError(
      absl::StrCat("tokenizer.json: ", Text(what), " \"", Text(name), "\" is not understood"));
}

// A step and its type, for a null, a single step, or a "Sequence" of them. Sequences inside
// sequences, which no published tokenizer has, are not understood.
using Steps = std::vector<std::pair<std::string, const Json*>>;

absl::StatusOr<Steps> FlattenSteps(const Json& step, std::string_view list_key) {
  Steps steps;
  if (step.is_null()) return steps;
  TANDEM_ASSIGN_OR_RETURN(std::string type, StringMember(step, "type"));
  if (type != "Sequence") {
    steps.emplace_back(std::move(type), &step);
    return steps;
  }
  const Json& list = Member(step, list_key);
  if (!list.is_array() || list.size() > kMostSteps) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: \"", Text(list_key),
                                                   "\" is not a list of at most ", kMostSteps));
  }
  for (const Json& item : list) {
    TANDEM_ASSIGN_OR_RETURN(std::string item_type, StringMember(item, "type"));
    steps.emplace_back(std::move(item_type), &item);
  }
  return steps;
}

bool IsLiteral(const Json& pattern, std::string_view text) {
  const Json& literal = Member(pattern, "String");
  return literal.is_string() && literal.get_ref<const std::string&>() == text;
}

// What was seen of the pipeline beside what TokenizerSpec holds.
struct PipelineFacts {
  bool byte_level = false;
  bool escapes_spaces = false;  // ' ' becomes U+2581
  bool prepends = false;        // the normalizer puts U+2581 in front
  bool metaspace = false;
};

absl::Status ReadNormalizer(const Json& json, TokenizerSpec& spec, PipelineFacts& facts) {
  TANDEM_ASSIGN_OR_RETURN(const Steps steps, FlattenSteps(json, "normalizers"));
  for (const auto& [type, step] : steps) {
    if (type == "NFC") {
      spec.normalize_nfc = true;
    } else if (type == "Prepend") {
      TANDEM_ASSIGN_OR_RETURN(const std::string text, StringMember(*step, "prepend"));
      if (text != kSpace) return Unknown("normalizer Prepend of", text);
      facts.prepends = true;
    } else if (type == "Replace") {
      TANDEM_ASSIGN_OR_RETURN(const std::string content, StringMember(*step, "content"));
      if (!IsLiteral(Member(*step, "pattern"), " ") || content != kSpace) {
        return Unknown("normalizer Replace by", content);
      }
      facts.escapes_spaces = true;
    } else {
      return Unknown("normalizer", type);
    }
  }
  if (facts.prepends && !facts.escapes_spaces) return Unknown("normalizer", "Prepend alone");
  if (facts.prepends) spec.space_prefix = SpacePrefix::kEachFragment;
  return absl::OkStatus();
}

std::string QuoteLiteral(std::string_view text) {
  std::string regex;
  for (char c : text) {
    if (absl::ascii_ispunct(static_cast<unsigned char>(c))) regex += '\\';
    regex += c;
  }
  return regex;
}

absl::Status ReadSplit(const Json& step, TokenizerSpec& spec) {
  const Json& pattern = Member(step, "pattern");
  const char* key = Member(pattern, "Regex").is_null() ? "String" : "Regex";
  TANDEM_ASSIGN_OR_RETURN(std::string regex, StringMember(pattern, key));
  if (std::string_view(key) == "String") regex = QuoteLiteral(regex);
  TANDEM_ASSIGN_OR_RETURN(const std::string behavior, StringMember(step, "behavior"));
  TANDEM_ASSIGN_OR_RETURN(const bool invert, FlagMember(step, "invert", false));
  // Where both the matches and what is between them are kept, it is all one which is which.
  if (behavior == "Isolated") {
    spec.rules.push_back({std::move(regex)});
  } else if (behavior == "Removed" && invert) {
    spec.rules.push_back({std::move(regex), /*drop_gaps=*/true});
  } else {
    return Unknown(invert ? "inverted Split with behavior" : "Split with behavior", behavior);
  }
  return absl::OkStatus();
}

absl::Status ReadDigits(const Json& step, TokenizerSpec& spec) {
  TANDEM_ASSIGN_OR_RETURN(const bool individual, FlagMember(step, "individual_digits", false));
  spec.rules.push_back({individual ? R"(\p{N})" : R"(\p{N}+)"});
  return absl::OkStatus();
}

absl::Status ReadPunctuation(const Json& step, TokenizerSpec& spec) {
  constexpr std::string_view kClass = R"([\p{P}$+<=>\^`|~])";
  const Json& behavior = Member(step, "behavior");
  if (behavior.is_null() || behavior == "Isolated") {
    spec.rules.push_back({std::string(kClass)});
  } else if (behavior == "Contiguous") {
    spec.rules.push_back({absl::StrCat(Text(kClass), "+")});
  } else {
    return Unknown("Punctuation with behavior", behavior.is_string()
                                                    ? behavior.get_ref<const std::string&>()
                                                    : behavior.type_name());
  }
  return absl::OkStatus();
}

absl::Status ReadByteLevel(const Json& step, TokenizerSpec& spec, PipelineFacts& facts) {
  TANDEM_ASSIGN_OR_RETURN(const bool prefix, FlagMember(step, "add_prefix_space"));
  TANDEM_ASSIGN_OR_RETURN(const bool use_regex, FlagMember(step, "use_regex", true));
  if (prefix) {
    // After a Split each piece would get one.
    if (!spec.rules.empty()) return Unknown("pre-tokenizer", "ByteLevel with a prefix after Split");
    spec.space_prefix = SpacePrefix::kEachFragment;
    spec.prefix_unless_space = true;
  }
  if (use_regex) spec.rules.push_back({std::string(kGpt2Regex)});
  facts.byte_level = true;
  return absl::OkStatus();
}

absl::StatusOr<SpacePrefix> ReadPrependScheme(const Json& step) {
  const Json& scheme = Member(step, "prepend_scheme");
  if (scheme.is_null()) {
    TANDEM_ASSIGN_OR_RETURN(const bool prefix, FlagMember(step, "add_prefix_space", true));
    return prefix ? SpacePrefix::kEachFragment : SpacePrefix::kNone;
  }
  if (scheme == "always") return SpacePrefix::kEachFragment;
  if (scheme == "first") return SpacePrefix::kTextStart;
  if (scheme == "never") return SpacePrefix::kNone;
  return absl::InvalidArgumentError("tokenizer.json: unknown prepend_scheme of Metaspace");
}

absl::Status ReadMetaspace(const Json& step, TokenizerSpec& spec, PipelineFacts& facts) {
  TANDEM_ASSIGN_OR_RETURN(const std::string replacement, StringMember(step, "replacement"));
  if (replacement != kSpace) return Unknown("Metaspace with replacement", replacement);
  if (!spec.rules.empty()) return Unknown("pre-tokenizer", "Metaspace after Split");
  if (facts.prepends) return Unknown("pre-tokenizer", "Metaspace after Prepend");
  TANDEM_ASSIGN_OR_RETURN(spec.space_prefix, ReadPrependScheme(step));
  spec.prefix_unless_space = true;
  facts.escapes_spaces = true;
  facts.metaspace = true;
  TANDEM_ASSIGN_OR_RETURN(const bool split, FlagMember(step, "split", true));
  // Each U+2581 starts a piece.
  if (split) spec.rules.push_back({R"(\x{2581}[^\x{2581}]*)"});
  return absl::OkStatus();
}

absl::Status ReadPreTokenizer(const Json& json, TokenizerSpec& spec, PipelineFacts& facts) {
  TANDEM_ASSIGN_OR_RETURN(const Steps steps, FlattenSteps(json, "pretokenizers"));
  bool last = false;
  for (const auto& [type, step] : steps) {
    // These two rewrite the text, so that a later step would see other characters.
    if (last) return Unknown("pre-tokenizer after ByteLevel or Metaspace", type);
    if (type == "Split") {
      TANDEM_RETURN_IF_ERROR(ReadSplit(*step, spec));
    } else if (type == "Digits") {
      TANDEM_RETURN_IF_ERROR(ReadDigits(*step, spec));
    } else if (type == "Punctuation") {
      TANDEM_RETURN_IF_ERROR(ReadPunctuation(*step, spec));
    } else if (type == "ByteLevel") {
      TANDEM_RETURN_IF_ERROR(ReadByteLevel(*step, spec, facts));
      last = true;
    } else if (type == "Metaspace") {
      TANDEM_RETURN_IF_ERROR(ReadMetaspace(*step, spec, facts));
      last = true;
    } else {
      return Unknown("pre-tokenizer", type);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadDecoder(const Json& json, TokenizerSpec& spec) {
  TANDEM_ASSIGN_OR_RETURN(const Steps steps, FlattenSteps(json, "decoders"));
  const bool spaces = spec.model == TokenizerModel::kSentencePiece;
  for (const auto& [type, step] : steps) {
    const bool fits = spaces ? type == "Replace" || type == "ByteFallback" || type == "Fuse" ||
                                   type == "Strip" || type == "Metaspace"
                             : type == "ByteLevel" || type == "Fuse";
    if (!fits) return Unknown("decoder", type);
    const bool strips = type == "Strip" && Member(*step, "start") == 1;
    const bool drops_prefix = type == "Metaspace" && Member(*step, "prepend_scheme") != "never" &&
                              Member(*step, "add_prefix_space") != false;
    if (strips || drops_prefix) spec.strip_decoded_prefix = true;
  }
  return absl::OkStatus();
}

// "single" of TemplateProcessing: at most one special token on each side of the text.
absl::Status ReadTemplate(const Json& step, PostProcessing& result) {
  const Json& single = Member(step, "single");
  if (!single.is_array() || single.size() > 3)
    return Unknown("post-processor", "TemplateProcessing");
  bool seen_text = false;
  for (const Json& item : single) {
    if (item.is_object() && item.contains("Sequence") && !seen_text) {
      seen_text = true;
      continue;
    }
    std::optional<std::string>& slot = seen_text ? result.last : result.first;
    if (slot) return Unknown("post-processor", "TemplateProcessing with two tokens on a side");
    TANDEM_ASSIGN_OR_RETURN(slot, StringMember(Member(item, "SpecialToken"), "id"));
  }
  if (!seen_text) return Unknown("post-processor", "TemplateProcessing without a text");
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadPipeline(const Json& root, TokenizerSpec& spec) {
  PipelineFacts facts;
  TANDEM_RETURN_IF_ERROR(ReadNormalizer(Member(root, "normalizer"), spec, facts));
  TANDEM_RETURN_IF_ERROR(ReadPreTokenizer(Member(root, "pre_tokenizer"), spec, facts));
  if (facts.byte_level == facts.escapes_spaces) {
    return Unknown("a pipeline", facts.byte_level ? "with both bytes and U+2581"
                                                  : "without ByteLevel, Metaspace or Replace");
  }
  if (!facts.byte_level && !facts.metaspace && !spec.rules.empty()) {
    return Unknown("a pipeline", "with Split on text whose spaces are replaced");
  }
  spec.model = facts.byte_level ? TokenizerModel::kByteBpe : TokenizerModel::kSentencePiece;
  return ReadDecoder(Member(root, "decoder"), spec);
}

absl::StatusOr<PostProcessing> ReadPostProcessor(const Json& post_processor) {
  PostProcessing result;
  TANDEM_ASSIGN_OR_RETURN(const Steps steps, FlattenSteps(post_processor, "processors"));
  for (const auto& [type, step] : steps) {
    if (type == "TemplateProcessing") {
      TANDEM_RETURN_IF_ERROR(ReadTemplate(*step, result));
    } else if (type != "ByteLevel") {  // which moves offsets, not ids
      return Unknown("post-processor", type);
    }
  }
  return result;
}

}  // namespace tandem
