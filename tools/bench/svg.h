// A chart of lines as SVG.
#pragma once

#include <string>
#include <vector>

namespace tandem {

struct Point {
  double x = 0, y = 0;
};

struct Series {
  std::string name;
  std::vector<Point> points;  // by rising x
};

// One pair of axes. The y axis begins at 0.
struct Panel {
  std::string x_label, y_label;
  std::vector<Series> series;
};

// Round numbers from 0 to at least `most`, about five of them: steps of 1, 2 or 5 times a power of
// ten. {0, 1} if `most` is not a positive number.
std::vector<double> Ticks(double most);

// The panels one below the other, with a title above and the names of the series beside them. Text
// may be anything; what XML cannot hold is left out.
std::string Svg(const std::string& title, const std::vector<Panel>& panels);

}  // namespace tandem
