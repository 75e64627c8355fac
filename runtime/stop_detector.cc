#include "runtime/stop_detector.h"

#include <algorithm>
#include <utility>

namespace tandem {
namespace {

// Length of the longest end of `text` that begins `stop`, shorter than all of it.
size_t PartialMatch(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.ends_with(stop.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

StopDetector::StopDetector(const std::vector<std::string>& stops) {
  std::ranges::copy_if(stops, std::back_inserter(stops_),
                       [](const std::string& stop) { return !stop.empty(); });
}

std::string StopDetector::Put(std::string_view text) {
  if (found_) return "";
  held_.append(text);
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) end = std::min(end, held_.find(stop));
  if (end != std::string::npos) {
    found_ = true;
    held_.resize(end);
    return std::exchange(held_, "");
  }
  size_t keep = 0;
  for (const std::string& stop : stops_) keep = std::max(keep, PartialMatch(held_, stop));
  std::string ready = held_.substr(0, held_.size() - keep);
  held_.erase(0, ready.size());
  return ready;
}

std::string StopDetector::Finish() { return std::exchange(held_, ""); }

}  // namespace tandem
