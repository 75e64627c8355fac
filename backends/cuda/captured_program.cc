#include "backends/cuda/captured_program.h"

#include <array>
#include <map>
#include <utility>

#include "backends/cuda/queue.h"
#include "backends/cuda/stream_plan.h"
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
    TANDEM_RETURN_IF_ERROR(context_.Start(launch, stream_, /*may_overlap=*/false));
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

// Records launches on streams of its own, which run nothing.
class Recorder {
 public:
  explicit Recorder(const Context& context) : context_(context), driver_(context.driver()) {}
  ~Recorder() {
    if (recording_) End();
    if (graph_ != nullptr) driver_.GraphDestroy(graph_);
    for (const auto& [launch, event] : events_) driver_.EventDestroy(event);
    for (CUstream stream : streams_) {
      if (stream != nullptr) driver_.StreamDestroy(stream);
    }
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  absl::StatusOr<CUgraphExec> Record(const std::vector<Launch>& launches) {
    TANDEM_RETURN_IF_ERROR(Begin());
    const StreamPlan plan = PlanStreams(launches);
    for (size_t i = 0; i < launches.size(); ++i) {
      const CUstream stream = streams_[static_cast<size_t>(plan.stream_of[i])];
      for (const int before : plan.waits[i]) TANDEM_RETURN_IF_ERROR(Wait(stream, before));
      const bool may_overlap = plan.waits[i].empty();
      TANDEM_RETURN_IF_ERROR(context_.Start(launches[i], stream, may_overlap));
      if (plan.is_waited_for[i]) TANDEM_RETURN_IF_ERROR(Mark(stream, static_cast<int>(i)));
    }
    if (plan.last[1] >= 0) TANDEM_RETURN_IF_ERROR(Wait(streams_[0], plan.last[1]));
    TANDEM_RETURN_IF_ERROR(driver_.Check(End(), "recording a graph"));
    CUgraphExec executable = nullptr;
    TANDEM_RETURN_IF_ERROR(
        driver_.Check(driver_.GraphInstantiate(&executable, graph_, 0), "making a graph ready"));
    return executable;
  }

 private:
  absl::Status Begin() {
    for (CUstream& stream : streams_) {
      TANDEM_RETURN_IF_ERROR(driver_.Check(
          driver_.StreamCreate(&stream, CU_STREAM_NON_BLOCKING), "creating a stream"));
    }
    TANDEM_RETURN_IF_ERROR(driver_.Check(
        driver_.StreamBeginCapture(streams_[0], CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
        "recording a graph"));
    recording_ = true;
    return absl::OkStatus();
  }
  absl::Status Mark(CUstream stream, int launch) {
    CUevent& event = events_[launch];
    TANDEM_RETURN_IF_ERROR(
        driver_.Check(driver_.EventCreate(&event, CU_EVENT_DISABLE_TIMING), "creating an event"));
    return driver_.Check(driver_.EventRecord(event, stream), "recording an event");
  }
  absl::Status Wait(CUstream stream, int launch) {
    return driver_.Check(driver_.StreamWaitEvent(stream, events_.at(launch), 0),
                         "waiting for an event");
  }
  CUresult End() {
    recording_ = false;
    return driver_.StreamEndCapture(streams_[0], &graph_);
  }

  const Context& context_;
  const Driver& driver_;
  std::array<CUstream, 2> streams_ = {};
  std::map<int, CUevent> events_;  // behind launches that others wait for
  CUgraph graph_ = nullptr;
  bool recording_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Executable>> CaptureProgram(std::shared_ptr<Context> context,
                                                           std::vector<Launch> launches) {
  const ContextScope scope(context->driver(), context->handle());
  TANDEM_RETURN_IF_ERROR(scope.status());
  Recorder recorder(*context);
  TANDEM_ASSIGN_OR_RETURN(CUgraphExec graph, recorder.Record(launches));
  return std::make_unique<CapturedProgram>(std::move(context), graph, std::move(launches));
}

}  // namespace tandem::cuda
