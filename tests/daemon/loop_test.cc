// The inbox under a flood: what is urgent overtakes, every class has its bound, and nothing is lost.
#include "daemon/loop.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cd4ml::daemon {
namespace {

// A loop that stands still until the test lets it go, and notes what it does.
class Flood : public testing::Test {
 protected:
  Flood() {
    loop_.Start();
    std::promise<void> holds;
    loop_.Post([this, &holds] {
      holds.set_value();
      held_.get_future().wait();
    });
    holds.get_future().wait();
  }
  ~Flood() override { loop_.Stop(); }

  bool Offer(Urgency urgency, const std::string& what) {
    return loop_.Offer(urgency, [this, what] { done_.push_back(what); });
  }
  // Lets the loop go, waits until it has done all that it holds, and ends it.
  void Finish() {
    held_.set_value();
    std::promise<void> last;
    loop_.Offer(Urgency::kBulk, [&last] { last.set_value(); });
    last.get_future().wait();
    loop_.Stop();
  }

  std::vector<std::string> done_;   // Touched on the loop.
  std::promise<void> held_;
  Loop loop_{1'000, {.begin = [] {}, .end = [this] { done_.push_back("|"); }, .next_wait = [] { return std::nullopt; },
                     .ticks = [] { return int64_t{0}; }}};
};

TEST_F(Flood, ResultsAndRequestsOvertakeTriggers) {
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(Offer(Urgency::kBulk, "trigger"));
  ASSERT_TRUE(Offer(Urgency::kRequest, "cancel"));
  loop_.Post([this] { done_.push_back("result"); });

  Finish();

  // The first turn is the one that was held; the next one begins with what is urgent.
  EXPECT_EQ((std::vector<std::string>(done_.begin(), done_.begin() + 4)),
            (std::vector<std::string>{"|", "result", "cancel", "trigger"}));
}

TEST_F(Flood, ATurnTakesOnlyAPartOfAFloodSoThatWhatIsUrgentComesInBetween) {
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(Offer(Urgency::kBulk, std::to_string(i)));

  Finish();

  std::vector<std::string> triggers;
  size_t in_turn = 0;
  for (const std::string& what : done_) {
    in_turn = what == "|" ? 0 : in_turn + 1;
    EXPECT_LE(in_turn, 64u);
    if (what != "|") triggers.push_back(what);
  }
  ASSERT_EQ(triggers.size(), 500u) << "nothing is lost";
  for (size_t i = 0; i < triggers.size(); ++i) EXPECT_EQ(triggers[i], std::to_string(i)) << "in their order";
}

TEST_F(Flood, AFullInboxOfOneClassRefusesAndLeavesTheOthersAlone) {
  for (int i = 0; i < 1'000; ++i) ASSERT_TRUE(Offer(Urgency::kBulk, "trigger"));

  EXPECT_FALSE(Offer(Urgency::kBulk, "one too many"));
  EXPECT_TRUE(Offer(Urgency::kRequest, "cancel"));
  EXPECT_TRUE(Offer(Urgency::kResult, "heartbeat"));
  held_.set_value();
}

}  // namespace
}  // namespace cd4ml::daemon
