// Benchmarks of the CPU's kernels, each beside what this machine can do at best.
#include <iostream>

#include "tests/bench/kernel/bench.h"
#include "tools/machine/cpu.h"
#include "tools/machine/measure.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  auto ceilings = tandem::MeasureCpu({.threads = {tandem::CpuCores()}});
  if (!ceilings.ok()) {
    std::cerr << ceilings.status() << '\n';
    return 1;
  }
  tandem::cpu::Bench bench(*std::move(ceilings));
  tandem::cpu::RegisterProducts(bench);
  tandem::cpu::RegisterAttention(bench);
  tandem::cpu::RegisterExperts(bench);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
