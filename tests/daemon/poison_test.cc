// A bad record cannot stop the daemon: every column of every table, one after the other, with what must not be there.
#include <unistd.h>

#include <filesystem>

#include "cd4ml/base/log.h"
#include "daemon/orchestrator.h"
#include "tests/store/fixture.h"
#include "tests/store/raw.h"

namespace cd4ml::daemon {
namespace {

using store::RawDatabase;

constexpr char kGarbage[] = "replace(hex(zeroblob(524288)), '00', 'zq')";  // 1 MiB.
constexpr const char* kPoison[] = {"NULL",
                                   "x'00ff'",
                                   "'x'",
                                   "''",
                                   "CAST(x'ff00fe' AS TEXT)",
                                   "-9223372036854775808",
                                   "'[[['",
                                   kGarbage};

class Poison : public store::StoreTest {
 protected:
  // Runs in every state, an agent, a deployment, a monitor with a check, a prediction.
  void MakeStore() {
    if (std::filesystem::exists("/dev/shm")) {
      store_.reset();
      options_.path = "/dev/shm/cd4ml-poison-" + std::to_string(getpid()) + ".db";  // Hundreds of openings: no disk.
      Open();
      ASSERT_OK(store_->Commit({PipelineChange{Pipeline("car")}}));
    }
    RunCar(1, "one");
    core::Run leased, running, blocked;
    ASSERT_OK(Do(leased, store::CarRun(2)));
    ASSERT_OK(Perform(leased, "validate", store::GoodOutcome("validate", "two")));
    ASSERT_OK(Do(leased, core::GrantLease{"train", "agent-1"}));
    ASSERT_OK(Do(running, store::CarRun(3)));
    ASSERT_OK(Do(running, core::GrantLease{"validate", "agent-1"}));
    ASSERT_OK(Do(running, core::ReportStarted{"validate", 1, "agent-1"}));
    ASSERT_OK(Do(blocked, store::CarRun(4)));
    core::MonitorState monitor;
    monitor.pipeline = "car";
    monitor.stage = "watch";
    monitor.environment = "production";
    monitor.deployment = "car/1/release";
    MonitorCheckRecord check;
    check.monitor = monitor.id();
    ASSERT_OK(store_->Commit({AgentChange{{.name = "agent-1", .instance = "i", .slots = 2}},
                              MonitorChange{monitor, check},
                              PredictionChange{{{"car/1/release", "k", UtcTime{1}, Value(), 1.0}}}}));
    store_.reset();
    RawDatabase(options_.path).Execute("INSERT INTO quarantine VALUES ('run', 99, 'an earlier one')");
    whole_ = options_.path + ".whole";
    std::filesystem::copy_file(options_.path, whole_, std::filesystem::copy_options::overwrite_existing);
  }

  ~Poison() override {
    if (!options_.path.starts_with("/dev/shm")) return;
    for (const std::string ending : {"", ".whole", ".lock", "-wal", "-shm"}) {
      std::filesystem::remove(options_.path + ending);
    }
  }

  // Puts `value` into a column, after the table's rules were taken away for a moment. Returns whether it took it.
  bool Put(const std::string& table, const std::string& column, const std::string& value) {
    std::filesystem::copy_file(whole_, options_.path, std::filesystem::copy_options::overwrite_existing);
    RawDatabase raw(options_.path);
    raw.Execute(
        "PRAGMA ignore_check_constraints=ON; DROP TRIGGER run_event_is_never_changed; "
        "DROP TRIGGER deployment_is_only_ended; CREATE TEMP TABLE rules AS SELECT name, sql FROM sqlite_schema; "
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(replace(replace(sql, ' NOT NULL', ''), "
        "') STRICT, ', ') '), ') STRICT', ')') WHERE type = 'table'; PRAGMA writable_schema=RESET");
    // A MiB in every row would only take long.
    const std::string where = value == kGarbage ? " WHERE " + column + " IS (SELECT max(" + column + ") FROM " + table + ")" : "";
    const std::string refused = raw.Execute("UPDATE OR IGNORE " + table + " SET " + column + " = " + value + where);
    const bool is_there =
        refused.empty() && raw.Rows("SELECT changes()").at(0).at(0) != "0";
    raw.Execute(
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = (SELECT sql FROM rules WHERE rules.name = "
        "sqlite_schema.name) WHERE type = 'table'; PRAGMA writable_schema=RESET");
    return is_there;
  }

  // Starts the daemon's loop on the store and lets it do everything that it does in its first minutes.
  void Boot(const std::string& what) {
    auto store = OpenStateStore(options_);
    ASSERT_TRUE(store.ok()) << what << ": " << store.status().ToString();
    auto history = OpenHistory(options_);
    ASSERT_OK(history.status());
    Settings settings;
    settings.instance = "boot";
    absl::Status stopped;
    std::vector<core::MonitorState> checks;
    DesiredState desired;
    Orchestrator::Hooks hooks;
    hooks.committed = [](const std::set<core::RunId>&) {};
    hooks.prepare = [](StartRequest, core::TriggerKind, Done<PreparedRun>) {};
    hooks.check = [&](core::MonitorState state, std::optional<TaskBaseline>) { checks.push_back(std::move(state)); };
    hooks.fail_stop = [&](const absl::Status& status) { stopped = status; };
    Orchestrator orchestrator(settings, **store, **history, std::move(hooks));
    UtcTime now{1'800'000'000'000};
    Duration steady{0};
    const absl::Status loaded = orchestrator.Load(now, steady);
    ASSERT_TRUE(loaded.ok()) << what << ": " << loaded.ToString();
    quarantined_ += !orchestrator.quarantined().empty();
    const auto turn = [&](const std::function<void()>& requests) {
      orchestrator.BeginTurn(now, steady);
      requests();
      orchestrator.EndTurn();
    };
    std::string session;
    turn([&] {
      AgentHello hello;
      hello.name = "agent-1";
      hello.instance = "i";
      hello.slots = 4;
      orchestrator.OpenSession(
          hello, [&](DesiredState state) { desired = std::move(state); }, [](absl::Status) {},
          [&](absl::StatusOr<SessionGrant> grant) { session = grant.ok() ? grant->session : ""; });
    });
    for (int round = 0; round < 3; ++round) {
      for (const TaskPtr& task : std::vector<TaskPtr>(desired.leases)) {
        turn([&] {
          AgentReport report;
          report.held = {{.attempt = task->attempt, .started = true}};
          orchestrator.Report(session, report, [](const absl::Status&) {});
        });
        turn([&] {
          orchestrator.Finish(session, task->attempt, store::GoodOutcome(task->attempt.stage, what),
                              [](const absl::StatusOr<int64_t>&) {});
        });
      }
    }
    turn([&] { orchestrator.CancelRun("car/4", "enough", [](const absl::StatusOr<core::Run>&) {}); });
    for (const core::MonitorState& monitor : std::exchange(checks, {})) {
      turn([&] {
        JudgedCheck check;
        check.monitor = monitor.id();
        check.deployment = monitor.deployment;
        check.spec.every = Duration(60'000);
        orchestrator.FinishCheck(check);
      });
    }
    if (orchestrator.pipelines().contains("car")) {
      turn([&] {
        core::StartRun start = store::CarRun(0);
        orchestrator.StartRun({start}, [](const absl::StatusOr<core::Run>&) {});
      });
    }
    steady += Duration(60'000);  // The agent is lost.
    now = now + Duration(60'000);
    turn([] {});
    (void)orchestrator.Agents();
    (void)orchestrator.NextWait();
    EXPECT_TRUE(stopped.ok()) << what << ": " << stopped.ToString();
    EXPECT_LT(orchestrator.quarantined().size(), 10u) << what;
  }

  std::string whole_;
  int quarantined_ = 0;
};

TEST_F(Poison, InAnyColumnLetsTheDaemonStartAndWork) {
  OpenLog("daemon_test", LogLevel::kError, "/dev/null");  // Each of these rows is reported.
  MakeStore();
  std::vector<std::pair<std::string, std::string>> columns;
  for (const auto& row :
       RawDatabase(whole_).Rows("SELECT t.name, c.name FROM pragma_table_list t JOIN pragma_table_info(t.name) c "
                                "WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite_%'")) {
    columns.emplace_back(row[0], row[1]);
  }
  int poisoned = 0, booted = 0;
  for (const auto& [table, column] : columns) {
    for (const char* value : kPoison) {
      if (!Put(table, column, value)) continue;
      ++poisoned;
      Boot(table + "." + column + " = " + value);
      booted += !HasFatalFailure();
      if (HasFatalFailure()) return;
    }
  }
  printf("columns %zu, poisoned %d, booted %d, with something in quarantine %d\n", columns.size(), poisoned, booted,
         quarantined_);
  EXPECT_GT(poisoned, static_cast<int>(columns.size()) * 5);
  EXPECT_EQ(booted, poisoned);
  EXPECT_GT(quarantined_, poisoned / 4);
}

}  // namespace
}  // namespace cd4ml::daemon
