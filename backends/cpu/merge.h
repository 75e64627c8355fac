// Running calls that do not depend on each other side by side.
#pragma once

#include <vector>

#include "backends/cpu/phase.h"

namespace tandem::cpu {

// Appends phases that do the work of all `parts`, each a list of phases of an independent call: the
// first phases of all parts together, then the second ones, and so on. Parts that go back (see
// Phase::again) follow one by one.
void MergePhases(std::vector<std::vector<Phase>> parts, std::vector<Phase>& phases);

}  // namespace tandem::cpu
