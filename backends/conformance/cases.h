// The cases of the suite, one list for each family of kernels.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "backends/conformance/case.h"

namespace tandem {

// Cases are made one at a time and dropped after they have run, as some are large.
using CaseSink = std::function<void(Case)>;

void RowwiseCases(uint32_t seed, const CaseSink& sink);
void LinearCases(uint32_t seed, const CaseSink& sink);
void StoreKvCases(uint32_t seed, const CaseSink& sink);
void AttentionCases(uint32_t seed, const CaseSink& sink);
void RouteCases(uint32_t seed, const CaseSink& sink);
void ExpertsCases(uint32_t seed, const CaseSink& sink);
// Chains of calls, counted to the kernel that takes most of the time.
void ChainCases(uint32_t seed, const CaseSink& sink);

// Every type that weights can have.
std::vector<DType> WeightTypes();
// Every type that a cache can have.
std::vector<DType> CacheTypes();

// A call that breaks the contract or that every device has to refuse.
struct BadCall {
  std::string name;
  KernelArgs args;
};
std::vector<BadCall> BadCalls();

}  // namespace tandem
