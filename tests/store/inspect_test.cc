// Copies of a store, what it refers to, and that no row changes unseen.
#include <filesystem>
#include <set>
#include <thread>

#include "cd4ml/ports/inspector.h"
#include "fixture.h"
#include "raw.h"

namespace cd4ml::store {
namespace {

class Inspect : public StoreTest {
 protected:
  std::unique_ptr<Inspector> Look(const std::string& path) { return OpenInspector({.path = path}).value(); }
  std::vector<Damage> DamageIn(const std::string& path) {
    auto check = Look(path)->CheckRecords({});
    EXPECT_TRUE(check.ok()) << check.status();
    return check.ok() ? check->damage : std::vector<Damage>();
  }
  // Copies the store, changes the copy and returns what is found.
  std::vector<Damage> After(const std::string& change) {
    const std::string copy = folder_ / "copy.db";
    std::filesystem::remove(copy);
    EXPECT_TRUE(Look(options_.path)->CopyTo(copy, {}).ok());
    {
      RawDatabase raw(copy);
      for (const auto& row : raw.Rows("SELECT name FROM sqlite_schema WHERE type = 'trigger'"))
        raw.Execute("DROP TRIGGER " + row[0]);
      raw.Execute("PRAGMA ignore_check_constraints = ON");
      EXPECT_EQ(raw.Execute(change), "") << change;
      EXPECT_NE(raw.Rows("SELECT total_changes()")[0][0], "0") << change;
    }
    return DamageIn(copy);
  }
};

TEST_F(Inspect, CopiesOneMomentOfABusyStore) {
  RunCar(1, "one");
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int64_t number = 2; !stop; ++number) RunCar(number, "two");
  });
  std::vector<int64_t> events;
  for (int i = 0; i < 5; ++i) {
    const std::string copy = folder_ / ("copy" + std::to_string(i));
    ASSERT_OK(Look(options_.path)->CopyTo(copy, {}));
    const auto check = Look(copy)->CheckRecords({});
    ASSERT_OK(check.status());
    EXPECT_TRUE(check->damage.empty()) << check->damage.front().what << ": " << check->damage.front().why;
    events.push_back(check->events);
    EXPECT_FALSE(std::filesystem::exists(copy + "-wal"));
  }
  stop = true;
  writer.join();
  EXPECT_TRUE(std::is_sorted(events.begin(), events.end()));
}

TEST_F(Inspect, RefusesToCopyOverAFileAndLeavesNothingWhenItStops) {
  RunCar(1, "one");
  std::stop_source stop;
  stop.request_stop();

  EXPECT_TRUE(absl::IsCancelled(Look(options_.path)->CopyTo(folder_ / "stopped", stop.get_token())));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "stopped"));
  ASSERT_OK(Look(options_.path)->CopyTo(folder_ / "copy", {}));
  EXPECT_FALSE(Look(options_.path)->CopyTo(folder_ / "copy", {}).ok());
  EXPECT_TRUE(DamageIn(folder_ / "copy").empty());
  EXPECT_TRUE(absl::IsNotFound(Look(folder_ / "gone")->References().status()));
}

TEST_F(Inspect, ListsEveryBlobThatARowSpeaksOfOnce) {
  const core::Run run = RunCar(1, "one");
  RunCar(2, "one");
  core::Run begun;
  ASSERT_OK(Do(begun, CarRun(3)));   // Its data is needed before any stage has used it.

  const auto references = Look(options_.path)->References();

  ASSERT_OK(references.status());
  std::multiset<std::string> found;
  for (const BlobReference& reference : *references) found.insert(reference.artifact.digest.hex());
  std::multiset<std::string> expected = {run.pins.definition.hex(), begun.pins.materials.at("listings").digest,
                                         CarRun(2).pins.materials.at("listings").digest,
                                         run.pins.materials.at("listings").digest};
  for (const char* reference : {"validate.clean", "train.model", "package.service"})
    expected.insert(core::FindVersion(run, reference)->digest);
  EXPECT_EQ(found, expected);
}

TEST_F(Inspect, NamesTheRunsAndDeploymentsThatNeedABlob) {
  const core::Run run = RunCar(1, "same");
  RunCar(2, "same");

  EXPECT_EQ(Look(options_.path)->UsersOf(core::FindVersion(run, "train.model")->artifact.digest).value(),
            (std::vector<std::string>{"deployment car/2/release, live in production", "deployment car/1/release",
                                      "run car/2", "run car/1"}));
  EXPECT_EQ(Look(options_.path)->UsersOf(run.pins.definition).value(),
            (std::vector<std::string>{"run car/2", "run car/1"}));
  EXPECT_TRUE(Look(options_.path)->UsersOf(Sha256("nobody's")).value().empty());
}

TEST_F(Inspect, FindsAStoreAsItWasWrittenSound) {
  RunCar(1, "one");
  RunCar(2, "two");
  core::Run run;
  ASSERT_OK(Do(run, CarRun(3)));
  ASSERT_OK(Do(run, core::GrantLease{"validate", "agent-1"}));
  ASSERT_OK(Do(run, core::LoseLease{"validate", 1, "silent"}));
  ASSERT_OK(Do(run, core::CancelRun{"enough"}));

  const auto check = Look(options_.path)->CheckRecords({});

  ASSERT_OK(check.status());
  for (const Damage& item : check->damage) ADD_FAILURE() << item.what << ": " << item.why;
  EXPECT_EQ(check->runs, 3);
  EXPECT_GT(check->events, 50);
}

TEST_F(Inspect, FindsDataAndOutputsThatWereRecordedWithoutADigest) {
  core::StartRun start = CarRun(1);
  start.pins.materials["listings"].digest.clear();
  start.pins.materials["listings"].artifact = {};
  core::Run run;
  ASSERT_OK(Do(run, start));
  ASSERT_OK(Do(run, core::GrantLease{"validate", "agent-1"}));
  core::Outcome outcome = GoodOutcome("validate", "one");
  outcome.outputs[0].artifact.digest = {};
  ASSERT_OK(Do(run, core::ReportFinished{"validate", 1, "agent-1", outcome}));

  const std::vector<Damage> damage = DamageIn(options_.path);

  ASSERT_EQ(damage.size(), 2u);
  EXPECT_EQ(damage[0].what + ": " + damage[0].why, "run car/1: its data \"listings\" has no digest");
  EXPECT_EQ(damage[1].what + ": " + damage[1].why, "run car/1: its output \"validate.clean\" has no digest");
}

// Each value of each row that follows from events is changed in turn, as far as SQLite lets it.
TEST_F(Inspect, FindsEveryChangedValueOfWhatFollowsFromEvents) {
  RunCar(1, "one");
  const std::map<std::string, std::string> tables = {
      {"run", "lane, state, reason, message, cancel_requested, cancel_reason, superseded_by, trigger_kind, trigger_key, trigger_by, "
              "trigger_reason, commit_id, commit_subject, created_ms, ended_ms, stages_total, stages_done, gates_judged, "
              "gates_passed, number"},
      {"stage_run", "position, name, kind, state, reason, message, first_ready_ms, ready_ms, not_before_ms, ended_ms, attempts, "
                    "carried_seq, stop_seq"},
      {"attempt", "number, agent, state, granted_ms, started_ms, ended_ms, ended_seq"},
      {"metric", "attempt, name, value"},
      {"verdict", "attempt, rule, outcome, observed, bound"},
      {"version", "digest, kind, name, artifact, is_tree, size, files, summary"},
      {"lineage_edge", "attempt, role, version"},
      {"deployment", "name, environment, attempt, package, model, agent, endpoint, started_ms"},
      {"run_event", "at_ms, kind, payload, digest"}};
  int changed = 0;
  for (const auto& [table, columns] : tables) {
    std::string rest = columns + ",";
    for (size_t comma = rest.find(','); comma != std::string::npos; comma = rest.find(',')) {
      std::string column = rest.substr(0, comma);
      rest.erase(0, comma + 1);
      column.erase(0, column.find_first_not_of(' '));
      const std::string value = "CASE typeof(" + column + ") WHEN 'text' THEN " + column + " || 'x' WHEN 'null' THEN 'x' ELSE " +
                                column + " + 1 END";
      const bool is_keyed = table == "metric" || table == "verdict" || table == "lineage_edge" || table == "attempt";
      const std::string where = is_keyed ? " WHERE (stage_run, " + std::string(table == "attempt" ? "number" : "attempt") +
                                               ") = (SELECT MIN(stage_run), 1 FROM " + table + ")" +
                                               (table == "lineage_edge" ? " AND version = (SELECT MAX(version) FROM lineage_edge "
                                                                          "WHERE stage_run = (SELECT MIN(stage_run) FROM lineage_edge))"
                                                : table == "metric" ? " AND name = 'mae'" : "")
                                         : " WHERE id = (SELECT MIN(id) FROM " + table + ")";
      EXPECT_FALSE(After("UPDATE OR REPLACE " + table + " SET " + column + " = " + value + where).empty())
          << table << "." << column;
      ++changed;
    }
    EXPECT_FALSE(After("DELETE FROM " + table).empty()) << table;
  }
  EXPECT_EQ(changed, 71);
}

}  // namespace
}  // namespace cd4ml::store
