// Input: tokenizer.json, then a byte 0, then a text (or no 0: the file is the text too). Whatever
// the file says, reading it, encoding and decoding end without a crash; decoded ids are in range.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/tokenizer.h"
#include "runtime/tokenizer_json.h"

namespace {

void EncodeAndDecode(const tandem::Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.Encode(text, {.add_special = true, .parse_special = true});
  if (!ids.ok()) return;
  tandem::StreamDecoder decoder(tokenizer);
  for (int32_t id : *ids) {
    if (id < 0 || id >= tokenizer.vocab_size()) __builtin_trap();
    decoder.Put(id);
  }
  decoder.Finish();
  tokenizer.Decode(*ids, /*skip_special=*/false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const std::string_view file = input.substr(0, zero);
  const std::string_view text = zero == std::string_view::npos ? file : input.substr(zero + 1);
  auto spec = tandem::ParseTokenizerJson(file, "");
  if (!spec.ok()) return 0;
  const auto tokenizer = tandem::Tokenizer::Create(*std::move(spec));
  if (tokenizer.ok()) EncodeAndDecode(**tokenizer, text);
  return 0;
}
