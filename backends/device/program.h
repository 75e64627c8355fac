// What a device is given to run: a flat list of kernel calls.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backends/device/kernels.h"

namespace tandem {

// Temporary memory of one call, on the device; nothing survives the call.
struct Workspace {
  void* data = nullptr;
  int64_t bytes = 0;
};

struct Call {
  KernelArgs args;
  Workspace workspace;  // at least Device::WorkspaceBytes of these arguments
  std::string name;     // of the graph's node, for messages and traces
  // Neighbours with the same group that is not negative may run at the same time: none writes what
  // another one reads or writes, workspaces included.
  int group = -1;
  KernelId id() const { return GetKernelId(args); }
};

// Calls take effect as if run one after the other.
struct Program {
  std::vector<Call> calls;
  // What is read after the program has run, besides caches. A device need not write what else its
  // calls write, if no call reads it. Nothing: all of it is read.
  std::optional<std::vector<TensorView>> results;
};

// The tensors that a call reads and writes, absent ones left out. A cache that is partly written
// (store_kv) is among the writes.
std::vector<TensorView> Reads(const KernelArgs& args);
std::vector<TensorView> Writes(const KernelArgs& args);

// Least bytes that a call has to move and floating-point operations that it has to do (a multiply
// and an add are two) when all of its rows are live. `kv_tokens` is the number of keys that each
// query of an attention call sees, which its arguments do not tell.
struct Work {
  double bytes = 0;
  double flops = 0;
};
Work WorkOf(const KernelArgs& args, int64_t kv_tokens);

}  // namespace tandem
