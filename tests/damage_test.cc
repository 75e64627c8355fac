#include "tests/damage.h"

#include <algorithm>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace tandem {
namespace {

std::vector<std::byte> File(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i % 7 == 0 ? i : 0);
  return bytes;
}

TEST(DamageTest, DependsOnFileAndSeedAloneAndAlwaysChangesSomething) {
  for (const size_t size : {1, 2, 7, 8, 100, 100000}) {
    const auto file = File(size);
    for (uint64_t seed = 0; seed < 200; ++seed) {
      const auto damaged = Damage(file, seed);
      EXPECT_NE(damaged, file) << size << " " << seed;
      EXPECT_EQ(damaged, Damage(file, seed));
      EXPECT_LE(damaged.size(), file.size() + 64);
    }
  }
  EXPECT_TRUE(Damage({}, 1).empty());
}

TEST(DamageTest, SeedsGiveDifferentDamageMostlyNearTheFront) {
  const auto file = File(1 << 20);
  std::set<std::vector<std::byte>> seen;
  int shorter = 0;
  int near_front = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const auto damaged = Damage(file, seed);
    shorter += damaged.size() < file.size();
    near_front += std::ranges::mismatch(damaged, file).in2 - file.begin() < 65536;
    seen.insert(damaged);
  }
  EXPECT_GT(seen.size(), 95u);
  EXPECT_GT(shorter, 10);
  EXPECT_GT(near_front, 80);
}

}  // namespace
}  // namespace tandem
