#include "tests/bench/kernel/device_call.h"

#include <algorithm>
#include <utility>

#include "backends/cpu/cpu_device.h"
#include "backends/device/layout.h"
#include "runtime/random_blocks.h"

namespace tandem::cpu {

DeviceCall::DeviceCall(const InstructionSet& set, int threads) {
  auto device = CreateCpuDevice({.threads = threads}, set.name);
  status_ = device.status();
  if (!status_.ok()) return;
  device_ = *std::move(device);
  auto stream = device_->CreateStream();
  status_ = stream.status();
  if (status_.ok()) stream_ = *std::move(stream);
}

void* DeviceCall::AllocateBytes(int64_t bytes) {
  if (!status_.ok()) return nullptr;
  auto buffer = device_->Allocate(bytes);
  status_ = buffer.status();
  if (!status_.ok()) return nullptr;
  buffers_.push_back(*std::move(buffer));
  return buffers_.back()->data();
}

TensorView DeviceCall::Allocate(DType dtype, const Shape& shape) {
  return MakeView(AllocateBytes(ContiguousBytes(dtype, shape)), dtype, shape);
}

TensorView DeviceCall::Random(DType dtype, const Shape& shape, double deviation) {
  const TensorView view = Allocate(dtype, shape);
  if (!status_.ok()) return view;
  const auto bytes = static_cast<size_t>(ContiguousBytes(dtype, shape));
  RandomBlocks({.dtype = dtype, .deviation = deviation, .key = buffers_.size()})
      .Fill(0, {view.row(), bytes});
  return view;
}

TensorView DeviceCall::Weight(DType dtype, const Shape& shape, double deviation) {
  TensorView view = Random(dtype, shape, deviation);
  if (!status_.ok() || !CanInterleave(view)) return view;
  ArrangeInPlace(WeightLayout::kInterleaved, dtype, RowBytes(dtype, shape.back()), shape.rows(), view.row());
  view.layout = WeightLayout::kInterleaved;
  return view;
}

TensorView DeviceCall::I32(const Shape& shape, std::span<const int32_t> numbers) {
  const TensorView view = Allocate(DType::kI32, shape);
  if (status_.ok()) std::ranges::copy(numbers, static_cast<int32_t*>(view.data));
  return view;
}

void DeviceCall::Prepare(const KernelArgs& args) {
  args_ = args;
  if (!status_.ok()) return;
  Call call = {.args = args, .name = "benchmark"};
  call.workspace.bytes = device_->WorkspaceBytes(args);
  if (call.workspace.bytes > 0) call.workspace.data = AllocateBytes(call.workspace.bytes);
  if (!status_.ok()) return;
  Program program;
  program.calls.push_back(std::move(call));
  auto executable = device_->Prepare(std::move(program));
  status_ = executable.status();
  if (status_.ok()) executable_ = *std::move(executable);
}

void DeviceCall::Run() {
  if (status_.ok()) status_ = executable_->Run(*stream_);
}

}  // namespace tandem::cpu
