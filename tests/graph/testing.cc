#include "tests/graph/testing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "backends/device/check.h"
#include "backends/device/status.h"
#include "graph/builder.h"

namespace tandem::testing {
namespace {

int64_t LiveRows(LiveCount live, int64_t rows) { return live == nullptr ? rows : *live; }

// Calls with each leading index, those of absent dimensions being 0.
void ForRows(const TensorView& view, int64_t live,
             const std::function<void(int64_t, int64_t)>& body) {
  const int64_t inner = view.shape.rank == 3 ? view.dim(1) : 1;
  for (int64_t t = 0; t < live; ++t) {
    for (int64_t h = 0; h < inner; ++h) body(t, h);
  }
}

void RunLinear(const LinearArgs& a) {
  ForRows(a.out, LiveRows(a.live_rows, a.out.dim(0)), [&](int64_t t, int64_t) {
    for (int64_t o = 0; o < a.out.dim(1); ++o) {
      float sum = 0;
      for (int64_t i = 0; i < a.x.dim(1); ++i) sum += a.x.row<float>(t)[i] * a.w.row<float>(o)[i];
      a.out.row<float>(t)[o] = sum;
    }
  });
}

void RunAdd(const AddArgs& a) {
  ForRows(a.out, LiveRows(a.live_rows, a.out.dim(0)), [&](int64_t t, int64_t) {
    for (int64_t i = 0; i < a.out.dim(1); ++i) {
      a.out.row<float>(t)[i] = a.a.row<float>(t)[i] + a.b.row<float>(t)[i];
    }
  });
}

void RunSwiGlu(const SwiGluArgs& a) {
  ForRows(a.out, LiveRows(a.live_rows, a.out.dim(0)), [&](int64_t t, int64_t) {
    for (int64_t i = 0; i < a.out.dim(1); ++i) {
      const float gate = a.gate.row<float>(t)[i];
      a.out.row<float>(t)[i] = gate / (1 + std::exp(-gate)) * a.up.row<float>(t)[i];
    }
  });
}

void RunConcat(const ConcatArgs& a) {
  ForRows(a.out, LiveRows(a.live_rows, a.out.dim(0)), [&](int64_t t, int64_t h) {
    float* out = a.out.row<float>(t, h);
    out = std::copy_n(a.a.row<float>(t, h), a.a.shape.back(), out);
    std::copy_n(a.b.row<float>(t, h), a.b.shape.back(), out);
  });
}

void RunGatherRows(const GatherRowsArgs& a) {
  ForRows(a.out, LiveRows(a.live_rows, a.out.dim(0)), [&](int64_t r, int64_t) {
    const int32_t from = a.rows.row<int32_t>()[r];
    std::copy_n(a.x.row<float>(from), a.x.dim(1), a.out.row<float>(r));
  });
}

void RunStoreKv(const StoreKvArgs& a) {
  ForRows(a.x, LiveRows(a.live_rows, a.x.dim(0)), [&](int64_t t, int64_t h) {
    const int32_t slot = a.slots.row<int32_t>()[t];
    std::copy_n(a.x.row<float>(t, h), a.x.dim(2),
                a.cache.row<float>(slot / kPageTokens, slot % kPageTokens, h));
  });
}

bool AllPlain(const KernelArgs& args) {
  return std::ranges::all_of(Reads(args),
                             [](const TensorView& v) { return !IsQuantized(v.dtype); });
}

// Adds a kernel that asks for workspace and fills it, so that memory that it shares shows.
template <typename Args>
void AddKernel(KernelTable& table, const std::set<KernelId>& kernels, void (*run)(const Args&)) {
  if (!kernels.contains(GetKernelId(KernelArgs(Args())))) return;
  table.AddWithWorkspace<Args>(
      [](const Args& args) {
        return AllPlain(args) ? CheckArgs(args)
                              : absl::UnimplementedError("block types are not supported");
      },
      [](const Args& args) { return 4 * Writes(KernelArgs(args))[0].shape.elements() % 1000; },
      [run](const Args& args, const Workspace& workspace) {
        if (workspace.bytes > 0) std::memset(workspace.data, 0xff, size_t(workspace.bytes));
        run(args);
      });
}

KernelTable MakeTable(const std::set<KernelId>& kernels) {
  KernelTable table;
  AddKernel(table, kernels, RunLinear);
  AddKernel(table, kernels, RunAdd);
  AddKernel(table, kernels, RunSwiGlu);
  AddKernel(table, kernels, RunConcat);
  AddKernel(table, kernels, RunGatherRows);
  AddKernel(table, kernels, RunStoreKv);
  return table;
}

// Addresses of hidden memory are those of the host plus this, which no process can map.
constexpr uintptr_t kHidden = uintptr_t{1} << 60;

template <typename T>
T* Hide(T* address) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(address) + kHidden);
}
template <typename T>
T* Reveal(T* address) {
  const auto number = reinterpret_cast<uintptr_t>(address);
  return number < kHidden ? address : reinterpret_cast<T*>(number - kHidden);
}

class HiddenBuffer final : public Buffer {
 public:
  explicit HiddenBuffer(std::unique_ptr<Buffer> host) : host_(std::move(host)) {}
  void* data() const override { return Hide(host_->data()); }
  int64_t bytes() const override { return host_->bytes(); }

 private:
  std::unique_ptr<Buffer> host_;
};

void Move(void* dst, const void* src, int64_t bytes) {
  if (bytes > 0) std::memcpy(dst, src, static_cast<size_t>(bytes));
}

class LazyStream final : public Stream {
 public:
  absl::Status CopyIn(void* dst, const void* src, int64_t bytes) override {
    return Queue([=] { Move(Reveal(dst), src, bytes); });
  }
  absl::Status CopyOut(void* dst, const void* src, int64_t bytes) override {
    return Queue([=] { Move(dst, Reveal(src), bytes); });
  }
  absl::Status Record(Event&) override { return absl::OkStatus(); }
  absl::Status Wait(Event&) override { return absl::OkStatus(); }
  absl::Status Synchronize() override {
    for (const auto& work : std::exchange(queue_, {})) work();
    return absl::OkStatus();
  }
  absl::Status Queue(std::function<void()> work) {
    queue_.push_back(std::move(work));
    return absl::OkStatus();
  }

 private:
  std::vector<std::function<void()>> queue_;
};

template <typename... Views>
void RevealAll(LiveCount& live, Views&... views) {
  live = Reveal(live);
  ((views.data = Reveal(views.data)), ...);
}
void RevealArgs(LinearArgs& a) { RevealAll(a.live_rows, a.x, a.w, a.bias, a.out); }
void RevealArgs(AddArgs& a) { RevealAll(a.live_rows, a.a, a.b, a.out); }
void RevealArgs(SwiGluArgs& a) { RevealAll(a.live_rows, a.gate, a.up, a.out); }
void RevealArgs(ConcatArgs& a) { RevealAll(a.live_rows, a.a, a.b, a.out); }
void RevealArgs(GatherRowsArgs& a) { RevealAll(a.live_rows, a.x, a.rows, a.out); }
void RevealArgs(StoreKvArgs& a) { RevealAll(a.live_rows, a.x, a.slots, a.cache); }
template <typename Args>
void RevealArgs(Args&) {}  // kernels that no fake has

class LazyExecutable final : public Executable {
 public:
  explicit LazyExecutable(std::shared_ptr<Executable> inner) : inner_(std::move(inner)) {}
  absl::Status Run(Stream& stream) override {
    return static_cast<LazyStream&>(stream).Queue([inner = inner_] {
      const auto now = CreateHostStream();
      inner->Run(*now).IgnoreError();
    });
  }

 private:
  std::shared_ptr<Executable> inner_;
};

class HiddenDevice final : public HostDevice {
 public:
  HiddenDevice(const std::string& name, const std::set<KernelId>& kernels)
      : HostDevice({.name = name}, MakeTable(kernels)), info_(HostDevice::info()) {
    info_.host_memory = false;
    info_.alignment = 256;
  }
  const DeviceInfo& info() const override { return info_; }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    TANDEM_ASSIGN_OR_RETURN(auto host, AllocateHost(bytes));
    return std::make_unique<HiddenBuffer>(std::move(host));
  }
  absl::StatusOr<std::unique_ptr<Stream>> CreateStream() override {
    return std::make_unique<LazyStream>();
  }
  absl::StatusOr<std::unique_ptr<Executable>> Prepare(Program program) override {
    for (Call& call : program.calls) {
      std::visit([](auto& args) { RevealArgs(args); }, call.args);
      call.workspace.data = Reveal(call.workspace.data);
    }
    TANDEM_ASSIGN_OR_RETURN(auto inner, HostDevice::Prepare(std::move(program)));
    return std::make_unique<LazyExecutable>(std::move(inner));
  }

 private:
  DeviceInfo info_;
};

class Unrunnable final : public HostDevice {
 public:
  Unrunnable(const std::string& name, std::set<KernelId> kernels)
      : HostDevice({.name = name}, {}), kernels_(std::move(kernels)) {}
  absl::Status Supports(const KernelArgs& args) const override {
    const KernelId id = GetKernelId(args);
    return kernels_.contains(id) ? absl::OkStatus() : HostDevice::Supports(args);
  }

 private:
  std::set<KernelId> kernels_;
};

}  // namespace

std::unique_ptr<Device> MakeHostFake(const std::string& name, const std::set<KernelId>& kernels) {
  return std::make_unique<HostDevice>(DeviceInfo{.name = name}, MakeTable(kernels));
}

std::unique_ptr<Device> MakeHiddenFake(const std::string& name, const std::set<KernelId>& kernels) {
  return std::make_unique<HiddenDevice>(name, kernels);
}

std::unique_ptr<Device> MakeUnrunnable(const std::string& name, const std::set<KernelId>& kernels) {
  return std::make_unique<Unrunnable>(name, kernels);
}

namespace {

// Adds a random node on values of [rows, width] each and returns its result.
ValueId RandomNode(GraphBuilder& b, std::mt19937& random, const std::vector<ValueId>& values) {
  const auto pick = [&] { return values[random() % values.size()]; };
  const auto weight = [&](int64_t out, int64_t in) {
    return b.Weight(absl::StrCat("w", random()), DType::kF32, {out, in});
  };
  const ValueId x = pick(), y = pick();
  const int64_t width = b.value(x).type.shape[1];
  switch (random() % 5) {
    case 0:
      return b.Linear(x, weight(width, width));
    case 1:
      return b.Add(x, y);
    case 2:
      return b.SwiGlu(x, y);
    case 3: {  // halves made one by one, then joined; sometimes one of them is used twice
      const ValueId left = b.Linear(x, weight(width / 2, width));
      const ValueId right = random() % 4 == 0 ? left : b.Linear(y, weight(width / 2, width));
      const ValueId both = b.Concat(left, right);
      return random() % 2 == 0 ? both : b.Linear(left, weight(width, width / 2));
    }
    default:  // halves of another value, changed places
      return b.Concat(b.Slice(x, 1, width / 2, width / 2), b.Slice(y, 1, 0, width / 2));
  }
}

}  // namespace

Graph RandomGraph(std::mt19937& random, int nodes) {
  GraphBuilder b;
  const Shape shape = {static_cast<int64_t>(1 + random() % 5),
                       static_cast<int64_t>(4 * (1 + random() % 5))};
  std::vector<ValueId> values = {b.Input("in0", DType::kF32, shape),
                                 b.Input("in1", DType::kF32, shape)};
  for (int i = 0; i < nodes; ++i) {
    values.push_back(RandomNode(b, random, values));
    if (random() % 6 == 0) {
      values.back() = b.Add(values.back(), values[0]);  // an output is never renamed twice
      b.MarkOutput(values.back(), absl::StrCat("out", i));
    }
  }
  b.MarkOutput(b.Add(values.back(), values[1]), "out");
  auto graph = std::move(b).Build();
  return graph.ok() ? *std::move(graph) : Graph();
}

Contents RandomContents(const Graph& graph) {
  Contents contents;
  for (const Value& value : graph.values) {
    if (value.is_view() || value.kind == ValueKind::kActivation) continue;
    if (value.type.dtype != DType::kF32) continue;
    std::mt19937 random(static_cast<unsigned>(std::hash<std::string>()(value.name)));
    std::uniform_real_distribution<float> number(-1, 1);
    auto& data = contents[value.name];
    data.resize(static_cast<size_t>(value.type.shape.elements()));
    for (float& x : data) x = number(random);
  }
  return contents;
}

Contents Evaluate(const Graph& graph, const Contents& contents) {
  std::vector<std::vector<float>> storage(graph.values.size());
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    if (value.is_view()) continue;
    const auto given = contents.find(value.name);
    storage[i] = value.kind != ValueKind::kActivation && given != contents.end()
                     ? given->second
                     : std::vector<float>(static_cast<size_t>(value.type.shape.elements()));
  }
  const KernelTable table = MakeTable(kFakeKernels);
  for (const Node& node : graph.nodes) {
    const KernelArgs args = LowerNode(
        graph, node, [&](ValueId root) { return storage[static_cast<size_t>(root)].data(); });
    table.Find(node.op())->run(args, {});
  }
  Contents outputs;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (graph.values[i].is_output) outputs[graph.values[i].name] = storage[i];
  }
  return outputs;
}

}  // namespace tandem::testing
