#include "tools/bench/profile.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace tandem {
namespace {

struct KernelSum {
  std::string kernel;
  int runs = 0;
  double seconds = 0;
  Work work;
};

// "RmsNorm", "Linear<20, 1>": without namespaces and the names of enumerations.
std::string ShortName(const std::string& kernel) {
  return absl::StrReplaceAll(kernel, {{"tandem::cuda::", ""}, {"WeightType", ""}});
}

std::vector<KernelSum> SumByKernel(std::span<const KernelTime> times) {
  std::map<std::string, KernelSum> by_name;
  for (const KernelTime& time : times) {
    KernelSum& sum = by_name[time.kernel];
    sum.kernel = ShortName(time.kernel);
    ++sum.runs;
    sum.seconds += time.seconds;
    sum.work.bytes += time.work.bytes;
    sum.work.flops += time.work.flops;
  }
  std::vector<KernelSum> sums;
  for (auto& [name, sum] : by_name) sums.push_back(std::move(sum));
  std::ranges::sort(sums, std::greater(), &KernelSum::seconds);
  return sums;
}

}  // namespace

std::string ProfileText(const std::string& name, std::span<const KernelTime> times) {
  if (times.empty()) return name + ": the device does not time kernels\n";
  const std::vector<KernelSum> sums = SumByKernel(times);
  double total = 0;
  for (const KernelSum& sum : sums) total += sum.seconds;
  std::string text = absl::StrFormat(
      "\n%s, kernel by kernel (each waits for the one before: together %.3f ms)\n"
      "  share     runs    us each     GB/s   Gflop/s  kernel\n",
      name, total * 1e3);
  for (const KernelSum& sum : sums) {
    absl::StrAppendFormat(&text, "%6.1f %% %8d %10.2f %8.0f %9.0f  %s\n", 100 * sum.seconds / total,
                          sum.runs, sum.seconds / sum.runs * 1e6, sum.work.bytes / sum.seconds / 1e9,
                          sum.work.flops / sum.seconds / 1e9, sum.kernel);
  }
  return text;
}

}  // namespace tandem
