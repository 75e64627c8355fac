#include "runtime/page_pool.h"

#include <set>

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(PagePoolTest, PagesForCountsStartedPages) {
  EXPECT_EQ(PagesFor(0), 0);
  EXPECT_EQ(PagesFor(1), 1);
  EXPECT_EQ(PagesFor(64), 1);
  EXPECT_EQ(PagesFor(65), 2);
}

TEST(PagePoolTest, NoPageIsGivenTwice) {
  PagePool pool(5);
  std::vector<int32_t> a, b;
  EXPECT_TRUE(pool.Grow(a, 2));
  EXPECT_TRUE(pool.Grow(b, 3));
  std::set<int32_t> all(a.begin(), a.end());
  all.insert(b.begin(), b.end());
  EXPECT_EQ(all, (std::set<int32_t>{0, 1, 2, 3, 4}));
}

TEST(PagePoolTest, TooFewPagesChangeNothing) {
  PagePool pool(3);
  std::vector<int32_t> a, b;
  EXPECT_TRUE(pool.Grow(a, 2));
  EXPECT_FALSE(pool.Grow(b, 2));
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(pool.free_pages(), 1);
  pool.Release(a);
  EXPECT_TRUE(a.empty());
  EXPECT_TRUE(pool.Grow(b, 3));
}

TEST(PagePoolTest, GrowingToFewerKeepsAll) {
  PagePool pool(3);
  std::vector<int32_t> a;
  EXPECT_TRUE(pool.Grow(a, 2));
  EXPECT_TRUE(pool.Grow(a, 1));
  EXPECT_EQ(a.size(), 2u);
}

}  // namespace
}  // namespace tandem
