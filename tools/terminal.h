// Standard input, output and error of the tool.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tandem {

enum class StandardStream { kIn = 0, kOut = 1, kError = 2 };

// A person is at the other end.
bool IsTerminal(StandardStream stream);

// Writes all of `text` to standard output at once. Unavailable, with the system's reason, if it
// cannot be written: a full disk, a reader that is gone.
absl::Status WriteOut(std::string_view text);

// Writes a line to standard error. That it cannot be written is nobody's error.
void PrintNote(std::string_view line);

// All of the file at `path`, or of standard input for "-". Errors name the file; ResourceExhausted
// beyond 1 GiB, which is also the limit of tokenizers.
absl::StatusOr<std::string> ReadAll(const std::string& path);

// `text` with each control character, line ends among them, replaced by a space.
std::string OneLine(std::string_view text);

// "tandem: " and the message of `status`, in one line.
std::string ErrorLine(const absl::Status& status);

// `text` safe to print on a terminal: control characters other than tabs and line ends, which
// could move the cursor or worse, become U+FFFD.
std::string TerminalSafe(std::string_view text);

// A bar on standard error while something long is done; nothing if that is no terminal.
class ProgressBar {
 public:
  explicit ProgressBar(std::string_view title);
  ~ProgressBar();  // wipes it
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Show(double part);  // 0 to 1

 private:
  std::string title_;
  bool visible_;
  int shown_ = -1;  // per cent
};

// "1.5 GB", in powers of 1000.
std::string BytesText(int64_t bytes);

}  // namespace tandem
