// Running calls that do not depend on each other side by side.
#pragma once

#include <vector>

#include "backends/cpu/phase.h"

namespace tandem::cpu {

// Appends phases that do the work of all `parts`, each a list of phases of an independent call: the
// last phases of all parts together, before that those before the last, and so on, as a product is
// the last phase of its call. Phases that are so much work that one more synchronisation does not
// matter stay apart, and parts that go back (see Phase::again) follow one by one.
void MergePhases(std::vector<std::vector<Phase>> parts, std::vector<Phase>& phases);

}  // namespace tandem::cpu
