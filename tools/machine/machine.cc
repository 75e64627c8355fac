#include "tools/machine/machine.h"

#include <algorithm>
#include <map>

namespace tandem {
namespace {

// The value at `x` of the line through the points; flat beyond its ends.
double Interpolate(const std::map<int, double>& points, int x) {
  if (points.empty()) return 0;
  const auto above = points.lower_bound(x);
  if (above == points.end()) return points.rbegin()->second;
  if (above->first == x || above == points.begin()) return above->second;
  const auto below = std::prev(above);
  const double part = static_cast<double>(x - below->first) / (above->first - below->first);
  return below->second + part * (above->second - below->second);
}

}  // namespace

const Processor* Machine::Find(std::string_view device) const {
  const auto it = std::ranges::find(processors, device, &Processor::device);
  return it == processors.end() ? nullptr : &*it;
}

double ReadCeiling(const Processor& processor, int threads) {
  std::map<int, double> points;
  for (const ReadRate& rate : processor.read) points[rate.threads] = rate.bytes.best;
  return Interpolate(points, threads);
}

double MultiplyCeiling(const Processor& processor, std::string_view type, int threads) {
  std::map<int, double> points;
  for (const MultiplyRate& rate : processor.multiply) {
    if (rate.type != type) continue;
    double& point = points[rate.threads];
    point = std::max(point, rate.operations.best);
  }
  return Interpolate(points, threads);
}

}  // namespace tandem
