#include "runtime/jinja/budget.h"

#include "absl/strings/str_cat.h"

namespace tandem::jinja {

absl::Status Budget::TooManySteps() const {
  return absl::ResourceExhaustedError(
      absl::StrCat("the chat template ran for more than ", limits_.max_steps, " steps"));
}

absl::Status Budget::TooMuchMemory() const {
  return absl::ResourceExhaustedError(absl::StrCat(
      "the chat template built more than ", limits_.max_allocated_bytes, " bytes of values"));
}

absl::Status Budget::TooDeep() const {
  return absl::ResourceExhaustedError(
      absl::StrCat("the chat template nests evaluation deeper than ", limits_.max_depth,
                   " levels (a macro without an end?)"));
}

}  // namespace tandem::jinja
