#include "tools/bench/plot.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tools/bench/svg.h"

namespace tandem {
namespace {

// What tells rows apart that stand at the same depth.
std::string SeriesName(const BenchRow& row) {
  BenchTest test = row.test;
  test.depth = 0;
  const BenchSetting& setting = row.setting;
  std::string name = test.name();
  if (test.parallel > 1) absl::StrAppend(&name, " x", test.parallel);
  return absl::StrCat(name, " ", setting.device, " ", setting.threads, "t ub", setting.micro_batch,
                      " ", setting.kv_type);
}

Panel MakePanel(const std::string& y_label, const std::vector<BenchRow>& rows, bool prompts) {
  Panel panel = {.x_label = "tokens in the context before", .y_label = y_label, .series = {}};
  for (const BenchRow& row : rows) {
    if ((row.test.prompt > 0) != prompts) continue;
    const std::string name = SeriesName(row);
    auto series = std::ranges::find(panel.series, name, &Series::name);
    if (series == panel.series.end()) series = panel.series.insert(series, {name, {}});
    series->points.push_back({static_cast<double>(row.test.depth), row.speed});
  }
  return panel;
}

}  // namespace

std::string PlotRows(const std::string& title, const std::vector<BenchRow>& rows) {
  std::vector<Panel> panels = {MakePanel("prompt, tokens/s", rows, true),
                               MakePanel("generation, tokens/s", rows, false)};
  std::erase_if(panels, [](const Panel& panel) { return panel.series.empty(); });
  return Svg(title, panels);
}

}  // namespace tandem
