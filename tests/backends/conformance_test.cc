#include "backends/conformance/conformance.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/backends/broken_device.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

TEST(ConformanceTest, TheReferencePasses) {
  const auto subject = CreateReferenceDevice();
  const auto oracle = CreateReferenceDevice();
  const ConformanceReport report = CheckDevice(*subject, *oracle, {});
  EXPECT_TRUE(report.ok()) << ToString(report);
  EXPECT_TRUE(report.unsupported.empty()) << ToString(report);
  for (const KernelReport& kernel : report.kernels) EXPECT_GT(kernel.passed, 4);
}

TEST(ConformanceTest, WhatADeviceLacksIsNoFailure) {
  Fault fault = {.name = "no quantised weights", .kernel = KernelId::kLinear};
  fault.supports = [](const KernelArgs& args) {
    if (!IsQuantized(std::get<LinearArgs>(args).w.dtype))
      return CreateReferenceDevice()->Supports(args);
    return absl::UnimplementedError("no quantised weights");
  };
  BrokenDevice subject(fault);
  const auto oracle = CreateReferenceDevice();
  const ConformanceReport report = CheckDevice(subject, *oracle, {.kernels = {KernelId::kLinear}});
  const KernelReport& linear = report.kernels[static_cast<size_t>(KernelId::kLinear)];
  EXPECT_TRUE(report.ok()) << ToString(report);
  EXPECT_GT(linear.passed, 0);
  EXPECT_GT(linear.unsupported, 0);
  EXPECT_THAT(ToString(report), HasSubstr("no quantised weights"));
}

// A kernel that runs with other arguments than it was given.
template <typename Args>
Fault WithArgs(std::string name, void (*change)(Args&)) {
  Fault fault = {.name = std::move(name), .kernel = GetKernelId(Args())};
  fault.run = [change](KernelArgs args, const Workspace&, const Fault::Run& reference) {
    change(std::get<Args>(args));
    reference(args);
  };
  return fault;
}

// A kernel that is right but does something else afterwards.
template <typename Args>
Fault WithAfterthought(std::string name, void (*then)(const Args&)) {
  Fault fault = {.name = std::move(name), .kernel = GetKernelId(Args())};
  fault.run = [then](KernelArgs args, const Workspace&, const Fault::Run& reference) {
    reference(args);
    then(std::get<Args>(args));
  };
  return fault;
}

std::vector<Fault> AttentionFaults() {
  return {
      WithArgs<AttentionArgs>("window one too wide",
                              [](AttentionArgs& a) { a.window += a.window > 0; }),
      WithArgs<AttentionArgs>("causal mask left out",
                              [](AttentionArgs& a) { a.window = 0, a.causal = false; }),
      WithArgs<AttentionArgs>("mask added", [](AttentionArgs& a) { a.causal = true; }),
      WithArgs<AttentionArgs>("sinks ignored", [](AttentionArgs& a) { a.sinks = {}; }),
      WithArgs<AttentionArgs>("soft cap ignored", [](AttentionArgs& a) { a.soft_cap = 0; }),
      WithArgs<AttentionArgs>(
          "values from the start of keys",
          [](AttentionArgs& a) { a.v_from_k_offset = std::min<int64_t>(a.v_from_k_offset, 0); }),
      WithArgs<AttentionArgs>("lse not written", [](AttentionArgs& a) { a.lse = {}; }),
      WithArgs<AttentionArgs>("result depends on the limit",
                              [](AttentionArgs& a) {
                                if (a.workspace_limit < 1 << 20) a.scale *= 1.01f;
                              }),
  };
}

// Faults that no change of the arguments makes.
std::vector<Fault> MemoryFaults() {
  Fault heads = {.name = "wrong KV head", .kernel = KernelId::kAttention};
  heads.run = [](KernelArgs args, const Workspace&, const Fault::Run& reference) {
    auto& a = std::get<AttentionArgs>(args);
    const int64_t bytes = ContiguousBytes(a.k.dtype, a.k.shape), count = a.k.dim(2);
    std::vector<std::byte> turned(bytes);
    TensorView k = MakeView(turned.data(), a.k.dtype, a.k.shape);
    for (int64_t i = 0; i < a.k.shape.rows(); ++i) {
      const int64_t p = i / count / kPageTokens, t = i / count % kPageTokens, h = i % count;
      std::memcpy(k.row(p, t, h), a.k.row(p, t, count - 1 - h), RowBytes(k.dtype, k.dim(3)));
    }
    a.k = k;
    reference(args);
  };
  Fault pages = {.name = "page table ignored", .kernel = KernelId::kAttention};
  pages.run = [](KernelArgs args, const Workspace&, const Fault::Run& reference) {
    auto& a = std::get<AttentionArgs>(args);
    const Shape shape = a.batch.page_table.shape;
    std::vector<int32_t> table(shape.elements());
    for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i % a.k.dim(0));
    a.batch.page_table = MakeView(table.data(), DType::kI32, shape);
    reference(args);
  };
  Fault ids = {.name = "unknown experts are the first", .kernel = KernelId::kExperts};
  ids.run = [](KernelArgs args, const Workspace&, const Fault::Run& reference) {
    auto& a = std::get<ExpertsArgs>(args);
    std::vector<int32_t> known(a.ids.row<int32_t>(), a.ids.row<int32_t>() + a.ids.shape.elements());
    for (int32_t& id : known) id = id < 0 || id >= a.gate.dim(0) ? 0 : id;
    a.ids.data = known.data();
    reference(args);
  };
  return {heads, pages, ids};
}

std::vector<Fault> OtherFaults() {
  return {
      WithArgs<StoreKvArgs>("live rows ignored", [](StoreKvArgs& a) { a.live_rows = nullptr; }),
      WithArgs<RopeArgs>("other pairs",
                         [](RopeArgs& a) {
                           a.pairing = a.pairing == RopePairing::kHalves ? RopePairing::kInterleaved
                                                                         : RopePairing::kHalves;
                         }),
      WithArgs<RopeArgs>("magnitude ignored", [](RopeArgs& a) { a.magnitude = 1; }),
      WithArgs<RmsNormArgs>("eps ignored", [](RmsNormArgs& a) { a.eps = 0; }),
      WithArgs<LinearArgs>("bias ignored", [](LinearArgs& a) { a.bias = {}; }),
      WithArgs<RouteArgs>("bias ignored", [](RouteArgs& a) { a.bias = {}; }),
      WithArgs<RouteArgs>("groups ignored", [](RouteArgs& a) { a.groups = a.groups_used = 1; }),
      WithArgs<RouteArgs>("other group score",
                          [](RouteArgs& a) { a.group_score = GroupScore::kMax; }),
      WithAfterthought<AddArgs>("writes past the end",
                                [](const AddArgs& a) { *a.out.row<float>(a.out.dim(0)) = 1; }),
      WithAfterthought<SwiGluArgs>("writes between rows",
                                   [](const SwiGluArgs& a) {
                                     if (a.out.dim(0) > 1) a.out.row<float>()[a.out.dim(1)] = 1;
                                   }),
      WithAfterthought<ConcatArgs>("changes an input",
                                   [](const ConcatArgs& a) { a.a.row<float>()[0] = 7; }),
  };
}

std::vector<Fault> DeviceFaults() {
  Fault too_big = {.name = "workspace above the limit", .kernel = KernelId::kAttention};
  too_big.workspace_bytes = [](const KernelArgs&) { return int64_t{65}; };
  Fault overflow = {.name = "writes past the workspace", .kernel = KernelId::kAttention};
  overflow.workspace_bytes = [](const KernelArgs&) { return int64_t{1}; };
  overflow.run = [](KernelArgs args, const Workspace& w, const Fault::Run& reference) {
    reference(args);
    static_cast<char*>(w.data)[w.bytes] ^= 1;
  };
  Fault stale = {.name = "reads the workspace before writing it", .kernel = KernelId::kRmsNorm};
  stale.workspace_bytes = [](const KernelArgs&) { return int64_t{4}; };
  stale.run = [](KernelArgs args, const Workspace& w, const Fault::Run& reference) {
    reference(args);
    float& first = *std::get<RmsNormArgs>(args).out.row<float>();
    if (*static_cast<char*>(w.data) == 0) first = std::nextafter(first, 100.0f);
  };
  Fault unsteady = {.name = "results that change from run to run", .kernel = KernelId::kLinear};
  unsteady.run = [turn = std::make_shared<uint32_t>(0)](KernelArgs args, const Workspace&,
                                                        const Fault::Run& reference) {
    reference(args);
    *std::get<LinearArgs>(args).out.row<uint32_t>() ^= ++*turn & 1;
  };
  const auto yes = [](const KernelArgs&) { return absl::OkStatus(); };
  Fault agreeable = {.name = "Supports everything", .kernel = KernelId::kRoute, .supports = yes};
  Fault silent = {.name = "no reason", .kernel = KernelId::kEmbed};
  silent.supports = [](const KernelArgs&) { return absl::UnimplementedError(""); };
  Fault careless = {.name = "Prepare accepts all", .kernel = KernelId::kGatherRows, .prepare = yes};
  Fault timid = {.name = "Prepare accepts less than Supports", .kernel = KernelId::kAdd};
  timid.prepare = [](const KernelArgs&) { return absl::UnimplementedError("not today"); };
  return {too_big, overflow, stale, unsteady, agreeable, silent, careless, timid};
}

std::vector<Fault> AllFaults() {
  std::vector<Fault> all;
  for (const auto& faults : {AttentionFaults(), MemoryFaults(), OtherFaults(), DeviceFaults()}) {
    all.insert(all.end(), faults.begin(), faults.end());
  }
  return all;
}

class SeededFaultTest : public ::testing::TestWithParam<Fault> {};

TEST_P(SeededFaultTest, IsFound) {
  BrokenDevice subject(GetParam());
  const auto oracle = CreateReferenceDevice();
  const ConformanceReport report =
      CheckDevice(subject, *oracle, {.kernels = {GetParam().kernel}, .stop_at_failure = true});
  EXPECT_FALSE(report.ok()) << GetParam().name;
  const KernelReport& kernel = report.kernels[static_cast<size_t>(GetParam().kernel)];
  EXPECT_EQ(kernel.failed, 1);
  EXPECT_FALSE(kernel.first_failure.empty());
  RecordProperty("found", kernel.first_failure);
}

INSTANTIATE_TEST_SUITE_P(All, SeededFaultTest, ::testing::ValuesIn(AllFaults()),
                         [](const auto& info) {
                           std::string name =
                               std::string(KernelName(info.param.kernel)) + "_" + info.param.name;
                           std::ranges::replace_if(
                               name, [](unsigned char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

}  // namespace
}  // namespace tandem
