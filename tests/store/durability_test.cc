// What survives: kills, failing and full disks, damaged files, senseless rows.
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <random>

#include "cd4ml/base/log.h"
#include "fixture.h"
#include "raw.h"
#include "tests/support/crash_vfs.h"

namespace cd4ml::store {
namespace {

class Durability : public StoreTest {
 protected:
  // Runs `body` in a child process with the store's path; returns its exit status as waitpid gives
  // it.
  static pid_t Fork(const std::function<int()>& body) {
    const pid_t child = fork();
    if (child == 0) _exit(body());
    return child;
  }
  static int Wait(pid_t child) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
  }
};

// Commits events of run car/1 from `seq` on, until it fails; tells each acknowledged one on `acks`.
absl::Status CommitUntilFailure(StateStore& store, int64_t seq, int acks) {
  for (const std::string filler(3'000, 'x');; ++seq) {
    const absl::Status status =
        store.Commit({RunChange{"car/1", seq, UtcTime{seq}, {core::CancelRequested{filler}}}});
    if (!status.ok()) return status;
    if (write(acks, &seq, sizeof seq) != sizeof seq) return absl::OkStatus();
  }
}

TEST_F(Durability, NothingAcknowledgedIsLostWhenTheProcessIsKilled) {
  core::Run run;
  ASSERT_OK(Do(run, CarRun(1)));
  int64_t last = run.next_seq - 1;
  for (int cycle = 0; cycle < 8; ++cycle) {
    store_.reset();
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = Fork([&] {
      auto store = OpenStateStore(options_);
      return store.ok() && CommitUntilFailure(**store, last + 1, pipe_ends[1]).ok() ? 0 : 1;
    });
    close(pipe_ends[1]);
    int64_t acknowledged = last;
    for (int i = 0; i < 5 + cycle * 7; ++i) {
      ASSERT_EQ(read(pipe_ends[0], &acknowledged, sizeof acknowledged),
                static_cast<ssize_t>(sizeof acknowledged));
    }
    kill(child, SIGKILL);
    Wait(child);
    while (read(pipe_ends[0], &acknowledged, sizeof acknowledged) > 0) {
    }
    close(pipe_ends[0]);
    Open();
    auto state = store_->Load();
    ASSERT_OK(state.status());
    last = state->open_runs.at(0).next_seq - 1;
    // The commit under way may have become durable before it could be acknowledged.
    EXPECT_GE(last, acknowledged);
    EXPECT_LE(last, acknowledged + 1);
  }
}

// The rollback journal of the time before WAL mode must not come back.
TEST_F(Durability, WhatANewStoreAcknowledgedSurvivesAPowerCut) {
  CrashVfs vfs("durability_test");
  std::mt19937_64 random(1);
  const StoreOptions options{.path = "/new.db", .vfs = vfs.name()};
  for (int cycle = 0; cycle < 100; ++cycle) {
    vfs.Restore({});
    auto store = OpenStateStore(options);
    ASSERT_OK(store.status());
    ASSERT_OK((*store)->Commit({PipelineChange{Pipeline("car")}}));
    vfs.PowerCut(std::ref(random));
    store = OpenStateStore(options);
    ASSERT_OK(store.status());
    EXPECT_EQ((*store)->Load()->pipelines.size(), 1u);
  }
}

TEST_F(Durability, AfterAFailedWriteTheStoreAnswersNothingMore) {
  core::Run run;
  ASSERT_OK(Do(run, CarRun(1)));
  store_.reset();
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = Fork([&] {
    auto store = OpenStateStore(options_);
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{512 << 10, 512 << 10};  // Writing beyond it fails with EFBIG.
    if (!store.ok() || setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    if (!absl::IsDataLoss(CommitUntilFailure(**store, run.next_seq, pipe_ends[1]))) return 2;
    if (!absl::IsDataLoss((*store)->Commit({PipelineChange{Pipeline("x")}}))) return 3;
    if (!absl::IsDataLoss((*store)->Load().status())) return 4;
    if (!absl::IsDataLoss((*store)->FindByKey("x").status())) return 5;
    (*store)->Idle();
    return 0;
  });
  close(pipe_ends[1]);
  int64_t acknowledged = 0;
  while (read(pipe_ends[0], &acknowledged, sizeof acknowledged) > 0) {
  }
  close(pipe_ends[0]);
  EXPECT_EQ(Wait(child), 0);
  Open();
  EXPECT_GE(store_->Load()->open_runs.at(0).next_seq - 1, acknowledged);
  EXPECT_GT(acknowledged, 20);
}

TEST_F(Durability, AFullDiskRefusesAndGoesOnWhenThereIsSpace) {
  const std::string mount_point = folder_ / "small";
  std::filesystem::create_directory(mount_point);
  if (mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "cannot mount a tmpfs here";
  const std::string ballast = mount_point + "/ballast";
  std::ofstream(ballast) << std::string(256 << 10, 'x');
  options_.path = mount_point + "/cd4ml.db";
  Open();
  ASSERT_OK(store_->Commit({PipelineChange{Pipeline("car")}}));
  core::Run run;
  ASSERT_OK(Do(run, CarRun(1)));
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);

  const absl::Status full = CommitUntilFailure(*store_, run.next_seq, pipe_ends[1]);

  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full.ToString();
  close(pipe_ends[1]);
  int64_t acknowledged = 0;
  while (read(pipe_ends[0], &acknowledged, sizeof acknowledged) > 0) {
  }
  close(pipe_ends[0]);
  EXPECT_TRUE(absl::IsResourceExhausted(store_->Commit({RunChange{
      "car/1", acknowledged + 1, UtcTime{1}, {core::CancelRequested{std::string(50'000, 'y')}}}})));
  std::filesystem::remove(ballast);
  ASSERT_OK(store_->Commit(
      {RunChange{"car/1", acknowledged + 1, UtcTime{1}, {core::CancelRequested{"z"}}}}));
  Open();
  EXPECT_EQ(store_->Load()->open_runs.at(0).next_seq, acknowledged + 2);
  store_.reset();
  EXPECT_EQ(umount(mount_point.c_str()), 0);
}

TEST_F(Durability, DamagedFilesAreRefusedWithAWayOut) {
  RunCar(1, "one");
  store_.reset();
  std::filesystem::copy_file(options_.path, folder_ / "whole");
  const auto opened = [this](const std::function<void(std::fstream&)>& damage) {
    std::filesystem::copy_file(folder_ / "whole", options_.path,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove(options_.path + "-wal");
    std::fstream file(options_.path, std::ios::in | std::ios::out | std::ios::binary);
    damage(file);
    file.close();
    return OpenStateStore(options_).status();
  };
  const auto overwrite = [](int64_t offset, const std::string& bytes) {
    return [=](std::fstream& file) {
      file.seekp(offset);
      file << bytes;
    };
  };

  for (const auto& status : {opened(overwrite(0, std::string(100, 'x'))),
                             opened(overwrite(4096, std::string(8'192, '\xAA')))}) {
    EXPECT_TRUE(absl::IsDataLoss(status)) << status.ToString();
    EXPECT_NE(Message(status).find("restore a backup"), std::string::npos) << status.ToString();
  }
  EXPECT_FALSE(
      opened([this](std::fstream&) { std::filesystem::resize_file(options_.path, 20'000); }).ok());
  ASSERT_OK(opened([](std::fstream&) {}));
}

TEST_F(Durability, PlacesWhereNoStoreCanBeAreRefused) {
  auto nowhere = OpenStateStore({.path = folder_ / "missing/cd4ml.db"});
  EXPECT_EQ(nowhere.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(Message(nowhere.status()).find("create it first"), std::string::npos)
      << nowhere.status().ToString();
  EXPECT_EQ(OpenHistory({.path = folder_ / "missing/cd4ml.db"}).status().code(),
            absl::StatusCode::kFailedPrecondition);

  const std::string locked = folder_ / "locked";
  std::filesystem::create_directory(locked);
  std::filesystem::permissions(folder_.path(), std::filesystem::perms::all);
  std::filesystem::permissions(
      locked, std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec |
                  std::filesystem::perms::others_exec | std::filesystem::perms::others_read);
  const int status = Wait(Fork([&] {
    if (geteuid() == 0 && setuid(65534) != 0) return 1;
    auto store = OpenStateStore({.path = locked + "/cd4ml.db"});
    return absl::IsFailedPrecondition(store.status()) &&
                   Message(store.status()).find("Permission denied") != std::string::npos
               ? 0
               : 2;
  }));
  EXPECT_EQ(status, 0);
}

// Every column of every table, one after the other, with what must not be there.
TEST_F(Durability, NoRowCanKeepTheStoreFromOpening) {
  OpenLog("store_test", LogLevel::kError, "/dev/null");  // Each of these rows is reported.
  if (std::filesystem::exists("/dev/shm")) {
    store_.reset();
    options_.path = "/dev/shm/cd4ml-poison-" + std::to_string(getpid()) +
                    ".db";  // Hundreds of openings: no disk.
    Open();
    ASSERT_OK(store_->Commit({PipelineChange{Pipeline("car")}}));
  }
  RunCar(1, "one");
  core::Run open;
  ASSERT_OK(Do(open, CarRun(2)));
  ASSERT_OK(Perform(open, "validate", GoodOutcome("validate", "two")));
  ASSERT_OK(Do(open, core::GrantLease{"train", "agent-1"}));
  core::MonitorState monitor;
  monitor.pipeline = "car";
  monitor.stage = "watch";
  MonitorCheckRecord check;
  check.monitor = monitor.id();
  ASSERT_OK(store_->Commit({AgentChange{{.name = "agent-1"}}, MonitorChange{monitor, check},
                            PredictionChange{{{"car/1/release", "k", UtcTime{1}, Value(), 1.0}}}}));
  store_.reset();
  const std::string whole = options_.path + ".whole";
  std::filesystem::copy_file(options_.path, whole,
                             std::filesystem::copy_options::overwrite_existing);
  std::vector<std::pair<std::string, std::string>> columns;
  for (const auto& row :
       RawDatabase(whole).Rows("SELECT t.name, c.name FROM pragma_table_list t JOIN "
                               "pragma_table_info(t.name) c WHERE t.schema = 'main' "
                               "AND t.name NOT LIKE 'sqlite_%' AND t.name <> 'schema_migration'")) {
    columns.emplace_back(row[0], row[1]);
  }
  int poisoned = 0, quarantined = 0;
  for (const auto& [table, column] : columns) {
    for (const char* value : {"NULL", "'x'", "''", "CAST(zeroblob(100000) AS TEXT)",
                              "CAST(x'ff00fe' AS TEXT)", "-9223372036854775808", "'[[['"}) {
      std::filesystem::copy_file(whole, options_.path,
                                 std::filesystem::copy_options::overwrite_existing);
      {
        RawDatabase raw(options_.path);
        raw.Execute(
            "PRAGMA ignore_check_constraints=ON; DROP TRIGGER run_event_is_never_changed; "
            "DROP TRIGGER deployment_is_only_ended");
        if (!raw.Execute("UPDATE OR IGNORE " + table + " SET " + column + " = " + value).empty())
          continue;
      }
      ++poisoned;
      const std::string what = table + "." + column + " = " + value;
      auto store = OpenStateStore(options_);
      ASSERT_TRUE(store.ok()) << what << ": " << store.status().ToString();
      auto state = (*store)->Load();
      ASSERT_TRUE(state.ok()) << what << ": " << state.status().ToString();
      auto readers = OpenHistory(options_);
      ASSERT_OK(readers.status());
      // These may fail, but not crash or hang.
      (void)(*readers)->GetRun("car/1");
      (void)(*readers)->ListRuns({});
      (void)(*readers)->ListDeployments("", UtcTime{}, 10);
      (void)(*readers)->ListDeployments("", UtcTime{1}, 10);
      (void)(*readers)->MonitorChecks("car/watch", 10);
      (void)(*readers)->TraceLineage("k", LineageDirection::kUp, 0);
      (void)(*readers)->TraceLineage("car/1", LineageDirection::kDown, 0);
      readers->reset();
      store->reset();
      quarantined += !RawDatabase(options_.path).Rows("SELECT id FROM quarantine").empty();
    }
  }
  EXPECT_GT(poisoned, 300);
  EXPECT_GT(quarantined, 20);
  for (const std::string ending : {"", ".whole", ".lock", "-wal", "-shm"}) {
    if (options_.path.starts_with("/dev/shm")) std::filesystem::remove(options_.path + ending);
  }
}

}  // namespace
}  // namespace cd4ml::store
