#include "runtime/tokenizer_fields.h"

#include "backends/device/status.h"
#include "runtime/tokenizer/pretokenizer_rules.h"

namespace tandem {
namespace {

absl::Status ReadTypes(const GgufTokenizerFields& fields, TokenizerSpec& spec) {
  spec.token_types.reserve(fields.token_types.size());
  for (size_t id = 0; id < fields.token_types.size(); ++id) {
    const int32_t type = fields.token_types[id];
    // Some converters write 0, "undefined", for tokens they know nothing of.
    if (type < 0 || type > static_cast<int32_t>(TokenType::kByte)) {
      return absl::InvalidArgumentError(absl::StrCat("token ", id, " has type ", type));
    }
    spec.token_types.push_back(type == 0 ? TokenType::kNormal : static_cast<TokenType>(type));
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const GgufTokenizerFields& fields, TokenizerSpec& spec) {
  spec.merges.reserve(fields.merges.size());
  for (const std::string& text : fields.merges) {
    TANDEM_ASSIGN_OR_RETURN(auto merge, ParseMerge(text));
    spec.merges.push_back(std::move(merge));
  }
  return absl::OkStatus();
}

void ReadIds(const GgufTokenizerFields& fields, TokenizerSpec& spec) {
  const auto read = [&spec](std::string_view name, std::optional<uint32_t> from,
                            std::optional<int32_t>& to) {
    if (!from) return;
    if (*from < spec.tokens.size()) {
      to = static_cast<int32_t>(*from);
    } else {
      spec.warnings.push_back(absl::StrCat(Text(name), " token id ", *from,
                                           " is outside the vocabulary of ", spec.tokens.size(),
                                           " and is left out"));
    }
  };
  read("bos", fields.bos_id, spec.bos_id);
  read("eos", fields.eos_id, spec.eos_id);
  read("eot", fields.eot_id, spec.eot_id);
  read("eom", fields.eom_id, spec.eom_id);
  read("unknown", fields.unk_id, spec.unk_id);
  read("separator", fields.sep_id, spec.sep_id);
  read("padding", fields.pad_id, spec.pad_id);
  read("mask", fields.mask_id, spec.mask_id);
  read("fim_pre", fields.fim_prefix_id, spec.fim_prefix_id);
  read("fim_suf", fields.fim_suffix_id, spec.fim_suffix_id);
  read("fim_mid", fields.fim_middle_id, spec.fim_middle_id);
}

absl::Status SetByteBpe(const GgufTokenizerFields& fields, TokenizerSpec& spec) {
  spec.model = TokenizerModel::kByteBpe;
  if (!fields.pre) {
    spec.warnings.push_back(
        "the file does not name its pre-tokenizer (tokenizer.ggml.pre): gpt-2 is used, which may "
        "cut text otherwise than the model expects");
  }
  spec.pre_tokenizer = fields.pre.value_or("gpt-2");
  absl::StatusOr<NamedPreTokenizer> named = FindPreTokenizer(spec.pre_tokenizer);
  if (!named.ok()) return absl::UnimplementedError(named.status().message());
  spec.rules = std::move(named->rules);
  spec.ignore_merges = named->ignore_merges;
  spec.add_bos = fields.add_bos.value_or(named->add_bos) && spec.bos_id.has_value();
  spec.add_eos = fields.add_eos.value_or(false) && spec.eos_id.has_value();
  return ReadMerges(fields, spec);
}

absl::Status SetSentencePiece(const GgufTokenizerFields& fields, TokenizerSpec& spec) {
  spec.model = TokenizerModel::kSentencePiece;
  const auto or_default = [&](std::optional<int32_t>& id, int32_t value) {
    if (!id && static_cast<size_t>(value) < spec.tokens.size()) id = value;
  };
  or_default(spec.unk_id, 0);
  or_default(spec.bos_id, 1);
  or_default(spec.eos_id, 2);
  spec.scores = fields.scores;
  spec.add_bos = fields.add_bos.value_or(true) && spec.bos_id.has_value();
  spec.add_eos = fields.add_eos.value_or(false) && spec.eos_id.has_value();
  if (fields.add_space_prefix.value_or(true)) {
    spec.space_prefix = SpacePrefix::kEachFragment;
    spec.strip_decoded_prefix = true;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::pair<std::string, std::string>> ParseMerge(const std::string& merge) {
  const size_t space = merge.find(' ', 1);
  if (space == std::string::npos || space + 1 == merge.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the merge \"", merge, "\" does not have two sides"));
  }
  return std::make_pair(merge.substr(0, space), merge.substr(space + 1));
}

absl::StatusOr<TokenizerSpec> TokenizerSpecFromFields(GgufTokenizerFields fields) {
  TokenizerSpec spec;
  spec.tokens = std::move(fields.tokens);
  TANDEM_RETURN_IF_ERROR(ReadTypes(fields, spec));
  ReadIds(fields, spec);
  spec.chat_template = std::move(fields.chat_template);
  if (fields.model == "gpt2") {
    TANDEM_RETURN_IF_ERROR(SetByteBpe(fields, spec));
  } else if (fields.model == "llama") {
    TANDEM_RETURN_IF_ERROR(SetSentencePiece(fields, spec));
  } else {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer model \"", fields.model, "\" (gpt2 and llama are known)"));
  }
  return spec;
}

}  // namespace tandem
