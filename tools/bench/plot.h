// The rows of a benchmark as a chart.
#pragma once

#include <string>
#include <vector>

#include "tools/bench/report.h"

namespace tandem {

// Speed along the context as SVG: a panel for prompts and one for generation, in each a line for
// each test and setting.
std::string PlotRows(const std::string& title, const std::vector<BenchRow>& rows);

}  // namespace tandem
