#include "runtime/stop_detector.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

// Feeds text one byte at a time; returns all that comes out.
std::string Feed(StopDetector& stops, std::string_view text) {
  std::string out;
  for (const char c : text) out += stops.Put(std::string_view(&c, 1));
  return out;
}

TEST(StopDetectorTest, TextBeforeTheStopComesOut) {
  StopDetector stops({"END"});
  EXPECT_EQ(Feed(stops, "The EEND of it"), "The E");
  EXPECT_TRUE(stops.found());
  EXPECT_EQ(stops.Put("more"), "");
}

TEST(StopDetectorTest, HoldsBackOnlyWhatMayBeginAStop) {
  StopDetector stops({"\n\nUser:"});
  EXPECT_EQ(stops.Put("Hello\n"), "Hello");
  EXPECT_EQ(stops.Put("World\n\nUs"), "\nWorld");
  EXPECT_EQ(stops.Put("ing"), "\n\nUsing");
  EXPECT_EQ(stops.Put("\n\n"), "");
  EXPECT_EQ(stops.Finish(), "\n\n");
  EXPECT_FALSE(stops.found());
}

TEST(StopDetectorTest, TheEarliestOfSeveralStopsWins) {
  StopDetector stops({"long stop", "stop", ""});
  EXPECT_EQ(stops.Put("a long stop"), "a ");
  EXPECT_TRUE(stops.found());
}

TEST(StopDetectorTest, RepeatedBeginningsAreNotMissed) {
  StopDetector stops({"aab"});
  EXPECT_EQ(Feed(stops, "aaab"), "a");
  EXPECT_TRUE(stops.found());
}

}  // namespace
}  // namespace tandem
