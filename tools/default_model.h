// The model that comes along.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace tandem {

// Its path: in the source tree of a build, or where it was installed. NotFound, naming both.
absl::StatusOr<std::string> FindDefaultModel();

}  // namespace tandem
