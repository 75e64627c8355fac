// Devices to test the graph with: a few kernels in plain loops, in host memory or in memory that
// the host must not touch.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "backends/device/host_device.h"
#include "graph/graph.h"

namespace tandem::testing {

// The kernels that the fakes have.
inline const std::set<KernelId> kFakeKernels = {KernelId::kLinear,     KernelId::kAdd,
                                                KernelId::kSwiGlu,     KernelId::kConcat,
                                                KernelId::kGatherRows, KernelId::kStoreKv};

// A host device with some of these kernels.
std::unique_ptr<Device> MakeHostFake(const std::string& name, const std::set<KernelId>& kernels);

// The same with memory of its own: its addresses are moved out of what a process can map, so that
// any use of one by the host is a fault, and its streams do nothing until they are synchronised.
std::unique_ptr<Device> MakeHiddenFake(const std::string& name, const std::set<KernelId>& kernels);

// A device that says yes to the given kernels at once and cannot run anything.
std::unique_ptr<Device> MakeUnrunnable(const std::string& name, const std::set<KernelId>& kernels);

// Contents of roots by name.
using Contents = std::map<std::string, std::vector<float>>;

// A graph of about `nodes` random nodes on inputs f32 "in0", "in1" [rows, width] and weights.
Graph RandomGraph(std::mt19937& random, int nodes);

// Random contents of all f32 inputs, weights and states, the same for a name and size.
Contents RandomContents(const Graph& graph);

// The outputs of a graph of fake kernels, each root in storage of its own, node by node.
Contents Evaluate(const Graph& graph, const Contents& contents);

}  // namespace tandem::testing
