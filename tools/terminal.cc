#include "tools/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_format.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

constexpr size_t kMaxText = size_t{1} << 30;

absl::Status WriteAll(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return absl::UnavailableError(
          absl::StrCat("the output cannot be written: ", std::strerror(errno)));
    }
    text.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadDescriptor(int file) {
  std::string text;
  std::array<char, size_t{1} << 16> chunk;
  for (;;) {
    const ssize_t got = ::read(file, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::UnavailableError(std::strerror(errno));
    if (got == 0) return text;
    text.append(chunk.data(), static_cast<size_t>(got));
    if (text.size() > kMaxText) return absl::ResourceExhaustedError("more than 1 GiB of text");
  }
}

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

}  // namespace

bool IsTerminal(StandardStream stream) { return ::isatty(static_cast<int>(stream)) == 1; }

absl::Status WriteOut(std::string_view text) { return WriteAll(STDOUT_FILENO, text); }

void PrintNote(std::string_view line) {
  WriteAll(STDERR_FILENO, std::string(line) + "\n").IgnoreError();
}

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  if (path == "-") {
    auto text = ReadDescriptor(STDIN_FILENO);
    return text.ok() ? std::move(text) : Annotate(text.status(), "standard input");
  }
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  auto text = ReadDescriptor(file);
  ::close(file);
  return text.ok() ? std::move(text) : Annotate(text.status(), path);
}

std::string OneLine(std::string_view text) {
  std::string line(text);
  std::ranges::replace_if(line, IsControl, ' ');
  return line;
}

std::string ErrorLine(const absl::Status& status) {
  return "tandem: " + OneLine(std::string(status.message()));
}

std::string TerminalSafe(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    if (IsControl(c) && c != '\n' && c != '\t') {
      safe += "\uFFFD";
    } else {
      safe += c;
    }
  }
  return safe;
}

ProgressBar::ProgressBar(std::string_view title)
    : title_(title), visible_(IsTerminal(StandardStream::kError)) {}

ProgressBar::~ProgressBar() {
  if (visible_ && shown_ >= 0) WriteAll(STDERR_FILENO, "\r\033[K").IgnoreError();
}

void ProgressBar::Show(double part) {
  constexpr int kWidth = 40;
  const int percent = static_cast<int>(std::clamp(part, 0.0, 1.0) * 100);
  if (!visible_ || percent == shown_) return;
  shown_ = percent;
  std::string bar(static_cast<size_t>(percent * kWidth / 100), '#');
  bar.resize(kWidth, '.');
  WriteAll(STDERR_FILENO, absl::StrFormat("\r%s [%s] %3d%%", title_, bar, percent)).IgnoreError();
}

std::string BytesText(int64_t bytes) {
  constexpr std::array kUnits = {"kB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 1000) return absl::StrFormat("%d B", bytes);
  double amount = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  while (amount >= 999.95 && unit + 1 < kUnits.size()) {
    amount /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", amount, kUnits[unit]);
}

}  // namespace tandem
