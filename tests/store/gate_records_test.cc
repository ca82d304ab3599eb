// What gates found in run after run, found again at once; and who overrode what.
#include <sqlite3.h>

#include <algorithm>

#include "fixture.h"
#include "raw.h"
#include "store/history.h"
#include "tests/support/long_tests.h"

namespace cd4ml::store {
namespace {

core::Outcome GateOutcome(core::VerdictOutcome outcome, double mae) {
  core::Outcome found;
  found.state = core::Blocks(outcome) ? core::AttemptState::kFailed : core::AttemptState::kSucceeded;
  found.reason = core::Blocks(outcome) ? core::Reason::kGateRejected : core::Reason::kNone;
  found.metrics = {{"mae", mae}};
  found.verdict = Judged(outcome);
  core::ProducedOutput clean = Output("clean", core::OutputType::kDataset, "clean " + std::to_string(mae));
  clean.profile = ArtifactRef{.digest = Sha256("profile " + std::to_string(mae))};
  found.outputs = {clean};
  return found;
}

class GateRecords : public StoreTest {
 protected:
  // A run of one gate.
  core::Run Judge(int64_t number, core::VerdictOutcome outcome, double mae, const std::string& lane = "production",
                  const std::string& pipeline = "car", core::TriggerKind trigger = core::TriggerKind::kDispatch) {
    core::StartRun start = CarRun(number);
    start.pipeline = pipeline;
    start.id = pipeline + "/" + std::to_string(number);
    start.lane = lane;
    start.trigger.kind = trigger;
    start.stages = {Plan("gate", core::StageKind::kModelGate, {}, {})};
    core::Run run;
    EXPECT_TRUE(Do(run, start).ok());
    EXPECT_TRUE(Perform(run, "gate", GateOutcome(outcome, mae)).ok());
    return run;
  }

  // Which run's result later ones are compared with; "" when there is none.
  std::string Last(int64_t before, UtcTime at = {INT64_MAX}, const std::string& pipeline = "car") {
    const auto found = history().LastPassed(pipeline, "gate", before, at);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() && found->has_value() ? (*found)->run : "";
  }
};

using enum core::VerdictOutcome;

TEST_F(GateRecords, TheLastPassIsOfAnEarlierRun) {
  Judge(1, kPass, 1);
  Judge(2, kWarn, 2);
  Judge(3, kPass, 3);

  EXPECT_EQ(Last(4), "car/3");
  EXPECT_EQ(Last(3), "car/2") << "never a later one, nor itself";
  EXPECT_EQ(Last(2), "car/1");
  EXPECT_EQ(Last(1), "");
}

TEST_F(GateRecords, AFailureIsNoPass) {
  Judge(1, kPass, 1);
  Judge(2, kFail, 2);
  Judge(3, kError, 3);

  EXPECT_EQ(Last(4), "car/1");
}

TEST_F(GateRecords, AnotherPipelineIsAnotherGate) {
  ASSERT_OK(store_->Commit({PipelineChange{Pipeline("truck")}}));
  Judge(1, kPass, 1);
  Judge(7, kPass, 7, "production", "truck");

  EXPECT_EQ(Last(9), "car/1");
  EXPECT_EQ(Last(9, {INT64_MAX}, "truck"), "truck/7");
}

TEST_F(GateRecords, WhatPassedLaterThanThatMomentHadNotPassedThen) {
  Judge(1, kPass, 1);
  const core::Run second = Judge(2, kPass, 2);
  const UtcTime ended = second.FindStage("gate")->ended;

  EXPECT_EQ(Last(9, ended), "car/1") << "what ends at the same moment is not on record yet";
  EXPECT_EQ(Last(9, ended + Duration(1)), "car/2");
}

TEST_F(GateRecords, ProductionCountsMoreThanOtherLanes) {
  Judge(1, kPass, 1, "experiment");
  EXPECT_EQ(Last(9), "car/1");
  Judge(2, kPass, 2, "production");
  Judge(3, kPass, 3, "experiment");
  Judge(4, kFail, 4, "production");

  EXPECT_EQ(Last(9), "car/2");
}

TEST_F(GateRecords, AReproductionIsNoNewResult) {
  Judge(1, kPass, 1);
  Judge(2, kPass, 2, "production", "car", core::TriggerKind::kReproduce);

  EXPECT_EQ(Last(9), "car/1");
  EXPECT_EQ(history().GateHistory("car", "gate", 10)->size(), 2U);
}

TEST_F(GateRecords, KeepsMetricsAndProfiles) {
  Judge(1, kPass, 1'100.5);

  const auto found = history().LastPassed("car", "gate", 2, {INT64_MAX});

  ASSERT_TRUE(found.ok() && found->has_value());
  EXPECT_EQ((*found)->outcome.metrics.at("mae"), 1'100.5);
  EXPECT_EQ((*found)->outcome.outputs.at(0).profile->digest, Sha256("profile " + std::to_string(1'100.5)));
}

TEST_F(GateRecords, AResultThatWasTakenOverCountsForTheRunThatTookIt) {
  const core::Run first = Judge(1, kPass, 1);
  Judge(2, kPass, 2);
  core::StartRun start = CarRun(3);
  start.stages = {Plan("gate", core::StageKind::kModelGate, {}, {}), Plan("rest", core::StageKind::kCommand, {"gate"}, {})};
  start.carried["gate"] = {{"car/1", "gate", 1}, *first.FindStage("gate")->result(), false};
  core::Run third;
  ASSERT_OK(Do(third, start));

  const auto found = history().LastPassed("car", "gate", 4, {INT64_MAX});

  ASSERT_TRUE(found.ok() && found->has_value());
  EXPECT_EQ((*found)->run, "car/3");
  EXPECT_EQ((*found)->outcome.metrics.at("mae"), 1);
}

TEST_F(GateRecords, TheLastAttemptOfARunIsWhatCounts) {
  core::StartRun start = CarRun(1);
  start.stages = {Plan("gate", core::StageKind::kModelGate, {}, {})};
  start.stages[0].retry.when = {"infra"};
  start.stages[0].retry.error_limit = 1;
  core::Run run;
  ASSERT_OK(Do(run, start));
  core::Outcome first = GateOutcome(kPass, 1);
  first.state = core::AttemptState::kFailed;
  first.reason = core::Reason::kInfra;
  ASSERT_OK(Perform(run, "gate", first));
  EXPECT_EQ(Last(2), "");
  ASSERT_OK(Perform(run, "gate", GateOutcome(kPass, 2)));

  const auto records = history().GateHistory("car", "gate", 10);

  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 1U);
  EXPECT_TRUE(records->at(0).passed);
  EXPECT_EQ(records->at(0).outcome.metrics.at("mae"), 2);
  EXPECT_EQ(Last(2), "car/1");
}

TEST_F(GateRecords, HistoryIsNewestFirstAndBounded) {
  for (int i = 1; i <= 5; ++i) Judge(i, i == 3 ? kFail : kPass, i);

  const auto records = history().GateHistory("car", "gate", 3);

  ASSERT_TRUE(records.ok());
  std::vector<std::pair<std::string, bool>> runs;
  for (const GateRecord& record : *records) runs.emplace_back(record.run, record.passed);
  EXPECT_EQ(runs, (std::vector<std::pair<std::string, bool>>{{"car/5", true}, {"car/4", true}, {"car/3", false}}));
  EXPECT_TRUE(absl::IsNotFound(history().GateHistory("car", "gat", 3).status()));
}

TEST_F(GateRecords, OneIsFoundByItsRun) {
  Judge(1, kFail, 7);

  EXPECT_EQ((*history().FindGate("car/1", "gate"))->outcome.metrics.at("mae"), 7);
  EXPECT_FALSE(history().FindGate("car/2", "gate")->has_value());
  EXPECT_FALSE(history().FindGate("car/1", "other")->has_value());
  EXPECT_FALSE(history().FindGate("nonsense", "gate")->has_value());
}

TEST_F(GateRecords, TheProfilesThatTheNextRunIsComparedWithAreWanted) {
  Judge(1, kPass, 1, "experiment");
  Judge(2, kPass, 2);
  Judge(3, kPass, 3);
  Judge(4, kFail, 4);
  const auto wanted = OpenStorageRecords(options_).value()->WantedBlobs(0).value();
  const auto profile = [&](double mae) { return wanted.contains(Sha256("profile " + std::to_string(mae))); };

  EXPECT_TRUE(profile(1)) << "the newest of its lane";
  EXPECT_FALSE(profile(2));
  EXPECT_TRUE(profile(3));
  EXPECT_FALSE(profile(4));
}

TEST_F(GateRecords, AListOfRunsSaysWhichPassedOnlyByOverrides) {
  core::StartRun start = CarRun(1);
  start.stages = {Plan("gate", core::StageKind::kModelGate, {}, {})};
  core::Run run;
  ASSERT_OK(Do(run, start));
  core::Outcome outcome = GateOutcome(kWarn, 1);
  outcome.verdict->overrides = {{.rule = "mae", .by = "ana", .reason = "tax", .at = UtcTime{1}, .expires = UtcTime{2}}};
  ASSERT_OK(Perform(run, "gate", outcome));
  Judge(2, kWarn, 2);

  const auto runs = history().ListRuns({.pipeline = "car"});

  ASSERT_TRUE(runs.ok());
  EXPECT_EQ(runs->at(0).gates_overridden, 0);
  EXPECT_EQ(runs->at(1).gates_overridden, 1);
  EXPECT_EQ(history().GetRun("car/1")->FindStage("gate")->result()->verdict->overrides, outcome.verdict->overrides);
}

// --- overrides
// ---------------------------------------------------------------------------------------

core::OverrideRecord Said(const std::string& by, int64_t at, int64_t expires, const std::string& gate = "gate") {
  return {.id = 0, .pipeline = "car", .gate = gate, .rule = "mae", .run = "car/1", .by = by, .reason = "tax", .at = UtcTime{at},
          .expires = UtcTime{expires}, .people = 2};
}

TEST_F(GateRecords, OverridesAreKeptAndFoundUntilTheyExpire) {
  int64_t id = 0;
  ASSERT_OK(store_->Commit({OverrideChange{Said("ana", 10, 20), &id}, OverrideChange{Said("bo", 11, 30)},
                            OverrideChange{Said("cy", 12, 99, "other")}}));
  core::OverrideRecord ana = Said("ana", 10, 20);
  ana.id = id;

  EXPECT_EQ(*history().FindOverride(id), ana);
  const auto names = [](const absl::StatusOr<std::vector<core::OverrideRecord>>& records) {
    std::string people;
    for (const core::OverrideRecord& record : *records) people += record.by + " ";
    return people;
  };
  EXPECT_EQ(names(history().OverridesOf("car", "gate", UtcTime{15})), "ana bo ");
  EXPECT_EQ(names(history().OverridesOf("car", "gate", UtcTime{20})), "bo ");
  EXPECT_EQ(names(history().OverridesOf("truck", "gate", UtcTime{15})), "");
  EXPECT_EQ(names(history().ListOverrides("", 2)), "cy bo ");
  EXPECT_EQ(names(history().ListOverrides("car", 9)), "cy bo ana ");
  EXPECT_EQ(names(history().ListOverrides("truck", 9)), "");
}

TEST_F(GateRecords, AnOverrideIsRevokedOnceAndNeverChangedOrRemoved) {
  int64_t id = 0;
  ASSERT_OK(store_->Commit({OverrideChange{Said("ana", 10, 20), &id}}));
  core::OverrideRecord revoked = *history().FindOverride(id).value();
  revoked.revoked = UtcTime{15};
  revoked.revoked_by = "bo";

  ASSERT_OK(store_->Commit({OverrideChange{revoked}}));

  EXPECT_EQ(*history().FindOverride(id), revoked);
  EXPECT_TRUE(absl::IsInvalidArgument(store_->Commit({OverrideChange{revoked}})));
  RawDatabase raw(options_.path);
  EXPECT_EQ(raw.Execute("DELETE FROM gate_override"), "what was overridden stays on record");
  EXPECT_EQ(raw.Execute("UPDATE gate_override SET expires_ms = 999"), "an override is only revoked, once");
}

// --- cost
// --------------------------------------------------------------------------------------------

int64_t most_steps = 0;   // Of one statement.

int Count(unsigned, void*, void* statement, void*) {
  most_steps = std::max<int64_t>(most_steps, sqlite3_stmt_status(static_cast<sqlite3_stmt*>(statement),
                                                                 SQLITE_STMTSTATUS_VM_STEP, 1));
  return 0;
}

int CountSteps(sqlite3* connection, char**, const void*) {
  return sqlite3_trace_v2(connection, SQLITE_TRACE_PROFILE, Count, nullptr);
}

TEST_F(GateRecords, ALookUpCostsTheSameHoweverLongTheHistoryIs) {
  const std::string rows = AreTestsLong() ? "1000000" : "50000";
  ASSERT_OK(store_->Commit({PipelineChange{Pipeline("truck")}}));
  Judge(1, kPass, 1, "production");
  store_.reset();
  RawDatabase raw(options_.path);
  // Many runs of another pipeline, many of another lane, many that failed, many overrides that have expired.
  for (const std::string select : {"SELECT 2, 'gate', i, 'production', 1, 1, 1, i", "SELECT 1, 'gate', 10 + i, 'experiment', 1, 1, 1, i",
                                   "SELECT 1, 'gate', 10000000 + i, 'production', 1, 0, 0, i",
                                   "SELECT 1, 'never', i, 'production', 1, 0, 0, i"}) {
    ASSERT_EQ(raw.Execute("INSERT INTO gate_result WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT " + rows +
                          ") " + select + " FROM n"), "");
  }
  ASSERT_EQ(raw.Execute("INSERT INTO gate_override (pipeline, gate, rule, run, by, reason, people, at_ms, expires_ms) "
                        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT " + rows +
                        ") SELECT 1, 'gate', 'mae', 'car/1', 'ana', 'tax', 1, i, i + 1 FROM n"), "");
  // The event of the one real result serves all of them.
  ASSERT_EQ(raw.Execute("UPDATE gate_result SET event = (SELECT event FROM gate_result WHERE pipeline = 1 AND number = 1 AND gate = 'gate')"), "");
  sqlite3_auto_extension(reinterpret_cast<void (*)()>(CountSteps));
  most_steps = 0;

  EXPECT_EQ(Last(100'000'000), "car/1");
  EXPECT_EQ(Last(1), "");
  EXPECT_FALSE(history().LastPassed("car", "never", 100'000'000, {INT64_MAX})->has_value());
  EXPECT_EQ(history().GateHistory("car", "gate", 5)->size(), 5U);
  EXPECT_TRUE(history().OverridesOf("car", "gate", now_)->empty());
  EXPECT_EQ(history().ListOverrides("", 5)->size(), 5U);
  EXPECT_TRUE(history().ListOverrides("truck", 5)->empty());

  sqlite3_reset_auto_extension();
  EXPECT_GT(most_steps, 0);
  EXPECT_LT(most_steps, 1'000);
}

}  // namespace
}  // namespace cd4ml::store
