// Sessions, desired states and silence.
#include "daemon/roster.h"

#include <gtest/gtest.h>

namespace cd4ml::daemon {
namespace {

constexpr Duration kTtl{30'000};

AgentHello Hello(std::string instance = "i1") {
  AgentHello hello;
  hello.name = "a";
  hello.instance = std::move(instance);
  hello.slots = 2;
  return hello;
}

Task TaskOf(int number) {
  Task task;
  task.attempt = {"p/1", "train", number};
  return task;
}

struct Heard {
  std::vector<DesiredState> desired;
  std::vector<absl::Status> lost;
};

Roster::Opened Open(Roster& roster, Heard& heard, const std::string& session, Duration now,
                    const std::string& instance = "i1") {
  return roster.Open(
      Hello(instance), session, [&heard](DesiredState state) { heard.desired.push_back(std::move(state)); },
      [&heard](absl::Status status) { heard.lost.push_back(std::move(status)); }, now, UtcTime{1});
}

TEST(Roster, PushesTheWholeDesiredStateOnceForAllChanges) {
  Roster roster(kTtl, Duration(0));
  Heard heard;
  Open(roster, heard, "s1", Duration(0));
  roster.Push();

  roster.Lease("a", TaskOf(1));
  roster.Lease("a", TaskOf(2));
  roster.Push();
  roster.Push();

  ASSERT_EQ(heard.desired.size(), 2u);
  EXPECT_TRUE(heard.desired[0].leases.empty());
  EXPECT_EQ(heard.desired[1].leases.size(), 2u);
  EXPECT_GT(heard.desired[1].revision, heard.desired[0].revision);
}

TEST(Roster, ANewSessionSupersedesTheOldOne) {
  Roster roster(kTtl, Duration(0));
  Heard first, second;
  Open(roster, first, "s1", Duration(0));

  const Roster::Opened opened = Open(roster, second, "s2", Duration(1));

  EXPECT_TRUE(opened.superseded);
  EXPECT_EQ(roster.Heard("s1", nullptr, Duration(2)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(*roster.Heard("s2", nullptr, Duration(2)), "a");
}

TEST(Roster, SilenceLosesLeasesAfterTheTtlAndNotBefore) {
  Roster roster(kTtl, Duration(0));
  Heard heard;
  Open(roster, heard, "s1", Duration(0));
  roster.Lease("a", TaskOf(1));

  EXPECT_TRUE(roster.Expire(kTtl - Duration(1)).empty());
  ASSERT_EQ(roster.NextExpiry(), kTtl);
  const auto silent = roster.Expire(kTtl);

  ASSERT_EQ(silent.size(), 1u);
  EXPECT_EQ(silent[0].attempt.number, 1);
  EXPECT_EQ(heard.lost.size(), 1u);
}

TEST(Roster, ASignOfLifePutsSilenceOff) {
  Roster roster(kTtl, Duration(0));
  Heard heard;
  Open(roster, heard, "s1", Duration(0));
  roster.Lease("a", TaskOf(1));

  ASSERT_TRUE(roster.Heard("s1", nullptr, Duration(20'000)).ok());

  EXPECT_TRUE(roster.Expire(kTtl).empty());
}

TEST(Roster, AgentsOfBeforeTheStartHaveOneTtlToComeBack) {
  Roster roster(kTtl, Duration(100'000));
  AgentRecord record;
  record.name = "a";
  roster.Know(record);
  roster.Lease("a", TaskOf(1));

  EXPECT_TRUE(roster.Expire(Duration(100'000) + kTtl - Duration(1)).empty());
  EXPECT_EQ(roster.Expire(Duration(100'000) + kTtl).size(), 1u);
}

TEST(Roster, AnotherInstanceHasLostWhatTheFormerHeld) {
  Roster roster(kTtl, Duration(0));
  Heard heard;
  Open(roster, heard, "s1", Duration(0));
  roster.Lease("a", TaskOf(1));

  EXPECT_TRUE(Open(roster, heard, "s2", Duration(1)).orphaned.empty());
  EXPECT_EQ(Open(roster, heard, "s3", kTtl + Duration(1), "i2").orphaned.size(), 1u);
}

TEST(Roster, AnotherInstanceIsRefusedWhileTheFirstIsThereOrMayComeBackToItsWork) {
  Roster roster(kTtl, Duration(0));
  Heard heard;
  EXPECT_EQ(roster.Objection(Hello(), Duration(0)), "");
  Open(roster, heard, "s1", Duration(0));
  roster.Lease("a", TaskOf(1));

  EXPECT_EQ(roster.Objection(Hello("i1"), Duration(1)), "");
  EXPECT_NE(roster.Objection(Hello("i2"), Duration(1)), "");
  ASSERT_TRUE(roster.Close("s1").ok());
  EXPECT_NE(roster.Objection(Hello("i2"), kTtl - Duration(1)), "");
  EXPECT_EQ(roster.Objection(Hello("i2"), kTtl), "");

  roster.End("a", {"p/1", "train", 1});
  roster.Unlease("a", {"p/1", "train", 1});
  roster.End("a", {"p/1", "train", 1});
  EXPECT_EQ(roster.Objection(Hello("i2"), Duration(2)), "");
}

TEST(Roster, AnAgentInTroubleTakesNothingAndSaysWhy) {
  Roster roster(kTtl, Duration(0));
  Heard heard;
  Open(roster, heard, "s1", Duration(0));
  AgentReport report;
  report.trouble = "its disk is full";
  ASSERT_TRUE(roster.Heard("s1", &report, Duration(1)).ok());

  EXPECT_FALSE(roster.Free().at("a").accepts);
  EXPECT_EQ(roster.Free().at("a").trouble, "its disk is full");
  EXPECT_EQ(roster.Views(UtcTime{1}).at(0).state, "unable");
  report.trouble.clear();
  ASSERT_TRUE(roster.Heard("s1", &report, Duration(2)).ok());
  EXPECT_TRUE(roster.Free().at("a").accepts);
}

TEST(Roster, SlotsAreWhatIsNotLeased) {
  Roster roster(kTtl, Duration(0));
  Heard heard;
  Open(roster, heard, "s1", Duration(0));
  roster.Lease("a", TaskOf(1));

  ASSERT_EQ(roster.Free().size(), 1u);
  EXPECT_EQ(roster.Free().at("a").free_slots, 1);
  EXPECT_EQ(roster.Views(UtcTime{5})[0].state, "busy");
}

TEST(Roster, ACancelledStageKeepsItsSlotUntilItsAgentHasEndedIt) {
  Roster roster(kTtl, Duration(0));
  Heard heard;
  Open(roster, heard, "s1", Duration(0));
  roster.Lease("a", TaskOf(1));
  AgentReport report;
  report.held = {HeldLease{{"p/1", "train", 1}, true}};
  ASSERT_TRUE(roster.Heard("s1", &report, Duration(1)).ok());

  roster.Unlease("a", {"p/1", "train", 1});
  EXPECT_EQ(roster.Free().at("a").free_slots, 1);
  ASSERT_TRUE(roster.Heard("s1", nullptr, Duration(2)).ok());
  report.held.clear();
  ASSERT_TRUE(roster.Heard("s1", &report, Duration(3)).ok());
  EXPECT_EQ(roster.Free().at("a").free_slots, 1);
  roster.End("a", {"p/1", "train", 1});

  EXPECT_EQ(roster.Free().at("a").free_slots, 2);
}

TEST(Roster, ACancelledStageThatItsAgentNeverLearnedOfIsNotHeld) {
  Roster roster(kTtl, Duration(0));
  Heard heard;
  Open(roster, heard, "s1", Duration(0));
  roster.Lease("a", TaskOf(1));
  roster.Unlease("a", {"p/1", "train", 1});
  const AgentReport nothing;

  // Sent before the agent saw its desired state, perhaps.
  ASSERT_TRUE(roster.Heard("s1", &nothing, Duration(1)).ok());
  EXPECT_TRUE(roster.NotHeld("a").empty());
  ASSERT_TRUE(roster.Heard("s1", &nothing, Duration(2)).ok());

  EXPECT_EQ(roster.NotHeld("a"), (std::vector<core::AttemptId>{{"p/1", "train", 1}}));
}

TEST(Roster, ACancelledStageIsLostWithItsAgent) {
  Roster roster(kTtl, Duration(0));
  Heard heard;
  Open(roster, heard, "s1", Duration(0));
  roster.Lease("a", TaskOf(1));
  roster.Unlease("a", {"p/1", "train", 1});

  const std::vector<Roster::Silent> silent = roster.Expire(kTtl);

  ASSERT_EQ(silent.size(), 1u);
  EXPECT_EQ(silent[0].attempt.stage, "train");
}

}  // namespace
}  // namespace cd4ml::daemon
