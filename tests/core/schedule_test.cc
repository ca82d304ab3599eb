// Which agent gets which stage, and what is said about those that get none.
#include "cd4ml/core/schedule.h"

#include <gtest/gtest.h>

namespace cd4ml::core {
namespace {

WaitingStage Waiting(std::string stage, int64_t ready, std::vector<std::string> labels = {}) {
  WaitingStage waiting;
  waiting.run = "p/1";
  waiting.stage = std::move(stage);
  waiting.labels = std::move(labels);
  waiting.ready = UtcTime{ready};
  return waiting;
}

WaitingStage Deploy(std::string stage, int64_t ready) {
  WaitingStage waiting = Waiting(std::move(stage), ready);
  waiting.kind = StageKind::kDeploy;
  waiting.environment = "p/production";
  return waiting;
}

constexpr UtcTime kNow{1'000};

TEST(Schedule, TheOneReadyFirstGoesFirst) {
  const auto assigned = Schedule({Waiting("b", 2), Waiting("a", 1)}, {{"x", {}, 1}}, {}, {}, kNow);

  ASSERT_EQ(assigned.size(), 1u);
  EXPECT_EQ(assigned[0].stage, "a");
}

TEST(Schedule, LabelsMustAllBeThere) {
  const std::vector<FreeAgent> agents = {{"plain", {"linux"}, 4}, {"gpu", {"linux", "gpu"}, 1}};

  const auto assigned = Schedule({Waiting("a", 1, {"linux", "gpu"})}, agents, {}, {}, kNow);

  ASSERT_EQ(assigned.size(), 1u);
  EXPECT_EQ(assigned[0].agent, "gpu");
}

TEST(Schedule, AStageThatNobodyCanTakeDoesNotHoldUpOthers) {
  const auto assigned = Schedule({Waiting("a", 1, {"gpu"}), Waiting("b", 2)}, {{"x", {}, 1}}, {}, {}, kNow);

  ASSERT_EQ(assigned.size(), 1u);
  EXPECT_EQ(assigned[0].stage, "b");
}

TEST(Schedule, OneDeployAtATimePerEnvironment) {
  const std::vector<FreeAgent> agents = {{"x", {}, 4}};

  EXPECT_EQ(Schedule({Deploy("a", 1), Deploy("b", 2)}, agents, {}, {}, kNow).size(), 1u);
  EXPECT_TRUE(Schedule({Deploy("a", 1)}, agents, {"p/production"}, {}, kNow).empty());
}

TEST(Schedule, ADeployGoesWhereTheLiveServiceIs) {
  const std::vector<FreeAgent> agents = {{"x", {}, 4}, {"y", {}, 1}};

  const auto assigned = Schedule({Deploy("a", 1)}, agents, {}, {{"p/production", "y"}}, kNow);

  ASSERT_EQ(assigned.size(), 1u);
  EXPECT_EQ(assigned[0].agent, "y");
}

TEST(Schedule, DrainingAgentsAndBackOffsAreRespected) {
  WaitingStage later = Waiting("a", 1);
  later.not_before = kNow + Duration(1);

  EXPECT_TRUE(Schedule({Waiting("a", 1)}, {{"x", {}, 4, false}}, {}, {}, kNow).empty());
  EXPECT_TRUE(Schedule({later}, {{"x", {}, 4}}, {}, {}, kNow).empty());
}

TEST(WhyWaiting, CountsAgentsPerReason) {
  const std::vector<FreeAgent> agents = {{"a", {}, 0}, {"b", {}, 0}, {"c", {"gpu"}, 0}};

  EXPECT_EQ(WhyWaiting(Waiting("s", 1, {"gpu"}), agents, {}, {}, kNow),
            "no agent can take it: 2 agents lack label \"gpu\"; 1 agent is busy");
  EXPECT_EQ(WhyWaiting(Waiting("s", 1), {}, {}, {}, kNow), "no agent is connected; start one with cd4ml-agent");
}

}  // namespace
}  // namespace cd4ml::core
