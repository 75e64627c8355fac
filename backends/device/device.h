// What a device is. Every backend implements these five classes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/device/program.h"

namespace tandem {

// Memory of a device, freed with the object. It must not outlive its device.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual void* data() const = 0;  // an address that kernels of the device take
  virtual int64_t bytes() const = 0;
};

// A point in the work of a stream.
class Event {
 public:
  virtual ~Event() = default;
  // Blocks the calling thread until the recorded point is reached; returns at once when nothing was
  // recorded. Returns the error of the work before that point, if it failed.
  virtual absl::Status Synchronize() = 0;
};

// A queue of work of one device, run in order. A stream belongs to one thread at a time.
class Stream {
 public:
  virtual ~Stream() = default;
  // Host memory of a copy must stay valid until the copy is done (see Synchronize).
  virtual absl::Status CopyIn(void* device_dst, const void* host_src, int64_t bytes) = 0;
  virtual absl::Status CopyOut(void* host_dst, const void* device_src, int64_t bytes) = 0;
  virtual absl::Status Record(Event& event) = 0;
  // Work queued after this starts when `event`, of the same device, is reached.
  virtual absl::Status Wait(Event& event) = 0;
  // Blocks until the queue is empty. Returns the first error of the work in it.
  virtual absl::Status Synchronize() = 0;
};

// A kernel of a run that was timed.
struct KernelTime {
  std::string call;    // name of the call that it is a part of
  std::string kernel;  // as the device calls it
  double seconds = 0;
  Work work;  // of the call, keys of attention not counted; zero for all but the first of its kernels
};

// A program made ready to run. It keeps no state between runs but its workspace, so it may run on
// any stream of its device, one run at a time.
class Executable {
 public:
  virtual ~Executable() = default;
  // Queues one run. Input errors were found when the program was prepared; what remains is the loss
  // of the device.
  virtual absl::Status Run(Stream& stream) = 0;
  // The same, waiting for each kernel by itself, which takes longer. Unimplemented if the device
  // cannot.
  virtual absl::StatusOr<std::vector<KernelTime>> RunTimed(Stream& stream) {
    (void)stream;
    return absl::UnimplementedError("the device does not time kernels");
  }
};

struct DeviceInfo {
  std::string name;         // as given to --device: "cpu"
  std::string description;  // what it is: "AVX2, 16 threads"
  // Kernels take host addresses: weights are read where the file is mapped, without a copy.
  bool host_memory = false;
  int64_t memory_bytes = 0;  // what it may allocate in all; 0: not known
  int64_t alignment = 64;    // of every tensor in an arena; a power of two
};

// All members may be called from several threads at once.
class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;

  // ResourceExhausted, naming the bytes asked for, when there is not enough memory.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) = 0;
  virtual absl::StatusOr<std::unique_ptr<Stream>> CreateStream() = 0;
  virtual absl::StatusOr<std::unique_ptr<Event>> CreateEvent() = 0;

  // OK if the device can run a call with these types and shapes (addresses may be null); else
  // Unimplemented with the reason, or InvalidArgument if they break the contract (check.h).
  virtual absl::Status Supports(const KernelArgs& args) const = 0;
  // Bytes of temporaries that the call needs; only for supported arguments. For attention at most
  // its workspace_limit.
  virtual int64_t WorkspaceBytes(const KernelArgs& args) const = 0;
  // Estimated seconds of one run of the call with all rows live and `kv_tokens` keys per query.
  virtual double Cost(const KernelArgs& args, int64_t kv_tokens) const = 0;

  // The layout in which the device reads `weight`, one of the weights of the call, fastest. The
  // call is supported with this one and with kRows.
  virtual WeightLayout PreferredLayout(const KernelArgs& args, const TensorView& weight) const {
    (void)args, (void)weight;
    return WeightLayout::kRows;
  }

  // Queues the rearrangement of whole panels of a weight from rows, contiguous at `from`, to the
  // layout of `to`; both lie in the device's memory. Unimplemented if the device leaves that to the
  // host, which then copies what is arranged.
  virtual absl::Status Arrange(Stream& stream, const void* from, const TensorView& to) {
    (void)stream, (void)from, (void)to;
    return absl::UnimplementedError("the device does not arrange weights");
  }

  // Makes a program ready; its tensors have addresses of this device. Fails on an unsupported call,
  // naming it.
  virtual absl::StatusOr<std::unique_ptr<Executable>> Prepare(Program program) = 0;
};

// What the opener of a device may ask for.
struct DeviceOptions {
  int threads = 0;  // CPU threads; 0: one for each core
  int index = 0;    // which of several devices of the kind: 1 for "cuda:1"
  // "sm_90a": instead of a device that is there one that only makes programs ready, so that what
  // Prepare compiles is in the cache of a machine that has one. "portable": kernels that do not
  // depend on the generation of the device.
  std::string architecture;
  // A folder in which devices that compile keep the results; empty: none.
  std::string cache_folder;
};

}  // namespace tandem
