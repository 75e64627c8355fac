#include "runtime/tokenizer/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <string>
#include <utility>

#include "backends/device/status.h"
#include "runtime/tokenizer/regex_dialect.h"

namespace tandem {
namespace {

// Steps of one match. A run of a million spaces needs a few million; a regex that needs more per
// match would make encoding crawl.
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr uint32_t kHeapLimitKib = 256 << 10;
constexpr size_t kMostRules = 32;

template <auto kFree>
struct FreeBy {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Code = std::unique_ptr<pcre2_code, FreeBy<pcre2_code_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, FreeBy<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, FreeBy<pcre2_match_data_free>>;

std::string ErrorText(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

class PieceRegex {
 public:
  static absl::StatusOr<std::unique_ptr<PieceRegex>> Create(const PreTokenizerRule& rule);

  // Appends to `out` the pieces of each of `pieces`.
  absl::Status SplitAll(const std::vector<std::string_view>& pieces,
                        std::vector<std::string_view>& out) const {
    MatchData match(pcre2_match_data_create(1, nullptr));
    if (match == nullptr) return absl::ResourceExhaustedError("no memory for a regex match");
    for (std::string_view piece : pieces) TANDEM_RETURN_IF_ERROR(Split(piece, *match, out));
    return absl::OkStatus();
  }

 private:
  PieceRegex(const PreTokenizerRule& rule, Code code, MatchContext limits)
      : regex_(rule.regex),
        drop_gaps_(rule.drop_gaps),
        code_(std::move(code)),
        limits_(std::move(limits)) {}

  absl::Status Split(std::string_view piece, pcre2_match_data& match,
                     std::vector<std::string_view>& out) const;
  int Match(std::string_view text, size_t start, pcre2_match_data& match) const;

  std::string regex_;
  bool drop_gaps_;
  Code code_;
  MatchContext limits_;
};

absl::StatusOr<std::unique_ptr<PieceRegex>> PieceRegex::Create(const PreTokenizerRule& rule) {
  TANDEM_ASSIGN_OR_RETURN(const std::string pattern, TranslateRegex(rule.regex));
  int error = 0;
  PCRE2_SIZE offset = 0;
  constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), kOptions,
                          &error, &offset, nullptr));
  if (code == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("pre-tokenizer regex \"", rule.regex,
                                                   "\" does not compile: ", ErrorText(error)));
  }
  uint32_t matches_empty = 0;
  pcre2_pattern_info(code.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) {
    return absl::UnimplementedError(
        absl::StrCat("pre-tokenizer regex \"", rule.regex, "\" can match the empty string"));
  }
  // Without JIT (not built in, or no executable memory) matching is slower and the same.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  MatchContext limits(pcre2_match_context_create(nullptr));
  if (limits == nullptr) return absl::ResourceExhaustedError("no memory for a regex");
  pcre2_set_match_limit(limits.get(), kMatchLimit);
  pcre2_set_heap_limit(limits.get(), kHeapLimitKib);
  return std::unique_ptr<PieceRegex>(new PieceRegex(rule, std::move(code), std::move(limits)));
}

int PieceRegex::Match(std::string_view text, size_t start, pcre2_match_data& match) const {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto run = [&](uint32_t options) {
    return pcre2_match(code_.get(), subject, text.size(), start, options | PCRE2_NO_UTF_CHECK,
                       &match, limits_.get());
  };
  const int result = run(0);
  // Compiled matching has a small stack; the interpreter takes its own from the heap.
  return result == PCRE2_ERROR_JIT_STACKLIMIT ? run(PCRE2_NO_JIT) : result;
}

absl::Status PieceRegex::Split(std::string_view piece, pcre2_match_data& match,
                               std::vector<std::string_view>& out) const {
  size_t done = 0;
  const auto gap_until = [&](size_t end) {
    if (end > done && !drop_gaps_) out.push_back(piece.substr(done, end - done));
  };
  while (done < piece.size()) {
    const int result = Match(piece, done, match);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat("pre-tokenizer regex \"", regex_, "\" gave up: ", ErrorText(result)));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(&match);
    gap_until(bounds[0]);
    out.push_back(piece.substr(bounds[0], bounds[1] - bounds[0]));
    done = bounds[1];
  }
  gap_until(piece.size());
  return absl::OkStatus();
}

PreTokenizer::PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const std::vector<PreTokenizerRule>& rules) {
  if (rules.size() > kMostRules) {
    return absl::UnimplementedError(
        absl::StrCat("a pre-tokenizer of ", rules.size(), " rules; at most ", kMostRules));
  }
  PreTokenizer result;
  for (const PreTokenizerRule& rule : rules) {
    TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<PieceRegex> regex, PieceRegex::Create(rule));
    result.rules_.push_back(std::move(regex));
  }
  return result;
}

absl::Status PreTokenizer::Split(std::string_view text,
                                 std::vector<std::string_view>& pieces) const {
  pieces.clear();
  if (text.empty()) return absl::OkStatus();
  pieces.push_back(text);
  std::vector<std::string_view> next;
  for (const std::unique_ptr<PieceRegex>& rule : rules_) {
    next.clear();
    TANDEM_RETURN_IF_ERROR(rule->SplitAll(pieces, next));
    pieces.swap(next);
  }
  return absl::OkStatus();
}

}  // namespace tandem
