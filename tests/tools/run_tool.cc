#include "tests/tools/run_tool.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "gtest/gtest.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

struct Files {
  std::string in, out, err;
};

// Only calls that are safe between fork and exec.
[[noreturn]] void Become(char* const* arguments, const Files& files, const ToolRun& run) {
  constexpr int kWrite = O_WRONLY | O_CREAT | O_TRUNC;
  dup2(open(files.in.c_str(), O_RDONLY), STDIN_FILENO);
  dup2(open(files.out.c_str(), kWrite, 0600), STDOUT_FILENO);
  dup2(open(files.err.c_str(), kWrite, 0600), STDERR_FILENO);
  if (run.address_space > 0) {
    const auto bytes = static_cast<rlim_t>(run.address_space);
    const rlimit limit = {bytes, bytes};
    setrlimit(RLIMIT_AS, &limit);
  }
  signal(SIGINT, SIG_DFL);
  alarm(run.timeout_seconds);
  execv(arguments[0], arguments);
  _exit(127);
}

bool HasContent(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && info.st_size > 0;
}

}  // namespace

ToolResult RunTool(const std::vector<std::string>& arguments, const ToolRun& run) {
  const TempDir folder;
  const std::string output = *run.output != '\0' ? run.output : folder.Path("out");
  const Files files = {folder.Write("in", run.input), output, folder.Path("err")};
  std::vector<char*> argv = {const_cast<char*>(TANDEM_TOOL)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) Become(argv.data(), files, run);
  EXPECT_GT(child, 0);
  while (run.interrupt && !HasContent(files.out) && kill(child, 0) == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (run.interrupt) kill(child, SIGINT);
  int status = 0;
  rusage usage = {};
  EXPECT_EQ(wait4(child, &status, 0, &usage), child);
  ToolResult result;
  if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  if (*run.output == '\0') result.out = ReadFileBytes(files.out);
  result.err = ReadFileBytes(files.err);
  result.peak_bytes = int64_t{usage.ru_maxrss} * 1024;
  return result;
}

}  // namespace tandem
