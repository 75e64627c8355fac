// Runs the program `tandem` and keeps what it did.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

struct ToolRun {
  std::string input;          // on standard input
  bool interrupt = false;     // send Ctrl-C once there is output
  const char* output = "";    // a file for standard output, instead of ToolResult::out
  int64_t address_space = 0;  // most bytes of it; 0: no limit
  unsigned timeout_seconds = 60;
};

struct ToolResult {
  int code = -1;   // exit code; -1 if a signal ended it
  int signal = 0;  // that signal; SIGALRM after the timeout
  std::string out, err;
  int64_t peak_bytes = 0;  // resident
};

ToolResult RunTool(const std::vector<std::string>& arguments, const ToolRun& run = {});

}  // namespace tandem
