// Small tensors and calls for the tests of the reference backend.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "backends/device/quant.h"
#include "backends/device/status.h"
#include "backends/reference/reference_device.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {

// A contiguous tensor that owns its numbers.
template <typename T>
struct Owned {
  Shape shape;
  std::vector<T> data;

  explicit Owned(Shape s) : shape(s), data(s.elements()) {}
  Owned(Shape s, std::vector<T> values) : shape(s), data(std::move(values)) {}
  TensorView view() {
    return MakeView(data.data(),
                    sizeof(T) == 4 && std::is_integral_v<T> ? DType::kI32 : DType::kF32, shape);
  }
};
using Floats = Owned<float>;
using Ints = Owned<int32_t>;

inline Floats RandomFloats(const Shape& shape, uint32_t seed) {
  Floats out(shape);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float& value : out.data) value = normal(random);
  return out;
}

// A tensor of any type, encoded from floats, with the values that it decodes to.
struct Encoded {
  DType dtype;
  Floats decoded;
  std::vector<std::byte> bytes;

  Encoded(DType type, Floats source)
      : dtype(type), decoded(std::move(source)), bytes(ContiguousBytes(type, decoded.shape)) {
    const int64_t n = decoded.shape.elements();
    EXPECT_TRUE(QuantizeRow(dtype, decoded.data.data(), bytes.data(), n, nullptr).ok());
    DequantizeRow(dtype, bytes.data(), decoded.data.data(), n);
  }
  TensorView view() { return MakeView(bytes.data(), dtype, decoded.shape); }
};

// Runs one call on a reference device.
inline void RunOnReference(const KernelArgs& args) {
  const auto device = CreateReferenceDevice();
  Program program;
  program.calls.push_back({.args = args, .name = "call"});
  auto executable = device->Prepare(std::move(program));
  ASSERT_TRUE(executable.ok()) << executable.status().ToString();
  auto stream = device->CreateStream();
  ASSERT_TRUE(stream.ok());
  ASSERT_TRUE((*executable)->Run(**stream).ok());
}

// Matches floats within `tolerance` times the largest of the expected ones.
inline void ExpectNear(const std::vector<float>& actual, const std::vector<double>& expected,
                       double tolerance = 1e-6) {
  ASSERT_EQ(actual.size(), expected.size());
  double largest = 0;
  for (const double value : expected) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], tolerance * largest) << "at " << i;
  }
}

}  // namespace tandem
