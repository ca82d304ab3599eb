// Time as runs see it, under a wall clock that does what it likes.
#include "daemon/timeline.h"

#include <gtest/gtest.h>

#include <random>

namespace cd4ml::daemon {
namespace {

constexpr UtcTime kStart{1'700'000'000'000};

TEST(Timeline, PassesWithSteadyTimeAndFollowsAWallThatAgrees) {
  Timeline timeline(kStart, Duration(5));

  EXPECT_EQ(timeline.Advance(kStart + Duration(1'000), Duration(1'005)), kStart + Duration(1'000));
}

TEST(Timeline, FollowsASmallCorrectionWithinSeconds) {
  Timeline timeline(kStart, Duration(0));
  UtcTime now;

  for (int64_t ms = 10; ms <= 5'000; ms += 10) now = timeline.Advance(kStart + Duration(ms + 300), Duration(ms));

  EXPECT_EQ(now, kStart + Duration(5'300));
}

TEST(Timeline, JumpsOfTenYearsMoveItByATenthOfWhatPassesAndNeverBack) {
  std::mt19937_64 random(1);
  constexpr int64_t kTenYears = int64_t{3'650} * 86'400'000;
  std::uniform_int_distribution<int64_t> jump(-kTenYears, kTenYears);
  Timeline timeline(kStart, Duration(0));
  UtcTime before = kStart;
  int64_t steady = 0;

  for (int i = 0; i < 1'000; ++i) {
    const int64_t passed = static_cast<int64_t>(random() % 5'000);
    steady += passed;
    const UtcTime now = timeline.Advance(kStart + Duration(jump(random)), Duration(steady));
    ASSERT_GE(now, before);
    // A correction may use what was allowed in the ten seconds before.
    ASSERT_LE((now - before).count(), 2 * passed + 1'000);
    before = now;
  }

  const int64_t moved = (before - kStart).count();
  EXPECT_LE(moved, steady * 11 / 10 + 1'000);
  EXPECT_GE(moved, steady * 9 / 10 - 1'000);
}

}  // namespace
}  // namespace cd4ml::daemon
