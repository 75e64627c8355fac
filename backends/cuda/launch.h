// What a call becomes: launches of kernels that are compiled at run time.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "backends/device/program.h"

namespace tandem::cuda {

// One instance of a kernel template: the device source it is in and its name as C++ has it,
// {"rowwise.cuh", "tandem::cuda::RmsNorm<256>"}.
struct KernelSpec {
  std::string file;
  std::string name;
  auto operator<=>(const KernelSpec&) const = default;
};

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

// A kernel takes one struct by value, which is all that it is told by the host: addresses, strides,
// shapes. What changes from step to step lies in device memory.
struct Launch {
  KernelSpec kernel;
  Dim3 grid, block;
  unsigned shared_bytes = 0;  // dynamic shared memory
  unsigned cluster = 1;       // blocks in a cluster, along x
  // The kernel may start before the one ahead of it has ended: it waits before it touches what others
  // write (ptx/launch.cuh).
  bool waits_itself = false;
  std::vector<std::byte> params;
  // Positions, in the program's launches, of those that have to end first; with what these wait for,
  // and so on, all that this one has to wait for.
  std::vector<int> after;
  std::string label;  // for messages and profiles: the name of the call
  Work work;          // of the call, in its first launch
};

template <class Params>
Launch MakeLaunch(KernelSpec kernel, Dim3 grid, Dim3 block, unsigned shared_bytes,
                  const Params& params) {
  static_assert(std::is_trivially_copyable_v<Params>);
  Launch launch = {.kernel = std::move(kernel), .grid = grid, .block = block,
                   .shared_bytes = shared_bytes};
  launch.params.resize(sizeof(Params));
  std::memcpy(launch.params.data(), &params, sizeof(Params));
  return launch;
}

}  // namespace tandem::cuda
