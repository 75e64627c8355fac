// Finds stop texts in a stream of text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// Gives text on as soon as it cannot be the beginning of a stop text any more.
class StopDetector {
 public:
  // Empty stop texts are ignored.
  explicit StopDetector(const std::vector<std::string>& stops);

  // Appends text; returns what may be shown. Once a stop text was found it returns what came before
  // it, and after that nothing.
  std::string Put(std::string_view text);
  // What was held back.
  std::string Finish();
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace tandem
