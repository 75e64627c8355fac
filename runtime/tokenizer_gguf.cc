#include "runtime/tokenizer_gguf.h"

#include "backends/device/status.h"
#include "runtime/tokenizer_fields.h"

namespace tandem {
namespace {

// Assigns an optional key's value, or returns its error.
template <typename Found, typename Field>
absl::Status Assign(absl::StatusOr<std::optional<Found>> found, Field& field) {
  if (!found.ok()) return found.status();
  if (found->has_value()) field = Field(std::move(**found));
  return absl::OkStatus();
}

absl::Status AssignStrings(const GgufMetadata& metadata, std::string_view key,
                           std::vector<std::string>& field) {
  TANDEM_ASSIGN_OR_RETURN(const auto list, metadata.FindStringArray(key));
  if (list.has_value()) field.assign(list->begin(), list->end());
  return absl::OkStatus();
}

absl::Status ReadIds(const GgufMetadata& m, GgufTokenizerFields& f) {
  const std::pair<const char*, std::optional<uint32_t>*> ids[] = {{"bos", &f.bos_id},
                                                                  {"eos", &f.eos_id},
                                                                  {"eot", &f.eot_id},
                                                                  {"eom", &f.eom_id},
                                                                  {"unknown", &f.unk_id},
                                                                  {"seperator", &f.sep_id},
                                                                  {"padding", &f.pad_id},
                                                                  {"mask", &f.mask_id},
                                                                  {"fim_pre", &f.fim_prefix_id},
                                                                  {"fim_suf", &f.fim_suffix_id},
                                                                  {"fim_mid", &f.fim_middle_id}};
  for (const auto& [name, field] : ids) {
    TANDEM_RETURN_IF_ERROR(
        Assign(m.FindU32(absl::StrCat("tokenizer.ggml.", name, "_token_id")), *field));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerSpec> TokenizerSpecFromGguf(const GgufMetadata& m) {
  GgufTokenizerFields f;
  TANDEM_ASSIGN_OR_RETURN(const std::string_view model, m.GetString("tokenizer.ggml.model"));
  f.model = std::string(model);
  TANDEM_RETURN_IF_ERROR(Assign(m.FindString("tokenizer.ggml.pre"), f.pre));
  TANDEM_RETURN_IF_ERROR(AssignStrings(m, "tokenizer.ggml.tokens", f.tokens));
  TANDEM_RETURN_IF_ERROR(Assign(m.FindI32Array("tokenizer.ggml.token_type"), f.token_types));
  TANDEM_RETURN_IF_ERROR(Assign(m.FindF32Array("tokenizer.ggml.scores"), f.scores));
  TANDEM_RETURN_IF_ERROR(AssignStrings(m, "tokenizer.ggml.merges", f.merges));
  TANDEM_RETURN_IF_ERROR(ReadIds(m, f));
  TANDEM_RETURN_IF_ERROR(Assign(m.FindBool("tokenizer.ggml.add_bos_token"), f.add_bos));
  TANDEM_RETURN_IF_ERROR(Assign(m.FindBool("tokenizer.ggml.add_eos_token"), f.add_eos));
  TANDEM_RETURN_IF_ERROR(Assign(m.FindBool("tokenizer.ggml.add_space_prefix"), f.add_space_prefix));
  TANDEM_RETURN_IF_ERROR(Assign(m.FindString("tokenizer.chat_template"), f.chat_template));
  return TokenizerSpecFromFields(std::move(f));
}

}  // namespace tandem
