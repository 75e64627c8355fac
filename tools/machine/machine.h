// What a machine can do at best: the ceilings that a measured speed is compared with.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// Of several repetitions, in units a second: bytes of memory, or operations.
struct Rate {
  double best = 0;
  double median = 0;
  bool operator==(const Rate&) const = default;
};

// Reading memory that is in no cache.
struct ReadRate {
  int threads = 1;
  Rate bytes;
  bool operator==(const ReadRate&) const = default;
};

// Multiplying and adding numbers that are in registers; a multiply and an add are two operations.
struct MultiplyRate {
  std::string type;          // "int8", "bf16", "f32"
  std::string instructions;  // "AVX2", "AVX-512", "AVX-512 VNNI", "AMX"
  int threads = 1;
  Rate operations;
  bool operator==(const MultiplyRate&) const = default;
};

// A processor with memory of its own: the CPU; a GPU would be another.
struct Processor {
  std::string device;  // as given to --device: "cpu"
  std::string model;   // as it calls itself
  int cores = 1;       // threads that it can run at once
  std::vector<ReadRate> read;
  std::vector<MultiplyRate> multiply;
  bool operator==(const Processor&) const = default;
};

// A way between the memories of two processors.
struct Bus {
  std::string from, to;  // devices
  Rate bytes;
  bool operator==(const Bus&) const = default;
};

struct Machine {
  std::vector<Processor> processors;
  std::vector<Bus> buses;
  bool operator==(const Machine&) const = default;

  // Null if the device was not measured.
  const Processor* Find(std::string_view device) const;
};

// Bytes a second that `threads` threads read at best, between measured numbers of threads by
// interpolation; 0 if nothing was measured.
double ReadCeiling(const Processor& processor, int threads);

// Operations a second on numbers of `type` by the best instructions; interpolated in the same way.
double MultiplyCeiling(const Processor& processor, std::string_view type, int threads);

}  // namespace tandem
