#include "backends/cuda/captured_program.h"

#include <utility>

#include "backends/cuda/queue.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

// Runs launches by themselves, between two events.
class KernelTimer {
 public:
  KernelTimer(const Context& context, CUstream stream)
      : context_(context), driver_(context.driver()), stream_(stream) {}
  ~KernelTimer() {
    for (CUevent event : {begin_, end_}) {
      if (event != nullptr) driver_.EventDestroy(event);
    }
  }
  KernelTimer(const KernelTimer&) = delete;
  KernelTimer& operator=(const KernelTimer&) = delete;

  absl::Status Create() {
    TANDEM_RETURN_IF_ERROR(driver_.Check(driver_.EventCreate(&begin_, 0), "creating an event"));
    return driver_.Check(driver_.EventCreate(&end_, 0), "creating an event");
  }
  absl::StatusOr<double> Time(const Launch& launch) {
    TANDEM_RETURN_IF_ERROR(driver_.Check(driver_.EventRecord(begin_, stream_), launch.label));
    TANDEM_RETURN_IF_ERROR(context_.Start(launch, stream_));
    TANDEM_RETURN_IF_ERROR(driver_.Check(driver_.EventRecord(end_, stream_), launch.label));
    TANDEM_RETURN_IF_ERROR(driver_.Check(driver_.EventSynchronize(end_), launch.label));
    float milliseconds = 0;
    TANDEM_RETURN_IF_ERROR(driver_.Check(
        driver_.EventElapsedTime(&milliseconds, begin_, end_), launch.label));
    return milliseconds * 1e-3;
  }

 private:
  const Context& context_;
  const Driver& driver_;
  CUstream stream_;
  CUevent begin_ = nullptr, end_ = nullptr;
};

class CapturedProgram final : public Executable {
 public:
  CapturedProgram(std::shared_ptr<Context> context, CUgraphExec graph,
                  std::vector<Launch> launches)
      : context_(std::move(context)), graph_(graph), launches_(std::move(launches)) {}
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

  absl::StatusOr<std::vector<KernelTime>> RunTimed(Stream& stream) override {
    const ContextScope scope(context_->driver(), context_->handle());
    TANDEM_RETURN_IF_ERROR(scope.status());
    KernelTimer timer(*context_, HandleOf(stream));
    TANDEM_RETURN_IF_ERROR(timer.Create());
    std::vector<KernelTime> times;
    for (const Launch& launch : launches_) {
      TANDEM_ASSIGN_OR_RETURN(const double seconds, timer.Time(launch));
      times.push_back({launch.label, launch.kernel.name, seconds, launch.work});
    }
    return times;
  }

 private:
  std::shared_ptr<Context> context_;
  CUgraphExec graph_;
  std::vector<Launch> launches_;
};

// Records what is launched on a stream of its own, which runs nothing.
class Recorder {
 public:
  explicit Recorder(const Context& context) : driver_(context.driver()) {}
  ~Recorder() {
    if (recording_) End();
    if (graph_ != nullptr) driver_.GraphDestroy(graph_);
    if (stream_ != nullptr) driver_.StreamDestroy(stream_);
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  absl::Status Begin() {
    TANDEM_RETURN_IF_ERROR(driver_.Check(
        driver_.StreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "creating a stream"));
    TANDEM_RETURN_IF_ERROR(driver_.Check(
        driver_.StreamBeginCapture(stream_, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
        "recording a graph"));
    recording_ = true;
    return absl::OkStatus();
  }
  CUstream stream() const { return stream_; }

  absl::StatusOr<CUgraphExec> Finish() {
    TANDEM_RETURN_IF_ERROR(driver_.Check(End(), "recording a graph"));
    CUgraphExec executable = nullptr;
    TANDEM_RETURN_IF_ERROR(
        driver_.Check(driver_.GraphInstantiate(&executable, graph_, 0), "making a graph ready"));
    return executable;
  }

 private:
  CUresult End() {
    recording_ = false;
    return driver_.StreamEndCapture(stream_, &graph_);
  }
  const Driver& driver_;
  CUstream stream_ = nullptr;
  CUgraph graph_ = nullptr;
  bool recording_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Executable>> CaptureProgram(std::shared_ptr<Context> context,
                                                           std::vector<Launch> launches) {
  const ContextScope scope(context->driver(), context->handle());
  TANDEM_RETURN_IF_ERROR(scope.status());
  Recorder recorder(*context);
  TANDEM_RETURN_IF_ERROR(recorder.Begin());
  for (const Launch& launch : launches) {
    TANDEM_RETURN_IF_ERROR(context->Start(launch, recorder.stream()));
  }
  TANDEM_ASSIGN_OR_RETURN(CUgraphExec graph, recorder.Finish());
  return std::make_unique<CapturedProgram>(std::move(context), graph, std::move(launches));
}

}  // namespace tandem::cuda
