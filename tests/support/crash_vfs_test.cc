// The disk that fails: what it keeps, what it loses, and that SQLite behaves on it as on a real one.
#include "tests/support/crash_vfs.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

namespace cd4ml {
namespace {

// One connection in WAL mode to the only database of a VFS. EXTRA differs from FULL in syncing the
// deletion of a rollback journal, which there is one of until WAL mode is on.
class Connection {
 public:
  explicit Connection(const CrashVfs& vfs, const std::string& synchronous = "EXTRA") {
    open_ = sqlite3_open_v2("/db", &handle_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                            vfs.name().c_str());
    Execute("PRAGMA synchronous=" + synchronous);
    Execute("PRAGMA journal_mode=WAL");
    Execute("PRAGMA wal_autocheckpoint=20");
  }
  ~Connection() { sqlite3_close(handle_); }
  Connection(const Connection&) = delete;

  int Execute(const std::string& sql) {
    const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
    return code == SQLITE_OK ? code : sqlite3_extended_errcode(handle_);
  }
  // Writes the row `n`, large enough for several sectors.
  int Insert(int n) {
    return Execute("INSERT INTO t VALUES (" + std::to_string(n) + ", randomblob(700))");
  }
  std::string Ask(const std::string& sql) {
    std::string answer;
    const auto keep = [](void* out, int, char** values, char**) {
      *static_cast<std::string*>(out) = values[0] == nullptr ? "NULL" : values[0];
      return 0;
    };
    const int code = sqlite3_exec(handle_, sql.c_str(), keep, &answer, nullptr);
    return code == SQLITE_OK ? answer : "error " + std::to_string(code);
  }
  int Rows() { return std::atoi(Ask("SELECT count(*) FROM t").c_str()); }
  int open_code() const { return open_; }

 private:
  sqlite3* handle_ = nullptr;
  int open_ = 0;
};

class CrashVfsTest : public testing::Test {
 protected:
  CrashVfsTest() : vfs_("crash") { Connection(vfs_).Execute("CREATE TABLE t (n, x)"); }

  struct Lost {
    int acknowledged = 0, lost = 0, corrupt = 0;
  };
  // Inserts until the power fails at some change, again and again.
  Lost CutPower(int cycles, const std::string& synchronous) {
    Lost total;
    int rows = 0;
    for (int cycle = 0; cycle < cycles; ++cycle) {
      {
        Connection connection(vfs_, synchronous);
        vfs_.DieAtChange(1 + static_cast<int64_t>(random_() % 200));
        while (connection.Insert(rows + 1) == SQLITE_OK) {
          ++rows;
          ++total.acknowledged;
        }
        EXPECT_TRUE(vfs_.is_dying());
        vfs_.PowerCut(random());
      }
      const bool whole = Connection(vfs_).Ask("PRAGMA integrity_check") == "ok";
      total.corrupt += whole ? 0 : 1;
      total.lost += std::max(0, rows - Connection(vfs_).Rows());
      vfs_.Restore({});
      Connection(vfs_).Execute("CREATE TABLE t (n, x)");
      rows = 0;
    }
    return total;
  }

  CrashVfs::Random random() { return std::ref(random_); }

  CrashVfs vfs_;
  std::mt19937_64 random_{1};
};

TEST_F(CrashVfsTest, WhatWasSyncedSurvivesPowerCuts) {
  const Lost extra = CutPower(400, "EXTRA");

  EXPECT_GT(extra.acknowledged, 4'000);
  EXPECT_EQ(extra.lost, 0);
  EXPECT_EQ(extra.corrupt, 0);
}

TEST_F(CrashVfsTest, WhatWasNotSyncedIsAtRisk) {
  const Lost normal = CutPower(400, "NORMAL");
  EXPECT_GT(normal.lost, 200);
  EXPECT_EQ(normal.corrupt, 0);

  const Lost off = CutPower(400, "OFF");
  EXPECT_GT(off.lost, 200);
  EXPECT_GT(off.corrupt, 0);
}

TEST_F(CrashVfsTest, SyncsThatDoNothingAreAsBadAsNone) {
  vfs_.SetIgnoresSyncs(true);

  EXPECT_GT(CutPower(200, "EXTRA").lost, 100);
}

TEST_F(CrashVfsTest, AKilledProcessLosesNothingAndItsConnectionIsDead) {
  Connection dead(vfs_, "OFF");
  ASSERT_EQ(dead.Insert(1), SQLITE_OK);
  dead.Execute("BEGIN");
  dead.Insert(2);

  vfs_.KillProcess();

  EXPECT_NE(dead.Execute("COMMIT"), SQLITE_OK);
  EXPECT_EQ(Connection(vfs_).Rows(), 1);
  EXPECT_NE(dead.Insert(3), SQLITE_OK);
  EXPECT_EQ(Connection(vfs_).Ask("PRAGMA integrity_check"), "ok");
}

TEST_F(CrashVfsTest, AKillDoesNotSyncForThePowerCutThatFollows) {
  int lost = 0;
  for (int i = 0; i < 50; ++i) {
    auto writer = std::make_unique<Connection>(vfs_, "NORMAL");
    const int before = writer->Rows();
    ASSERT_EQ(writer->Insert(1), SQLITE_OK);
    vfs_.KillProcess();
    vfs_.PowerCut(random());
    writer.reset();
    lost += Connection(vfs_).Rows() <= before;
  }
  EXPECT_GT(lost, 5);
}

TEST_F(CrashVfsTest, ConnectionsSeeEachOther) {
  Connection writer(vfs_), reader(vfs_);
  ASSERT_EQ(writer.Insert(1), SQLITE_OK);
  EXPECT_EQ(reader.Rows(), 1);
  reader.Execute("BEGIN");
  EXPECT_EQ(reader.Rows(), 1);
  ASSERT_EQ(writer.Insert(2), SQLITE_OK);
  EXPECT_EQ(reader.Rows(), 1);
  reader.Execute("COMMIT");
  EXPECT_EQ(reader.Rows(), 2);
  writer.Execute("BEGIN IMMEDIATE");
  EXPECT_EQ(reader.Execute("BEGIN IMMEDIATE") & 0xff, SQLITE_BUSY);
}

TEST_F(CrashVfsTest, DyingAtAnyChangeLeavesTheOldOrTheNew) {
  std::set<int> seen;
  for (int64_t nth = 1;; ++nth) {
    Connection connection(vfs_);
    const int before = connection.Rows();
    vfs_.DieAtChange(nth);
    const bool done = connection.Insert(1) == SQLITE_OK;
    if (done) break;
    vfs_.KillProcess();
    const int after = Connection(vfs_).Rows();
    EXPECT_TRUE(after == before || after == before + 1);
    seen.insert(after - before);
    ASSERT_LT(nth, 1'000);
  }
  EXPECT_TRUE(seen.contains(0));
}

TEST_F(CrashVfsTest, AFullDiskRefusesAndGoesOnWhenThereIsSpace) {
  Connection connection(vfs_);
  connection.Insert(0);
  int refused = 0;
  for (int64_t nth = 1; nth < 10; ++nth) {
    vfs_.FailWrite(nth, CrashVfs::Times::kOnce);
    const int before = connection.Rows();
    const int code = connection.Insert(1);
    if (code != SQLITE_OK) {
      ++refused;
      EXPECT_EQ(code, SQLITE_FULL);
    }
    EXPECT_EQ(connection.Rows(), before + (code == SQLITE_OK ? 1 : 0));
  }
  EXPECT_GT(refused, 0);

  vfs_.FailWrite(1, CrashVfs::Times::kForGood);
  EXPECT_EQ(connection.Insert(1), SQLITE_FULL);
  EXPECT_EQ(connection.Insert(1), SQLITE_FULL);
  vfs_.Heal();
  EXPECT_EQ(connection.Insert(1), SQLITE_OK);

  vfs_.SetBytesMax(60'000);
  int code = SQLITE_OK;
  for (int i = 0; i < 200 && code == SQLITE_OK; ++i) code = connection.Insert(i);
  EXPECT_EQ(code, SQLITE_FULL);
  vfs_.Heal();
  EXPECT_EQ(connection.Insert(1), SQLITE_OK);
  EXPECT_EQ(connection.Ask("PRAGMA integrity_check"), "ok");
}

TEST_F(CrashVfsTest, AFailedSyncLeavesTheOutcomeUnknown) {
  std::set<int> seen;
  for (int i = 0; i < 60; ++i) {
    auto connection = std::make_unique<Connection>(vfs_);
    connection->Insert(0);
    const int before = connection->Rows();
    vfs_.FailSync(1, CrashVfs::Times::kOnce, random());
    EXPECT_EQ(connection->Insert(1), SQLITE_IOERR_FSYNC);
    vfs_.PowerCut(random());
    connection.reset();
    Connection after(vfs_);
    EXPECT_EQ(after.Ask("PRAGMA integrity_check"), "ok");
    seen.insert(after.Rows() - before);
  }
  EXPECT_EQ(seen, (std::set<int>{0, 1}));
}

// So a process that goes on after a failed sync loses what it acknowledges later.
TEST_F(CrashVfsTest, WhatASyncFailedToKeepIsNotKeptByTheNextOne) {
  sqlite3_vfs* raw = sqlite3_vfs_find(vfs_.name().c_str());
  std::vector<char> memory(static_cast<size_t>(raw->szOsFile));
  auto* file = reinterpret_cast<sqlite3_file*>(memory.data());
  int lost = 0;
  for (int i = 0; i < 60; ++i) {
    vfs_.Restore({});
    ASSERT_EQ(raw->xOpen(raw, "/f", file, SQLITE_OPEN_CREATE, nullptr), SQLITE_OK);
    file->pMethods->xWrite(file, "new", 3, 0);
    vfs_.FailSync(1, CrashVfs::Times::kOnce, random());
    EXPECT_EQ(file->pMethods->xSync(file, 0), SQLITE_IOERR_FSYNC);
    EXPECT_EQ(file->pMethods->xSync(file, 0), SQLITE_OK);
    EXPECT_EQ(vfs_.Save()["/f"], "new");
    vfs_.PowerCut(random());
    lost += vfs_.Save()["/f"] != "new";
    file->pMethods->xClose(file);
  }
  EXPECT_GT(lost, 5);
  EXPECT_LT(lost, 55);
}

TEST_F(CrashVfsTest, AFailedReadIsReported) {
  Connection(vfs_).Insert(1);
  Connection connection(vfs_);
  vfs_.FailRead(1, CrashVfs::Times::kForGood);
  EXPECT_EQ(connection.Ask("SELECT sum(length(x)) FROM t"),
            "error " + std::to_string(SQLITE_IOERR));
  vfs_.Heal();
  EXPECT_EQ(connection.Ask("SELECT sum(length(x)) FROM t"), "700");
}

TEST_F(CrashVfsTest, AnImageBringsTheFilesBack) {
  Connection(vfs_).Insert(1);
  const CrashVfs::Image image = vfs_.Save();
  Connection(vfs_).Insert(2);

  vfs_.Restore(image);

  EXPECT_EQ(Connection(vfs_).Rows(), 1);
  Connection(vfs_).Insert(3);
  vfs_.Restore(image);
  vfs_.PowerCut(random());
  EXPECT_EQ(Connection(vfs_).Rows(), 1);
}

}  // namespace
}  // namespace cd4ml
