// The kernel families of the reference backend, one file each.
#pragma once

#include "backends/device/check.h"
#include "backends/device/host_device.h"

namespace tandem {

void AddReferenceRowwise(KernelTable& table);    // embed, rms_norm, rope, add, swiglu, concat, ...
void AddReferenceLinear(KernelTable& table);     // linear
void AddReferenceAttention(KernelTable& table);  // store_kv, attention
void AddReferenceMoe(KernelTable& table);        // route, experts

// Adds a kernel that needs no workspace and takes all that the contract allows.
template <typename Args>
void AddReferenceKernel(KernelTable& table, void (*run)(const Args&)) {
  table.Add<Args>([](const Args& args) { return CheckArgs(args); }, run);
}

}  // namespace tandem
