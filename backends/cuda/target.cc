#include "backends/cuda/target.h"

#include <array>

#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

constexpr int kKiB = 1024;
constexpr int kMiB = 1024 * kKiB;

// A100, RTX 3090, RTX 4090, H100, B200, RTX 5090.
constexpr std::array<Target, 6> kTypical = {{
    {.arch = 80, .sms = 108, .shared_per_block = 163 * kKiB, .l2_bytes = 40 * kMiB, .bytes_per_second = 2.0e12},
    {.arch = 86, .sms = 82, .shared_per_block = 99 * kKiB, .l2_bytes = 6 * kMiB, .bytes_per_second = 0.94e12},
    {.arch = 89, .sms = 128, .shared_per_block = 99 * kKiB, .l2_bytes = 72 * kMiB, .bytes_per_second = 1.0e12},
    {.arch = 90, .sms = 132, .shared_per_block = 227 * kKiB, .l2_bytes = 50 * kMiB, .bytes_per_second = 3.35e12},
    {.arch = 100, .sms = 148, .shared_per_block = 227 * kKiB, .l2_bytes = 126 * kMiB, .bytes_per_second = 8.0e12},
    {.arch = 120, .sms = 170, .shared_per_block = 99 * kKiB, .l2_bytes = 96 * kMiB, .bytes_per_second = 1.8e12},
}};

}  // namespace

std::string Target::ArchName() const {
  return absl::StrCat("sm_", arch, arch >= 90 && arch < 120 ? "a" : "");
}

absl::StatusOr<Target> TargetFromName(std::string_view name) {
  std::string known;
  for (const Target& target : kTypical) {
    if (target.ArchName() == name) return target;
    absl::StrAppend(&known, known.empty() ? "" : ", ", target.ArchName());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no GPU architecture \"", Text(name), "\"; there are ", known));
}

}  // namespace tandem::cuda
