#include "tools/bench/svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {
namespace {

// In pixels.
constexpr double kWidth = 960, kTop = 48, kPanelHeight = 320, kGap = 80;
constexpr double kLeft = 80, kRight = 680, kLegend = 700, kLine = 18;

// Okabe and Ito 2008: colours that colour-blind people can tell apart.
constexpr std::array<std::string_view, 8> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                      "#56b4e9", "#e69f00", "#000000", "#999933"};

std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) escaped += c;
    }
  }
  return escaped;
}

std::string Number(double value) { return absl::StrFormat("%.10g", value); }

// Maps a panel's numbers to pixels.
struct Frame {
  double top = 0;
  double most_x = 1, most_y = 1;

  double bottom() const { return top + kPanelHeight; }
  double X(double x) const { return kLeft + (kRight - kLeft) * x / most_x; }
  double Y(double y) const { return bottom() - kPanelHeight * y / most_y; }
};

std::string Text(double x, double y, std::string_view anchor, std::string_view text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y,
                         std::string(anchor), Escaped(text));
}

std::string Line(double x1, double y1, double x2, double y2, std::string_view colour) {
  return absl::StrFormat("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
                         x1, y1, x2, y2, std::string(colour));
}

std::string Axes(const Panel& panel, const Frame& frame, const std::vector<double>& x_ticks,
                 const std::vector<double>& y_ticks) {
  std::string svg;
  for (const double y : y_ticks) {
    svg += Line(kLeft, frame.Y(y), kRight, frame.Y(y), y == 0 ? "#333" : "#ddd");
    svg += Text(kLeft - 8, frame.Y(y) + 4, "end", Number(y));
  }
  for (const double x : x_ticks) {
    svg += Line(frame.X(x), frame.bottom(), frame.X(x), frame.bottom() + 5, "#333");
    svg += Text(frame.X(x), frame.bottom() + 20, "middle", Number(x));
  }
  svg += Line(kLeft, frame.top, kLeft, frame.bottom(), "#333");
  svg += Text((kLeft + kRight) / 2, frame.bottom() + 40, "middle", panel.x_label);
  const double middle = frame.top + kPanelHeight / 2;
  absl::StrAppendFormat(
      &svg, "<text transform=\"translate(20 %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>\n",
      middle, Escaped(panel.y_label));
  return svg;
}

std::string Curve(const Series& series, const Frame& frame, size_t index) {
  const std::string colour(kColours[index % kColours.size()]);
  std::string svg =
      absl::StrFormat("<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour);
  for (const Point& p : series.points) {
    absl::StrAppendFormat(&svg, "%.1f,%.1f ", frame.X(p.x), frame.Y(p.y));
  }
  if (svg.ends_with(' ')) svg.pop_back();
  svg += "\"/>\n";
  for (const Point& p : series.points) {
    absl::StrAppendFormat(&svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                          frame.X(p.x), frame.Y(p.y), colour);
  }
  const double y = frame.top + kLine * (static_cast<double>(index) + 0.5);
  absl::StrAppendFormat(&svg,
                        "<rect x=\"%.1f\" y=\"%.1f\" width=\"20\" height=\"2\" fill=\"%s\"/>\n",
                        kLegend, y - 1, colour);
  svg += Text(kLegend + 28, y + 4, "start", series.name);
  return svg;
}

std::string PanelSvg(const Panel& panel, double top) {
  double most_x = 0, most_y = 0;
  for (const Series& series : panel.series) {
    for (const Point& p : series.points) {
      most_x = std::max(most_x, p.x);
      most_y = std::max(most_y, p.y);
    }
  }
  const std::vector<double> x_ticks = Ticks(most_x), y_ticks = Ticks(most_y);
  const Frame frame = {top, x_ticks.back(), y_ticks.back()};
  std::string svg = Axes(panel, frame, x_ticks, y_ticks);
  for (size_t i = 0; i < panel.series.size(); ++i) svg += Curve(panel.series[i], frame, i);
  return svg;
}

}  // namespace

std::vector<double> Ticks(double most) {
  if (!std::isfinite(most) || most <= 0) return {0, 1};
  const double power = std::pow(10.0, std::floor(std::log10(most / 5)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power * 5 >= most) step = factor * power;
  }
  std::vector<double> ticks = {0};
  while (ticks.back() < most) ticks.push_back(step * static_cast<double>(ticks.size()));
  return ticks;
}

std::string Svg(const std::string& title, const std::vector<Panel>& panels) {
  const double height = kTop + static_cast<double>(panels.size()) * (kPanelHeight + kGap);
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" "
      "font-family=\"sans-serif\" font-size=\"13\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
      kWidth, height);
  svg += Text(kLeft, kTop - 22, "start", title);
  double top = kTop;
  for (const Panel& panel : panels) {
    svg += PanelSvg(panel, top);
    top += kPanelHeight + kGap;
  }
  return svg + "</svg>\n";
}

}  // namespace tandem
