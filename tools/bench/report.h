// What `tandem bench` prints: rows, as a table, JSON or CSV.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/engine.h"
#include "tools/bench/plan.h"
#include "tools/bench/runner.h"

namespace tandem {

// What the machine can do at the row's number of threads, a second; 0 if it is not known.
struct Ceilings {
  double bytes = 0;
  double operations = 0;
};

struct BenchRow {
  BenchSetting setting;
  BenchTest test;
  int repetitions = 0;
  // Tokens a second of all sessions together: of the median repetition, the slowest, the fastest.
  double speed = 0, slowest = 0, fastest = 0;
  Work per_token;
  // The part of the ceiling that bounds the test, and whether that is memory; nothing is bound by a
  // ceiling that is not known. Above 1 for weights that stay in the CPU's caches.
  std::optional<double> share;
  bool memory_bound = true;
  double error = 0;   // of the logits, see check.h
  MemoryUse planned;  // of all devices together
  ProcessMemory process;

  double bytes_per_second() const { return speed * per_token.bytes; }
  double operations_per_second() const { return speed * per_token.flops; }
};

// Figures of a test; the bound is the ceiling that takes the longer time for the work.
BenchRow MakeRow(const BenchSetting& setting, const BenchTest& test, const Measured& measured,
                 const Ceilings& ceilings);

// Bytes of all devices as one.
MemoryUse TotalMemory(const std::vector<MemoryUse>& uses);

// Each line with its end.
std::string TableHeader();
std::string TableRow(const BenchRow& row);
std::string CsvHeader();
std::string CsvRow(const BenchRow& row);
std::string JsonRow(const std::string& model, const BenchRow& row);

// For the end of the table: memory of the engine as planned, and of the process as seen.
std::string MemoryText(const BenchRow& row);

}  // namespace tandem
