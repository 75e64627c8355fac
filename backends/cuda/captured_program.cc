#include "backends/cuda/captured_program.h"

#include <utility>

#include "backends/cuda/queue.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

class CapturedProgram final : public Executable {
 public:
  CapturedProgram(std::shared_ptr<Context> context, CUgraphExec graph)
      : context_(std::move(context)), graph_(graph) {}
  ~CapturedProgram() override {
    const ContextScope scope(context_->driver(), context_->handle());
    context_->driver().GraphExecDestroy(graph_);
  }
  absl::Status Run(Stream& stream) override {
    const ContextScope scope(context_->driver(), context_->handle());
    TANDEM_RETURN_IF_ERROR(scope.status());
    return context_->driver().Check(context_->driver().GraphLaunch(graph_, HandleOf(stream)),
                                    "starting a step on the GPU");
  }

 private:
  std::shared_ptr<Context> context_;
  CUgraphExec graph_;
};

// A graph under construction.
class GraphBuilder {
 public:
  explicit GraphBuilder(const Context& context) : context_(context) {}
  ~GraphBuilder() {
    if (graph_ != nullptr) context_.driver().GraphDestroy(graph_);
  }
  GraphBuilder(const GraphBuilder&) = delete;
  GraphBuilder& operator=(const GraphBuilder&) = delete;

  absl::Status Create() {
    return context_.driver().Check(context_.driver().GraphCreate(&graph_, 0), "creating a graph");
  }

  absl::Status Add(Launch& launch) {
    TANDEM_ASSIGN_OR_RETURN(CUfunction function, context_.Find(launch.kernel));
    void* parameter = launch.params.data();
    const CUDA_KERNEL_NODE_PARAMS node = {.func = function,
                                          .gridDimX = launch.grid.x,
                                          .gridDimY = launch.grid.y,
                                          .gridDimZ = launch.grid.z,
                                          .blockDimX = launch.block.x,
                                          .blockDimY = launch.block.y,
                                          .blockDimZ = launch.block.z,
                                          .sharedMemBytes = launch.shared_bytes,
                                          .kernelParams = &parameter};
    const CUgraphNode before = last_;
    const Driver& d = context_.driver();
    TANDEM_RETURN_IF_ERROR(
        d.Check(d.GraphAddKernelNode(&last_, graph_, before == nullptr ? nullptr : &before,
                                     before == nullptr ? 0 : 1, &node),
                launch.label));
    if (launch.cluster == 1) return absl::OkStatus();
    CUlaunchAttributeValue value = {};
    value.clusterDim = {launch.cluster, 1, 1};
    return d.Check(
        d.GraphKernelNodeSetAttribute(last_, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, &value),
        launch.label);
  }

  absl::StatusOr<CUgraphExec> Instantiate() {
    CUgraphExec executable = nullptr;
    TANDEM_RETURN_IF_ERROR(context_.driver().Check(
        context_.driver().GraphInstantiate(&executable, graph_, 0), "making a graph ready"));
    return executable;
  }

 private:
  const Context& context_;
  CUgraph graph_ = nullptr;
  CUgraphNode last_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Executable>> CaptureProgram(std::shared_ptr<Context> context,
                                                           std::vector<Launch> launches) {
  const ContextScope scope(context->driver(), context->handle());
  TANDEM_RETURN_IF_ERROR(scope.status());
  GraphBuilder builder(*context);
  TANDEM_RETURN_IF_ERROR(builder.Create());
  for (Launch& launch : launches) TANDEM_RETURN_IF_ERROR(builder.Add(launch));
  TANDEM_ASSIGN_OR_RETURN(CUgraphExec graph, builder.Instantiate());
  return std::make_unique<CapturedProgram>(std::move(context), graph);
}

}  // namespace tandem::cuda
