// The suite that every backend must pass.
//
//   const ConformanceReport report = CheckDevice(*subject, *oracle, {});
//   std::cout << ToString(report);
//   return report.ok() ? 0 : 1;
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "backends/device/device.h"

namespace tandem {

struct ConformanceOptions {
  std::vector<KernelId> kernels;  // which to check; empty: all
  uint32_t seed = 1;              // of the numbers in the tensors
  bool stop_at_failure = false;   // leave out the cases after the first that fails
};

struct KernelReport {
  int passed = 0;
  int failed = 0;
  int unsupported = 0;  // refused by the device with a reason; no failure
  std::string first_failure;
};

// A case and what became of it.
struct CaseNote {
  KernelId kernel;
  std::string name;    // shapes, types and options
  std::string reason;  // for a failure: the error and what is allowed
};

struct ConformanceReport {
  std::array<KernelReport, kKernelCount> kernels;
  std::vector<CaseNote> failures;
  std::vector<CaseNote> unsupported;

  // Something passed and nothing failed.
  bool ok() const;
};

// Runs every case on both devices, each with its own memory and stream, and compares:
// - results, by relative RMS within the tolerance of the kernel and its types (compare.h);
// - bytes that are no output (inputs, gaps between rows, bytes around tensors and workspaces),
// which
//   must not change;
// - a second run, which must give the same bits whatever the workspace holds;
// - attention under several workspace limits: same results, and a workspace within the limit;
// - calls that break the contract or that the device refuses: Supports must give a reason, and
//   Prepare must fail as well.
// The oracle must support every call (CreateReferenceDevice does).
ConformanceReport CheckDevice(Device& subject, Device& oracle, const ConformanceOptions& options);

// A table of the kernels, then the failures, then the reasons for what the device does not support.
std::string ToString(const ConformanceReport& report);

}  // namespace tandem
