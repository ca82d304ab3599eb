// A date that goes back is noticed, once; one that goes forward, or on, is not.
#include "cd4ml/base/clock_watch.h"

#include <gtest/gtest.h>

namespace cd4ml {
namespace {

TEST(ClockWatch, NoticesEachTimeThatTheDateIsSetBack) {
  ClockWatch watch(UtcTime{1'000'000}, Duration(0));

  EXPECT_FALSE(watch.WasSetBack(UtcTime{1'001'000}, Duration(1'000)));
  EXPECT_TRUE(watch.WasSetBack(UtcTime{999'000}, Duration(2'000)));
  EXPECT_FALSE(watch.WasSetBack(UtcTime{1'000'000}, Duration(3'000)));
  EXPECT_FALSE(watch.WasSetBack(UtcTime{9'000'000}, Duration(4'000))) << "forward";
  EXPECT_TRUE(watch.WasSetBack(UtcTime{1'002'000}, Duration(5'000))) << "and back again";
}

TEST(ClockWatch, ASlewedClockAndALongPauseAreNoStep) {
  ClockWatch watch(UtcTime{1'000'000}, Duration(0));

  EXPECT_FALSE(watch.WasSetBack(UtcTime{1'000'500}, Duration(1'000)));
  EXPECT_FALSE(watch.WasSetBack(UtcTime{1'100'500}, Duration(101'000)));
}

}  // namespace
}  // namespace cd4ml
