// One step of a small model of DeepSeek's kind, as a program: for tests and benchmarks that need
// many calls that depend on each other.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "backends/device/device.h"

namespace tandem::cpu {

struct StepSizes {
  int64_t layers = 2, embed = 64, heads = 4, words = 96;
  int64_t plain = 32, rotated = 16, latent = 32, value = 32;  // of a head; latent of the cache
  int64_t experts = 6, used = 2, hidden = 32, shared = 64;
  DType weights = DType::kIQ4_NL;
  DType cache = DType::kF16;
  int64_t tokens = 1, live_tokens = 1;
  int64_t keys = 1;  // of the one sequence, the tokens of this step included
};

// Weights, activations and cache in host memory, and the program that takes a step with them.
class Step {
 public:
  Step(Device& device, const StepSizes& sizes);

  const Program& program() const { return program_; }
  // [live tokens, words]
  std::span<const float> logits() const;

 private:
  TensorView Allocate(DType dtype, const Shape& shape);
  TensorView F32(const Shape& shape) { return Allocate(DType::kF32, shape); }
  TensorView I32(const Shape& shape, const std::vector<int32_t>& values);
  TensorView Weights(DType dtype, const Shape& shape);
  TensorView Ones(int64_t n);

  template <typename Args>
  TensorView Call(Args args, std::string name);
  TensorView Norm(const TensorView& x);
  TensorView Linear(const TensorView& x, const Shape& w);
  TensorView Turn(const TensorView& x);
  TensorView Concat(const TensorView& a, const TensorView& b);
  TensorView Add(const TensorView& a, const TensorView& b);
  TensorView Attention(const TensorView& x);
  TensorView FeedForward(const TensorView& x);

  Device& device_;
  StepSizes sizes_;
  std::mt19937 random_{1};
  std::vector<std::unique_ptr<Buffer>> buffers_;
  Program program_;
  TensorView positions_, slots_, inv_freq_, logits_;
  AttentionBatch batch_;
  LiveCount live_ = nullptr;
};

}  // namespace tandem::cpu
