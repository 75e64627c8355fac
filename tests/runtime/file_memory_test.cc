// What the readers allocate, whatever a file promises: memory follows the bytes that are there.
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include "gtest/gtest.h"
#include "runtime/gguf.h"
#include "runtime/safetensors.h"
#include "tests/runtime/raw_gguf.h"

namespace {

std::atomic<size_t> live_bytes;
std::atomic<size_t> peak_bytes;

}  // namespace

void* operator new(size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  const size_t live = live_bytes += malloc_usable_size(memory);
  peak_bytes = std::max<size_t>(peak_bytes, live);
  return memory;
}

void operator delete(void* memory) noexcept {
  live_bytes -= malloc_usable_size(memory);
  std::free(memory);
}

void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

namespace tandem {
namespace {

// The most memory in use at once while `action` ran, beyond what was in use before.
template <typename Action>
size_t PeakOf(Action action) {
  const size_t before = live_bytes;
  peak_bytes = before;
  action();
  return peak_bytes - before;
}

constexpr size_t kSmall = 16 * 1024;  // messages, and the first steps of growing arrays

size_t PeakOfParsing(const std::string& bytes, bool expect_ok) {
  return PeakOf([&] { EXPECT_EQ(GgufFile::Parse(AsBytes(bytes)).ok(), expect_ok); });
}

TEST(FileMemoryTest, PromisedCountsCostNothing) {
  for (const uint64_t count : {1ull << 20, 1ull << 32, 1ull << 60, ~0ull}) {
    RawGguf raw;
    raw.tensor_count = count;
    EXPECT_LT(PeakOfParsing(raw.Bytes(), false), kSmall);
    raw = RawGguf();
    raw.entry_count = count;
    EXPECT_LT(PeakOfParsing(raw.Bytes(), false), kSmall);
    for (const uint32_t type : {0u, 4u, 6u, 7u, 8u, 10u}) {
      raw = RawGguf();
      raw.entries.push_back(RawArray("array", type, count, RawText("x")));
      EXPECT_LT(PeakOfParsing(raw.Bytes(), false), kSmall) << type;
    }
  }
}

TEST(FileMemoryTest, CountsThatTheSizeAllowsButTheContentDoesNot) {
  RawGguf raw;
  raw.data_bytes = 4 << 20;
  raw.entry_count = 200'000;
  EXPECT_LT(PeakOfParsing(raw.Bytes(), false), kSmall);
  raw.entry_count.reset();
  raw.tensor_count = 100'000;
  EXPECT_LT(PeakOfParsing(raw.Bytes(), false), kSmall);
}

TEST(FileMemoryTest, LargeArraysAreNotCopied) {
  RawGguf raw;
  std::string texts;
  for (int i = 0; i < 100'000; ++i) texts += RawText("token " + std::to_string(i));
  raw.entries.push_back(RawArray("texts", 8, 100'000, texts));
  raw.entries.push_back(RawArray("numbers", 4, 500'000, std::string(2'000'000, 'x')));
  EXPECT_LT(PeakOfParsing(raw.Bytes(), true), kSmall);
}

TEST(FileMemoryTest, SmallestRecordsStayWithinAFactorOfTheFile) {
  RawGguf raw;
  for (int i = 0; i < 20'000; ++i) {
    raw.entries.push_back(RawEntry(std::to_string(i), 0, "x"));
    raw.tensors.push_back({std::to_string(i), {1}, 24, 256 + 32 * uint64_t(i), {}});
  }
  raw.data_bytes = 256 + 32 * 20'000;
  const std::string bytes = raw.Bytes();
  EXPECT_LT(PeakOfParsing(bytes, true), 8 * bytes.size());
}

TEST(FileMemoryTest, BadSafetensorsHeadersAndIndexes) {
  const auto peak = [](const std::string& bytes) {
    return PeakOf([&] { EXPECT_FALSE(SafetensorsFile::Parse(AsBytes(bytes)).ok()); });
  };
  EXPECT_LT(peak(Raw<uint64_t>(99'000'000) + "{}"), kSmall);
  EXPECT_LT(peak(RawText("{\"a\":" + std::string(1 << 20, '['))), kSmall);
  std::string numbers = R"({"a":{"shape":)";
  for (int i = 0; i < 1 << 18; ++i) numbers += ",[";
  EXPECT_LT(peak(RawText(numbers)), kSmall);
  const std::string index = R"({"x":)" + std::string(1 << 20, '[');
  EXPECT_LT(PeakOf([&] { EXPECT_FALSE(ParseSafetensorsIndex(index).ok()); }), 8 * index.size());
  std::string sizes = R"({"a":{"shape":[1)";
  for (int i = 0; i < 1 << 19; ++i) sizes += ",1";
  const std::string bytes = RawText(sizes);
  EXPECT_LT(peak(bytes), 16 * bytes.size());
}

}  // namespace
}  // namespace tandem
