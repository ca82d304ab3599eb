// The schema: golden, equal to the enums of the core, and changed by whole migrations only.
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "fixture.h"
#include "raw.h"
#include "store/migrate.h"

namespace cd4ml::store {
namespace {

class Schema : public StoreTest {};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return (std::stringstream() << file.rdbuf()).str();
}

TEST_F(Schema, IsTheGoldenOne) {
  store_.reset();
  std::string schema;
  for (const auto& row : RawDatabase(options_.path)
                             .Rows("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY "
                                   "tbl_name, type DESC, name")) {
    schema += row[0] + ";\n\n";
  }
  const std::string golden = CD4ML_SOURCE_DIR "/tests/golden/schema.sql";
  if (getenv("CD4ML_ACCEPT") != nullptr) std::ofstream(golden) << schema;

  EXPECT_EQ(schema, ReadFile(golden)) << "set CD4ML_ACCEPT=1 to accept the new schema";
}

TEST(Connection, SyncsEveryCommitAndKeepsTheLogInItsOwnHands) {
  const TempFolder folder;
  auto writer = Database::Open(folder / "x.db", "", Database::Access::kWrite);
  ASSERT_OK(writer.status());
  EXPECT_EQ(*(*writer)->Ask("PRAGMA synchronous"), "3");  // NORMAL loses acknowledged work.
  EXPECT_EQ(*(*writer)->Ask("PRAGMA journal_mode"), "wal");
  EXPECT_EQ(*(*writer)->Ask("PRAGMA wal_autocheckpoint"), "0");
  EXPECT_EQ(*(*writer)->Ask("PRAGMA foreign_keys"), "1");
  ASSERT_OK((*writer)->Execute("CREATE TABLE t (a)"));
  auto reader = Database::Open(folder / "x.db", "", Database::Access::kRead);
  ASSERT_OK(reader.status());
  EXPECT_FALSE((*reader)->Execute("DELETE FROM t").ok());
}

template <typename Enum>
std::set<std::string> Words(Enum last) {
  std::set<std::string> words;
  for (int i = 0; i <= static_cast<int>(last); ++i)
    words.emplace(core::ToText(static_cast<Enum>(i)));
  return words;
}

TEST_F(Schema, AllowsExactlyTheWordsOfTheEnums) {
  store_.reset();
  RawDatabase raw(options_.path);
  const auto allowed = [&raw](const std::string& table, const std::string& column) {
    const std::string sql =
        raw.Rows("SELECT sql FROM sqlite_schema WHERE name = '" + table + "'").at(0).at(0);
    std::set<std::string> words;
    const std::regex word("\\b" + column + " = '([a-z_]+)'");
    for (std::sregex_iterator at(sql.begin(), sql.end(), word), end; at != end; ++at)
      words.insert((*at)[1]);
    return words;
  };

  EXPECT_EQ(allowed("run", "state"), Words(core::RunState::kCancelled));
  EXPECT_EQ(allowed("run", "reason"), Words(core::Reason::kNotSelected));
  EXPECT_EQ(allowed("run", "trigger_kind"), Words(core::TriggerKind::kReproduce));
  EXPECT_EQ(allowed("stage_run", "kind"), Words(core::StageKind::kCommand));
  EXPECT_EQ(allowed("stage_run", "state"), Words(core::StageState::kSkipped));
  EXPECT_EQ(allowed("stage_run", "reason"), Words(core::Reason::kNotSelected));
  EXPECT_EQ(allowed("attempt", "state"), Words(core::AttemptState::kCancelled));
  EXPECT_EQ(allowed("verdict", "outcome"), Words(core::VerdictOutcome::kError));
  EXPECT_EQ(allowed("version", "kind"), Words(core::VersionKind::kFile));
}

class Migrations : public testing::Test {
 protected:
  std::unique_ptr<Database> OpenDatabase() {
    auto database = Database::Open(path_, "", Database::Access::kWrite);
    EXPECT_TRUE(database.ok()) << database.status().ToString();
    return *std::move(database);
  }
  absl::Status Apply(const std::vector<Migration>& migrations) {
    return Migrate(*OpenDatabase(), migrations, [this](int version) {
      backed_up_.push_back(version);
      return absl::OkStatus();
    });
  }

  TempFolder folder_;
  const std::string path_ = folder_ / "m.db";
  const Migration one_{"0001_one",
                       "CREATE TABLE one (a INTEGER) STRICT; INSERT INTO one VALUES (7);"};
  const Migration two_{"0002_two",
                       "ALTER TABLE one ADD COLUMN b INTEGER; UPDATE one SET b = a + 1;"};
  const Migration broken_{
      "0002_two",
      "UPDATE one SET a = 0; CREATE TABLE two (a INTEGER) STRICT; SELECT * FROM nowhere;"};
  std::vector<int> backed_up_;
};

TEST_F(Migrations, AreAppliedOnceAndInOrder) {
  ASSERT_OK(Apply({one_}));
  ASSERT_OK(Apply({one_}));
  ASSERT_OK(Apply({one_, two_}));
  ASSERT_OK(Apply({one_, two_}));

  EXPECT_EQ(RawDatabase(path_).Rows("SELECT a, b FROM one"),
            (std::vector<std::vector<std::string>>{{"7", "8"}}));
  EXPECT_EQ(backed_up_, std::vector<int>{1});  // Only a database that was in use.
}

TEST_F(Migrations, LeaveTheOldSchemaWhenOneFails) {
  ASSERT_OK(Apply({one_}));

  const absl::Status status = Apply({one_, broken_});

  EXPECT_NE(Message(status).find("migration 0002_two: no such table: nowhere"), std::string::npos)
      << status.ToString();
  RawDatabase raw(path_);
  EXPECT_EQ(raw.Rows("SELECT a FROM one").at(0).at(0), "7");
  EXPECT_EQ(raw.Rows("PRAGMA user_version").at(0).at(0), "1");
  EXPECT_NE(raw.Execute("SELECT * FROM two"), "");
}

TEST_F(Migrations, AreRefusedWhenTheBackupFails) {
  ASSERT_OK(Apply({one_}));

  const absl::Status status =
      Migrate(*OpenDatabase(), {one_, two_}, [](int) { return absl::DataLossError("no space"); });

  EXPECT_TRUE(absl::IsDataLoss(status)) << status.ToString();
  EXPECT_EQ(RawDatabase(path_).Rows("PRAGMA user_version").at(0).at(0), "1");
}

TEST_F(Migrations, AreRefusedByAnOlderProgram) {
  ASSERT_OK(Apply({one_, two_}));

  const absl::Status status = Apply({one_});

  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Message(status),
            "it has schema 2 of a newer cd4ml, this one knows 1; use the newer program, or restore "
            "the copy beside it from before the upgrade: *.backup");
}

TEST_F(Migrations, AreNeverEdited) {
  ASSERT_OK(Apply({one_}));
  Migration edited = one_;
  edited.script = "CREATE TABLE one (a TEXT) STRICT;";

  EXPECT_EQ(Apply({edited}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(Migrations, AreRefusedOnAnotherProgramsDatabase) {
  RawDatabase(path_).Execute("CREATE TABLE theirs (a)");

  const absl::Status status = Apply({one_});

  EXPECT_NE(Message(status).find("database of another program"), std::string::npos)
      << status.ToString();
}

TEST_F(Migrations, AreRefusedWhereTheVersionWasWipedAndTheTablesWereNot) {
  ASSERT_OK(Apply({one_}));
  RawDatabase(path_).Execute("PRAGMA user_version=0");

  const absl::Status status = Apply({one_});

  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(Message(status).find("user_version 0"), std::string::npos) << status;
  EXPECT_NE(Message(status).find("restore a backup"), std::string::npos) << status;
  EXPECT_EQ(RawDatabase(path_).Rows("SELECT a FROM one").size(), 1u);
}

TEST_F(Migrations, KeepACopyOfWhatWasThereBefore) {
  ASSERT_OK(Apply({one_}));
  std::ofstream(path_ + ".backup.part") << "left by a crash";

  ASSERT_OK(BackUp(*OpenDatabase(), path_, 1));
  ASSERT_OK(Apply({one_, two_}));

  std::string backup;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    const std::string name = entry.path().filename();
    if (name.ends_with(".backup")) backup = name;
  }
  ASSERT_TRUE(std::regex_match(backup, std::regex("m\\.db\\.schema-1\\.\\d{8}T\\d{6}Z\\.backup"))) << backup;
  RawDatabase copy(folder_ / backup);
  EXPECT_EQ(copy.Rows("SELECT a FROM one").at(0).at(0), "7");
  EXPECT_EQ(copy.Rows("PRAGMA user_version").at(0).at(0), "1");
  EXPECT_EQ(copy.Rows("PRAGMA integrity_check").at(0).at(0), "ok");
}

}  // namespace
}  // namespace cd4ml::store
