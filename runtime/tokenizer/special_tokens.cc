#include "runtime/tokenizer/special_tokens.h"

#include "backends/device/status.h"
#include "runtime/tokenizer/unicode.h"

namespace tandem {
namespace {

constexpr size_t kLongestSpecialToken = 1024;

// Length of the white space that `text` ends with, or starts with.
size_t TrailingSpace(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t start = end - 1;
    while (start > 0 && end - start < 4 && (static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) {
      --start;
    }
    const Utf8Step step = ReadUtf8(text, start);
    if (step.kind != Utf8Kind::kValid || start + step.length != end) break;
    if (!IsWhiteSpace(step.code_point)) break;
    end = start;
  }
  return text.size() - end;
}

size_t LeadingSpace(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const Utf8Step step = ReadUtf8(text, i);
    if (step.kind != Utf8Kind::kValid || !IsWhiteSpace(step.code_point)) break;
    i += step.length;
  }
  return i;
}

uint64_t EdgeKey(int32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
}

}  // namespace

absl::StatusOr<SpecialTokens> SpecialTokens::Create(const TokenizerSpec& spec) {
  SpecialTokens result;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const TokenType type = spec.token_types[id];
    const bool user_defined = type == TokenType::kUserDefined;
    if (!user_defined && type != TokenType::kControl && type != TokenType::kUnknown) continue;
    const std::string& text = spec.tokens[id];
    if (text.size() > kLongestSpecialToken) {
      return absl::InvalidArgumentError(absl::StrCat("special token ", id, " has ", text.size(),
                                                     " bytes; at most ", kLongestSpecialToken));
    }
    if (!text.empty()) result.Add(text, static_cast<int32_t>(id), user_defined);
  }
  for (const TokenStrip& strip : spec.strips) result.strips_[strip.id] = strip;
  return result;
}

void SpecialTokens::Add(std::string_view text, int32_t id, bool user_defined) {
  int32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    int32_t& next = i == 0 ? first_[static_cast<uint8_t>(text[0])]
                           : edges_.try_emplace(EdgeKey(node, text[i]), 0).first->second;
    if (next == 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.emplace_back();
    }
    node = next;
  }
  (user_defined ? nodes_[node].user_defined : nodes_[node].other) = id;
}

SpecialTokens::Found SpecialTokens::LongestAt(std::string_view text, size_t position,
                                              bool parse_special) const {
  Found found;
  int32_t node = first_[static_cast<uint8_t>(text[position])];
  for (size_t length = 1; node != 0; ++length) {
    const Node& at = nodes_[node];
    const int32_t id = at.user_defined < 0 && parse_special ? at.other : at.user_defined;
    if (id >= 0) found = {id, length};
    if (position + length == text.size()) break;
    const auto edge = edges_.find(EdgeKey(node, text[position + length]));
    node = edge == edges_.end() ? 0 : edge->second;
  }
  return found;
}

std::vector<TextFragment> SpecialTokens::Split(std::string_view text, bool parse_special) const {
  std::vector<TextFragment> fragments;
  size_t done = 0;
  const auto text_until = [&](size_t end) {
    if (end > done) fragments.push_back({text.substr(done, end - done), -1});
  };
  for (size_t i = 0; i < text.size();) {
    const Found found = LongestAt(text, i, parse_special);
    if (found.id < 0) {
      ++i;
      continue;
    }
    const auto strip = strips_.find(found.id);
    const bool left = strip != strips_.end() && strip->second.left;
    const bool right = strip != strips_.end() && strip->second.right;
    text_until(left ? i - TrailingSpace(text.substr(done, i - done)) : i);
    fragments.push_back({text.substr(i, found.length), found.id});
    i += found.length;
    if (right) i += LeadingSpace(text.substr(i));
    done = i;
  }
  text_until(text.size());
  return fragments;
}

}  // namespace tandem
