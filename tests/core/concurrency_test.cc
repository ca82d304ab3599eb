// Groups: who goes on, who waits, who is superseded by whom; and that nobody is forgotten.
#include "cd4ml/core/concurrency.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace cd4ml::core {
namespace {

using Names = std::vector<std::string>;
using Superseded = std::vector<GroupDecision::Superseded>;

Contender Running(std::string id, bool ending = false) { return {std::move(id), true, ending, 0}; }
Contender Waits(std::string id, int priority = 0) { return {std::move(id), false, false, priority}; }

TEST(DecideGroup, AQueueLetsInAsManyAsTheLimitInTheirOrder) {
  const GroupDecision decision =
      DecideGroup(ConcurrencyPolicy::kQueue, 2, {Running("a"), Waits("b"), Waits("c")});

  EXPECT_EQ(decision.admitted, Names{"b"});
  EXPECT_EQ(decision.superseded, Superseded{});
}

TEST(DecideGroup, AQueueLetsHigherPriorityInFirst) {
  EXPECT_EQ(DecideGroup(ConcurrencyPolicy::kQueue, 1, {Waits("a"), Waits("b", 5), Waits("c", 5)}).admitted, Names{"b"});
}

TEST(DecideGroup, OnlyTheLatestWaitsAndTheOthersSayByWhich) {
  const GroupDecision decision =
      DecideGroup(ConcurrencyPolicy::kLatest, 1, {Running("a"), Waits("b"), Waits("c")});

  EXPECT_EQ(decision.admitted, Names{});
  EXPECT_EQ(decision.superseded, (Superseded{{"b", "c"}}));
}

TEST(DecideGroup, CancelEndsWhatIsUnderWayAndWaitsForItsEnd) {
  const GroupDecision first = DecideGroup(ConcurrencyPolicy::kCancel, 1, {Running("a"), Waits("b"), Waits("c")});
  EXPECT_EQ(first.admitted, Names{});
  EXPECT_EQ(first.superseded, (Superseded{{"b", "c"}, {"a", "c"}}));

  const GroupDecision second = DecideGroup(ConcurrencyPolicy::kCancel, 1, {Running("a", true), Waits("c")});
  EXPECT_EQ(second.admitted, Names{});
  EXPECT_EQ(second.superseded, Superseded{});

  EXPECT_EQ(DecideGroup(ConcurrencyPolicy::kCancel, 1, {Waits("c")}).admitted, Names{"c"});
}

TEST(DecideGroup, CancelEndsOnlyAsManyAsItMust) {
  const GroupDecision decision =
      DecideGroup(ConcurrencyPolicy::kCancel, 3, {Running("a"), Running("b"), Running("c"), Waits("d")});

  EXPECT_EQ(decision.superseded, (Superseded{{"a", "d"}}));
}

TEST(DecideGroup, NobodyIsForgottenAndTheLimitIsKept) {
  std::mt19937 random(7);
  for (int round = 0; round < 5'000; ++round) {
    const auto policy = static_cast<ConcurrencyPolicy>(random() % 3);
    const int limit = 1 + static_cast<int>(random() % 3);
    std::vector<Contender> contenders;
    size_t under_way = 0;
    for (unsigned i = random() % 8; i > 0; --i) {
      const bool runs = static_cast<int>(under_way) < limit && random() % 2 == 0;
      under_way += runs;
      contenders.push_back({std::to_string(i), runs, runs && random() % 3 == 0, static_cast<int>(random() % 3)});
    }

    const GroupDecision decision = DecideGroup(policy, limit, contenders);

    EXPECT_LE(under_way + decision.admitted.size(), static_cast<size_t>(limit));
    std::set<std::string> superseded;
    for (const auto& one : decision.superseded) {
      EXPECT_TRUE(superseded.insert(one.id).second);
      EXPECT_NE(one.id, one.by);
    }
    for (const std::string& id : decision.admitted) EXPECT_FALSE(superseded.contains(id));
    if (policy == ConcurrencyPolicy::kQueue) {
      EXPECT_TRUE(superseded.empty());
    }
    // Room is never left empty while somebody waits.
    const size_t waiting = contenders.size() - under_way;
    if (static_cast<int>(under_way) < limit && waiting > 0) {
      EXPECT_FALSE(decision.admitted.empty());
    }
  }
}

}  // namespace
}  // namespace cd4ml::core
