// Which agent gets which stage, in which order, and what is said about those that get none.
#include "cd4ml/core/schedule.h"

#include <gtest/gtest.h>

namespace cd4ml::core {
namespace {

constexpr UtcTime kNow{100'000'000};
constexpr int64_t kGiB = int64_t{1} << 30;

WaitingStage Waiting(std::string stage, int64_t ready = 0, std::vector<std::string> labels = {}) {
  WaitingStage waiting;
  waiting.run = "p/1";
  waiting.pipeline = "p";
  waiting.stage = std::move(stage);
  waiting.labels = std::move(labels);
  waiting.ready = kNow + Duration(ready);
  return waiting;
}

WaitingStage Of(const std::string& pipeline, std::string stage, int priority = 0, int64_t ready = 0) {
  WaitingStage waiting = Waiting(std::move(stage), ready);
  waiting.run = pipeline + "/1";
  waiting.pipeline = pipeline;
  waiting.priority = priority;
  return waiting;
}

WaitingStage Wants(std::string stage, Resources resources, int64_t ready = 0) {
  WaitingStage waiting = Waiting(std::move(stage), ready);
  waiting.resources = resources;
  return waiting;
}

WaitingStage Deploy(std::string stage, int64_t ready = 0) {
  WaitingStage waiting = Waiting(std::move(stage), ready);
  waiting.kind = StageKind::kDeploy;
  waiting.environment = "p/production";
  return waiting;
}

using Names = std::vector<std::string>;

// A queue and the agents beside it; granting takes from both, as the daemon does.
struct Fixture {
  std::map<std::string, FreeAgent> agents;
  std::map<std::string, AttemptId> locked;
  std::map<std::string, std::string> homes;
  std::map<std::string, int> leased;
  std::map<std::string, int> full;
  ReadyQueue queue;
  UtcTime now = kNow;

  void Agent(const std::string& name, int slots, std::vector<std::string> labels = {}, Resources has = {}) {
    agents[name] = {name, std::move(labels), slots, has, has, true};
  }
  core::Supply Supply() const { return {agents, locked, homes, leased, full}; }

  // Places all that can be placed; returns "stage>agent" in order.
  Names Assign(const std::vector<WaitingStage>& stages = {}) {
    std::map<std::pair<RunId, std::string>, WaitingStage> known;
    for (const WaitingStage& stage : stages) queue.Add(stage);
    Names assigned;
    ReadyQueue::Pass pass(now);
    while (const std::optional<Assignment> next = queue.Next(pass, Supply())) {
      assigned.push_back(next->stage + ">" + next->agent);
      queue.Remove(next->run, next->stage);
      const std::string pipeline = next->run.substr(0, next->run.find('/'));
      ++leased[pipeline];
      FreeAgent& agent = agents[next->agent];
      --agent.free_slots;
      for (const WaitingStage& stage : stages) {
        if (stage.run != next->run || stage.stage != next->stage) continue;
        agent.free -= stage.resources;
        if (stage.kind == StageKind::kDeploy) locked[stage.environment] = {stage.run, stage.stage, 1};
      }
    }
    return assigned;
  }
};

TEST(Schedule, TheOneReadyFirstGoesFirst) {
  Fixture f;
  f.Agent("x", 1);

  EXPECT_EQ(f.Assign({Waiting("b", 2), Waiting("a", 1)}), Names{"a>x"});
}

TEST(Schedule, LabelsMustAllBeThere) {
  Fixture f;
  f.Agent("plain", 4, {"linux"});
  f.Agent("gpu", 1, {"linux", "gpu"});

  EXPECT_EQ(f.Assign({Waiting("a", 1, {"linux", "gpu"})}), Names{"a>gpu"});
}

TEST(Schedule, AStageThatNobodyCanTakeDoesNotHoldUpOthers) {
  Fixture f;
  f.Agent("x", 1);

  EXPECT_EQ(f.Assign({Waiting("a", 1, {"gpu"}), Waiting("b", 2)}), Names{"b>x"});
}

// It has waited for so long that room is made for it.
TEST(Schedule, RoomIsMadeWhereLeastIsMissingOfWhatTheStageWants) {
  Fixture f;
  const Resources machine{.cpu_millis = 16'000, .memory_bytes = 64 * kGiB, .gpus = 2};
  f.Agent("idle-cores", 8, {}, machine);
  f.Agent("idle-gpu", 8, {}, machine);
  f.Agent("idle-memory", 8, {}, machine);
  f.agents["idle-cores"].free = {.cpu_millis = 15'000, .memory_bytes = 10 * kGiB, .gpus = 0};
  f.agents["idle-gpu"].free = {.cpu_millis = 2'000, .memory_bytes = 10 * kGiB, .gpus = 1};
  f.agents["idle-memory"].free = {.cpu_millis = 1'000, .memory_bytes = 40 * kGiB, .gpus = 0};
  const auto wants = [](Resources resources) { return Wants("large", resources, -1'000'000); };
  const WaitingStage small = Wants("small", {.cpu_millis = 1'000});
  const auto reserved = [&](const WaitingStage& large) {
    Fixture copy = f;
    const Names assigned = copy.Assign({large, small, Wants("small2", {.cpu_millis = 1'000}), Wants("small3", {.cpu_millis = 1'000})});
    for (const char* name : {"idle-cores", "idle-gpu", "idle-memory"}) {
      const bool used = std::any_of(assigned.begin(), assigned.end(),
                                    [&](const std::string& one) { return one.ends_with(std::string(">") + name); });
      if (!used && copy.agents[name].free.cpu_millis >= 1'000) return std::string(name);
    }
    return std::string();
  };

  EXPECT_EQ(reserved(wants({.gpus = 2})), "idle-gpu");
  EXPECT_EQ(reserved(wants({.memory_bytes = 48 * kGiB})), "idle-memory");
  EXPECT_EQ(reserved(wants({.cpu_millis = 16'000})), "idle-cores");
}

TEST(Schedule, OneDeployAtATimePerEnvironment) {
  Fixture f;
  f.Agent("x", 4);

  EXPECT_EQ(f.Assign({Deploy("a", 1), Deploy("b", 2)}), Names{"a>x"});
  EXPECT_EQ(WhyWaiting(Deploy("b", 2), f.Supply(), kNow), "environment \"p/production\" is locked by p/1/a/1");
  f.locked.clear();
  EXPECT_EQ(f.Assign(), Names{"b>x"});
}

TEST(Schedule, CellsOfAFullMatrixWaitAndOthersGoPast) {
  Fixture f;
  f.Agent("x", 4);
  const auto cell = [](std::string name, int64_t ready) {
    WaitingStage waiting = Waiting(std::move(name), ready);
    waiting.matrix = "p/1/train";
    return waiting;
  };
  f.full["p/1/train"] = 2;

  EXPECT_EQ(f.Assign({cell("train@a", 1), cell("train@b", 2), Waiting("other", 3)}), Names{"other>x"});
  EXPECT_EQ(WhyWaiting(cell("train@a", 1), f.Supply(), kNow),
            "2 cells of its matrix are under way, as many as max_parallel allows");
  EXPECT_TRUE(CouldEverTake(cell("train@a", 1), f.Supply())) << "it waits for its turn, so it is not given up";
  f.full.clear();
  EXPECT_EQ(f.Assign(), (Names{"train@a>x", "train@b>x"}));
}

TEST(Schedule, ADeployGoesWhereTheLiveServiceIs) {
  Fixture f;
  f.Agent("x", 4);
  f.Agent("y", 1);
  f.homes["p/production"] = "y";

  EXPECT_EQ(f.Assign({Deploy("a", 1)}), Names{"a>y"});
}

TEST(Schedule, DrainingAgentsTakeNothing) {
  Fixture f;
  f.Agent("x", 4);
  f.agents["x"].accepts = false;

  EXPECT_EQ(f.Assign({Waiting("a")}), Names{});
  EXPECT_FALSE(CouldEverTake(Waiting("a"), f.Supply()));
}

TEST(Schedule, WhatOneAgentCouldNotDoGoesToAnotherIfThereIsOne) {
  Fixture fixture;
  fixture.Agent("broken", 4);
  fixture.Agent("good", 1);
  WaitingStage again = Waiting("again");
  again.avoid = "broken";
  WaitingStage more = Waiting("more", 1);
  more.avoid = "broken";

  EXPECT_EQ(fixture.Assign({again, more}), (Names{"again>good", "more>broken"}));
}

TEST(Schedule, ABackOffIsWaitedForAndThenOver) {
  Fixture f;
  f.Agent("x", 4);
  WaitingStage later = Waiting("a");
  later.not_before = kNow + Duration(1);

  EXPECT_EQ(f.Assign({later}), Names{});
  EXPECT_EQ(f.queue.NextBackoffEnd(), later.not_before);
  f.now = later.not_before;
  EXPECT_EQ(f.Assign(), Names{"a>x"});
  EXPECT_TRUE(f.queue.empty());
}

TEST(Schedule, WhatIsRemovedIsNotPlacedWhetherItWaitsForABackOffOrNot) {
  Fixture f;
  WaitingStage later = Waiting("a");
  later.not_before = kNow + Duration(1);
  f.queue.Add(later);
  f.queue.Add(Waiting("b"));

  f.queue.Remove("p/1", "a");
  f.queue.Remove("p/1", "b");
  f.queue.Remove("p/1", "c");

  EXPECT_TRUE(f.queue.empty());
  EXPECT_EQ(f.queue.NextBackoffEnd(), std::nullopt);
  f.Agent("x", 4);
  EXPECT_EQ(f.Assign(), Names{});
}

TEST(Schedule, HigherPriorityGoesFirstHoweverLateItCame) {
  Fixture f;
  f.Agent("x", 1);

  EXPECT_EQ(f.Assign({Of("p", "a", 0, 1), Of("q", "b", 5, 2)}), Names{"b>x"});
}

TEST(Schedule, WaitingCountsAsPrioritySoThatNothingStarves) {
  Fixture f;
  f.Agent("x", 1);

  EXPECT_EQ(f.Assign({Of("p", "old", 0, -3 * 600'000), Of("q", "new", 2)}), Names{"old>x"});
}

TEST(Schedule, PipelinesShareTheSlotsHoweverManyStagesEachHas) {
  Fixture f;
  f.Agent("x", 4);
  std::vector<WaitingStage> stages;
  for (int i = 0; i < 100; ++i) stages.push_back(Of("big", "a" + std::to_string(i), 0, 1));
  stages.push_back(Of("small", "b1", 0, 2));
  stages.push_back(Of("small", "b2", 0, 2));

  f.Assign(stages);

  EXPECT_EQ(f.leased["big"], 2);
  EXPECT_EQ(f.leased["small"], 2);
}

TEST(Schedule, ResourcesAreTakenAndNeverOverdrawn) {
  Fixture f;
  f.Agent("x", 10, {}, {4'000, 8 * kGiB, 1});

  EXPECT_EQ(f.Assign({Wants("a", {3'000, 0, 0}, 1), Wants("b", {2'000, 0, 0}, 2), Wants("c", {1'000, 0, 0}, 3),
                      Wants("d", {0, 0, 1}, 4), Wants("e", {0, 0, 1}, 5)}),
            (Names{"a>x", "c>x", "d>x"}));
  EXPECT_EQ(WhyWaiting(Wants("b", {2'000, 0, 0}), f.Supply(), kNow),
            "no agent can take it: 1 agent: cpu 2 is more than 0 that is free");
  EXPECT_EQ(WhyWaiting(Wants("f", {500, 9 * kGiB, 0}), f.Supply(), kNow),
            "no agent can take it: 1 agent: memory 9.0 GiB is more than 8.0 GiB of the whole agent");
}

TEST(Schedule, AnAgentIsEmptiedForAStageThatHasWaitedLongForManyResources) {
  Fixture f;
  f.Agent("x", 10, {}, {4'000, 0, 0});
  f.agents["x"].free.cpu_millis = 1'000;

  EXPECT_EQ(f.Assign({Wants("large", {4'000, 0, 0}, -600'000), Wants("small", {1'000, 0, 0})}), Names{});
  EXPECT_EQ(f.Assign({Waiting("none")}), Names{}) << "not even what needs nothing: the slots may be what is scarce";
  f.agents["x"].free.cpu_millis = 4'000;
  EXPECT_EQ(f.Assign().front(), "large>x");
}

TEST(WhyWaiting, CountsAgentsPerReason) {
  Fixture f;
  f.Agent("a", 0);
  f.Agent("b", 0);
  f.Agent("c", 0, {"gpu"});

  EXPECT_EQ(WhyWaiting(Waiting("s", 1, {"gpu"}), f.Supply(), kNow),
            "no agent can take it: 2 agents lack label \"gpu\"; 1 agent is busy");
  f.agents.clear();
  EXPECT_EQ(WhyWaiting(Waiting("s"), f.Supply(), kNow), "no agent is connected; start one with cd4ml-agent");
}

}  // namespace
}  // namespace cd4ml::core
