#include "backends/device/dtype.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(DTypeTest, NamesAndNumbersLeadBack) {
  for (const DTypeInfo& info : AllDTypes()) {
    EXPECT_EQ(DTypeFromNumber(static_cast<uint32_t>(info.dtype)), info.dtype);
    EXPECT_EQ(DTypeFromName(info.name), info.dtype);
  }
  EXPECT_EQ(DTypeFromName("IQ4_NL"), DType::kIQ4_NL);
  EXPECT_EQ(DTypeFromNumber(4), std::nullopt);
  EXPECT_EQ(DTypeFromName("q4"), std::nullopt);
}

TEST(DTypeTest, RowBytesCountsWholeBlocks) {
  EXPECT_EQ(RowBytes(DType::kF32, 3), 12);
  EXPECT_EQ(RowBytes(DType::kIQ4_NL, 64), 36);
  EXPECT_EQ(RowBytes(DType::kQ6_K, 512), 420);
}

}  // namespace
}  // namespace tandem
