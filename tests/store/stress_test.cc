// The store on a disk that loses power, fails and fills up: nothing acknowledged is lost, nothing refused appears,
// and what failed ends the process.
#include <gtest/gtest-spi.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "cd4ml/base/log.h"
#include "fixture.h"
#include "store/migrate.h"
#include "tests/support/crash_vfs.h"
#include "tests/support/long_tests.h"

namespace cd4ml::store {
namespace {

// Starts runs and remembers what it was told about each.
class Stress : public testing::Test {
 protected:
  enum class Fate { kAcknowledged, kRefused, kUnknown };
  struct Tally {
    int64_t acknowledged = 0, refused = 0, unknown = 0;
    int64_t lost = 0, appeared = 0, corrupt = 0;  // Must all be 0.
    int64_t surfaced = 0;                         // Unknown ones that turned out to be recorded.
  };

  Stress() {
    OpenLog("store_test", LogLevel::kError, "/dev/null");  // Thousands of warnings.
    options_ = {.path = "/stress.db", .vfs = vfs_.name()};
    options_.fail_stop = [this](const absl::Status&) { ++stops_; };
    auto store = OpenStateStore(options_);
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    PipelineRecord pipeline;
    pipeline.name = "car";
    EXPECT_TRUE((*store)->Commit({PipelineChange{pipeline}}).ok());
    store->reset();
    empty_ = vfs_.Save();
  }

  void Reset() {
    vfs_.Heal();
    vfs_.KillProcess();
    vfs_.Restore(empty_);
    fates_.clear();
    stops_ = 0;
  }

  absl::Status StartRun(StateStore& store, int64_t number) {
    core::StartRun start = CarRun(number);
    start.stages.resize(1);
    start.trigger.key = "key-" + std::to_string(number);
    start.trigger.reason = std::string(random_() % 6'000, 'r');  // Up to two pages.
    core::Run run;
    const auto events = core::Decide(run, start, UtcTime{number});
    return store.Commit({RunChange{start.id, 1, UtcTime{number}, *events}});
  }

  // Starts the next run. Returns what the store says.
  absl::Status Try(StateStore& store) {
    const int64_t number = static_cast<int64_t>(fates_.size()) + 1;
    const absl::Status status = StartRun(store, number);
    fates_[number] = status.ok()                           ? Fate::kAcknowledged
                     : absl::IsResourceExhausted(status) ? Fate::kRefused
                                                           : Fate::kUnknown;
    (status.ok() ? tally_.acknowledged : absl::IsResourceExhausted(status) ? tally_.refused : tally_.unknown) += 1;
    return status;
  }

  // Opens the store again and compares it with what was said. Unknown runs become known.
  std::unique_ptr<StateStore> Reconcile() {
    vfs_.Heal();
    auto store = OpenStateStore(options_);
    auto state = store.ok() ? (*store)->Load() : store.status();
    if (!state.ok()) {
      ADD_FAILURE() << state.status().ToString();
      ++tally_.corrupt;
      return nullptr;
    }
    std::set<int64_t> there;
    for (const core::Run& run : state->open_runs) there.insert(run.number);
    for (auto& [number, fate] : fates_) {
      const bool is_there = there.erase(number) > 0;
      tally_.lost += fate == Fate::kAcknowledged && !is_there;
      tally_.appeared += fate == Fate::kRefused && is_there;
      tally_.surfaced += fate == Fate::kUnknown && is_there;
      if (fate == Fate::kUnknown) fate = is_there ? Fate::kAcknowledged : Fate::kRefused;
    }
    tally_.appeared += static_cast<int64_t>(there.size());
    return *std::move(store);
  }

  void ExpectNothingLost() const {
    EXPECT_EQ(tally_.lost, 0);
    EXPECT_EQ(tally_.appeared, 0);
    EXPECT_EQ(tally_.corrupt, 0);
  }
  void Print(const char* what, int64_t count) const {
    printf("%s: %lld; acknowledged %lld, refused %lld, unknown %lld (%lld of them recorded); lost %lld, appeared %lld, "
           "corrupt %lld\n",
           what, static_cast<long long>(count), static_cast<long long>(tally_.acknowledged),
           static_cast<long long>(tally_.refused), static_cast<long long>(tally_.unknown),
           static_cast<long long>(tally_.surfaced), static_cast<long long>(tally_.lost),
           static_cast<long long>(tally_.appeared), static_cast<long long>(tally_.corrupt));
  }

  // Cuts the power at a random change of every life of the store. Stops early when a store is damaged.
  void CutPower(int cycles, bool ignores_syncs = false) {
    for (int cycle = 0; cycle < cycles; ++cycle) {
      if (cycle % 10 == 0) Reset();
      vfs_.SetIgnoresSyncs(ignores_syncs);
      vfs_.DieAtChange(1 + static_cast<int64_t>(random_() % 150));
      auto store = OpenStateStore(options_);
      while (store.ok() && Try(**store).ok()) {
        if (random_() % 8 == 0) (*store)->Idle();
      }
      vfs_.PowerCut(std::ref(random_));
      store = absl::UnknownError("closed");
      if (Reconcile() == nullptr) Reset();
    }
  }

  CrashVfs vfs_{"stress"};
  std::mt19937_64 random_{20'24};
  StoreOptions options_;
  CrashVfs::Image empty_;
  std::map<int64_t, Fate> fates_;  // By number of the run.
  Tally tally_;
  int stops_ = 0;
};

TEST_F(Stress, PowerCutsLoseNothingThatWasAcknowledged) {
  const int cycles = AreTestsLong() ? 100'000 : 3'000;

  CutPower(cycles);

  Print("power cuts", cycles);
  ExpectNothingLost();
  EXPECT_GT(tally_.acknowledged, cycles);
  EXPECT_GT(tally_.surfaced, 0) << "the outcome of a failed commit was never open";
}

// The test of the test: a store that asks for too few syncs is found out.
TEST_F(Stress, PowerCutsWithoutSyncsAreNoticed) {
  testing::TestPartResultArray damaged;
  {
    const testing::ScopedFakeTestPartResultReporter expected(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &damaged);
    CutPower(200, true);
  }

  Print("power cuts without syncs", 200);
  EXPECT_GT(tally_.lost + tally_.corrupt, 0);
}

class Failures : public Stress {
 protected:
  // A life of the store with everything in it: opening, commits, a checkpoint, a reader. Returns the first error.
  absl::Status Live() {
    auto store = OpenStateStore(options_);
    CD4ML_RETURN_IF_ERROR(store.status());
    store_ = *std::move(store);
    was_open_ = true;
    auto history = OpenHistory(options_);
    CD4ML_RETURN_IF_ERROR(history.status());
    for (int i = 0; i < 4; ++i) CD4ML_RETURN_IF_ERROR(Try(*store_));
    store_->Idle();
    CD4ML_RETURN_IF_ERROR((*history)->ListRuns({}).status());
    for (int i = 0; i < 3; ++i) CD4ML_RETURN_IF_ERROR(Try(*store_));
    CD4ML_RETURN_IF_ERROR((*history)->GetRun("car/1").status());
    return store_->FindByKey("key-1").status();
  }

  // Fails the first, second ... call of a kind until a whole life needs fewer. Returns how many there were.
  int64_t FailEach(bool is_the_writers, const std::function<void(int64_t nth)>& fail) {
    int64_t nth = 1;
    for (int whole = 0; whole < 3 && nth < 10'000; ++nth) {
      Reset();
      was_open_ = false;
      fail(nth);
      const absl::Status status = Live();
      vfs_.Heal();
      if (status.ok() && stops_ == 0) {  // Three in a row: no fault was simply passed over.
        ++whole;
      } else {
        whole = 0;
        EXPECT_EQ(stops_ > 0, was_open_) << "call " << nth << ": " << status.ToString();
        // A store that has failed answers nothing any more, though the disk is well again.
        if (store_ != nullptr && is_the_writers) {
          EXPECT_TRUE(absl::IsDataLoss(store_->Commit({})));
          EXPECT_TRUE(absl::IsDataLoss(store_->Load().status()));
          EXPECT_TRUE(absl::IsDataLoss(store_->FindByKey("key-1").status()));
        }
      }
      nth % 2 == 0 ? vfs_.KillProcess() : vfs_.PowerCut(std::ref(random_));
      store_.reset();  // Not before: a process that ends at once does not tidy up.
      RetryWithKey(Reconcile());
    }
    return nth - 4;
  }

  // Whoever does not know asks again under the same key, and there is one run.
  void RetryWithKey(std::unique_ptr<StateStore> store) {
    ASSERT_NE(store, nullptr);
    for (const auto& [number, fate] : fates_) {
      auto earlier = store->FindByKey("key-" + std::to_string(number));
      ASSERT_OK(earlier.status());
      ASSERT_EQ(earlier->has_value(), fate == Fate::kAcknowledged);
      if (!earlier->has_value()) ASSERT_OK(StartRun(*store, number));
    }
    EXPECT_EQ(store->Load()->open_runs.size(), fates_.size());
  }

  std::unique_ptr<StateStore> store_;
  bool was_open_ = false;
};

TEST_F(Failures, OfAnySyncEndTheProcessAndAreReconciled) {
  const int64_t points = FailEach(
      true, [this](int64_t nth) { vfs_.FailSync(nth, CrashVfs::Times::kOnce, std::ref(random_)); });

  Print("failed syncs", points);
  ExpectNothingLost();
  EXPECT_GT(points, 10);
  EXPECT_GT(tally_.surfaced, 0);
}

TEST_F(Failures, OfAnyWriteEndTheProcessAndAreReconciled) {
  const int64_t points = FailEach(true, [this](int64_t nth) {
    vfs_.FailWrite(nth, CrashVfs::Times::kOnce, SQLITE_IOERR_WRITE);
  });

  Print("failed writes", points);
  ExpectNothingLost();
  EXPECT_GT(points, 50);
}

TEST_F(Failures, OfAnyReadEndTheProcessAndAreReconciled) {
  const int64_t points =
      FailEach(false, [this](int64_t nth) { vfs_.FailRead(nth, CrashVfs::Times::kOnce); });

  Print("failed reads", points);
  ExpectNothingLost();
  EXPECT_GT(points, 20);
}

class FullDisk : public Stress {};

TEST_F(FullDisk, AtAnyWriteRefusesAndGoesOn) {
  int64_t points = 0;
  for (const auto times : {CrashVfs::Times::kOnce, CrashVfs::Times::kForGood}) {
    int64_t nth = 1;
    for (bool has_struck = true; has_struck && nth < 10'000; ++nth, ++points) {
      Reset();
      const int64_t before = vfs_.writes(), refused_before = tally_.refused;
      vfs_.FailWrite(nth, times, SQLITE_FULL);
      auto store = OpenStateStore(options_);
      if (store.ok()) {
        for (int i = 0; i < 8; ++i) (void)Try(**store);
        (*store)->Idle();
        const bool was_full = (*store)->CheckSpace().code() == absl::StatusCode::kResourceExhausted;
        if (times == CrashVfs::Times::kForGood && tally_.refused > refused_before) {
          EXPECT_TRUE(was_full);
        }
        vfs_.Heal();
        ASSERT_OK((*store)->CheckSpace());
        ASSERT_OK(Try(**store));
      }
      EXPECT_EQ(stops_, 0) << "write " << nth;
      has_struck = vfs_.writes() - before >= nth;
      nth % 2 == 0 ? vfs_.KillProcess() : vfs_.PowerCut(std::ref(random_));
      store = absl::UnknownError("closed");
      ASSERT_NE(Reconcile(), nullptr);
    }
  }
  Print("writes to a full disk", points);
  ExpectNothingLost();
  EXPECT_GT(tally_.refused, 50);
}

TEST_F(FullDisk, ThatFillsAndEmptiesAtRandomLosesNothing) {
  const int cycles = AreTestsLong() ? 100'000 : 3'000;
  for (int cycle = 0; cycle < cycles; ++cycle) {
    if (cycle % 10 == 0) Reset();
    auto store = OpenStateStore(options_);
    ASSERT_OK(store.status());
    int64_t bytes = 0;
    for (const auto& [name, content] : vfs_.Save()) bytes += static_cast<int64_t>(content.size());
    vfs_.SetBytesMax(bytes + static_cast<int64_t>(random_() % 60'000));
    const bool loses_power = random_() % 2 == 0;
    for (int i = 0; i < 9; ++i) {
      if (i == 5 && random_() % 2 == 0) vfs_.SetBytesMax(std::nullopt);
      if (i == 7 && loses_power) vfs_.DieAtChange(1 + static_cast<int64_t>(random_() % 30));
      (void)Try(**store);
      if (random_() % 8 == 0) (void)(*store)->CheckSpace();
    }
    if (!loses_power) {
      EXPECT_EQ(stops_, 0);
    }
    stops_ = 0;
    vfs_.PowerCut(std::ref(random_));
    *store = nullptr;
    ASSERT_NE(Reconcile(), nullptr);
  }
  Print("full disks", cycles);
  ExpectNothingLost();
  EXPECT_GT(tally_.refused, cycles / 2);
  EXPECT_GT(tally_.acknowledged, cycles);
}

// On a real file system, filled to the last byte: results still go in, unless nothing was held back for them.
TEST_F(FullDisk, StillTakesResultsWhenSpaceWasHeldBack) {
  const TempFolder folder;
  if (mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=8m") != 0) GTEST_SKIP() << "cannot mount a tmpfs here";
  for (const int64_t ballast : {64 << 20, 0}) {
    options_ = {.path = folder / "cd4ml.db", .ballast = ballast};
    const std::string held_back = options_.path + ".ballast", filler = folder / "filler";
    auto store = OpenStateStore(options_);
    ASSERT_OK(store.status());
    PipelineRecord pipeline;
    pipeline.name = "car";
    ASSERT_OK((*store)->Commit({PipelineChange{pipeline}}));
    ASSERT_OK((*store)->CheckSpace());
    EXPECT_EQ(std::filesystem::exists(held_back), ballast > 0);
    std::ofstream(filler) << std::string(8 << 20, 'x');
    int64_t number = ballast > 0 ? 1 : 1'000;
    // A log that is overwritten in place needs no space for a while.
    absl::Status status;
    while (status.ok() && (*store)->CheckSpace().ok()) status = StartRun(**store, number++);

    EXPECT_TRUE(absl::IsResourceExhausted((*store)->CheckSpace()));
    EXPECT_EQ(status.ok(), ballast > 0) << status.ToString();
    EXPECT_FALSE(std::filesystem::exists(held_back));
    if (ballast > 0) {
      for (int i = 0; i < 3; ++i) ASSERT_OK(StartRun(**store, number++));
      const std::string what = Message((*store)->CheckSpace());
      EXPECT_NE(what.find(folder.path()), std::string::npos) << what;
    }
    std::filesystem::remove(filler);
    ASSERT_OK((*store)->CheckSpace());
    EXPECT_EQ(std::filesystem::exists(held_back), ballast > 0);
    ASSERT_OK(StartRun(**store, number));
    std::filesystem::remove(held_back);
  }
  EXPECT_EQ(umount(folder.path().c_str()), 0);
}

// --- upgrades of the schema ---------------------------------------------------------------------------------------

class Upgrade : public testing::Test {
 protected:
  Upgrade() {
    OpenLog("store_test", LogLevel::kError, "/dev/null");
    EXPECT_TRUE(Apply({old_}).ok());
    {
      auto database = Open();
      std::string rows = "BEGIN;";
      for (int i = 0; i < 300; ++i) rows += "INSERT INTO run (name, notes) VALUES ('r', hex(randomblob(1000)));";
      EXPECT_TRUE(database->Execute(rows + "COMMIT").ok());
      before_ = Describe(*database);
    }
    image_ = vfs_.Save();
    EXPECT_TRUE(Apply({old_, two_, three_}).ok());
    after_ = Describe(*Open());
  }

  std::unique_ptr<Database> Open() {
    auto database = Database::Open("/upgrade.db", vfs_.name(), Database::Access::kWrite);
    EXPECT_TRUE(database.ok()) << database.status().ToString();
    return *std::move(database);
  }
  absl::Status Apply(const std::vector<Migration>& migrations) {
    auto database = Database::Open("/upgrade.db", vfs_.name(), Database::Access::kWrite);
    CD4ML_RETURN_IF_ERROR(database.status());
    return Migrate(**database, migrations, [](int) { return absl::OkStatus(); });
  }

  // Version, schema and content.
  static std::string Describe(Database& database) {
    std::string all = *database.Ask("PRAGMA user_version") + "\n" + *database.Ask("PRAGMA integrity_check") + "\n" +
                      *database.Ask("SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY name)");
    for (const char* sql : {"SELECT group_concat(version || name || script_digest) FROM schema_migration",
                            "SELECT count(*) || sum(length(notes)) FROM run", "SELECT count(*) FROM run_note",
                            "SELECT sum(length(text)) FROM run_note", "SELECT sum(state) FROM run"}) {
      all += "\n" + database.Ask(sql).value_or("-");
    }
    return all;
  }

  // Ends the process or the power at every `stride`-th change of an upgrade. Returns how often, and how often what
  // was found then was neither old nor new.
  std::pair<int, int> Interrupt(int64_t stride, const std::function<void()>& upgrade) {
    int points = 0, between = 0;
    for (int64_t at = 1;; at += stride) {
      vfs_.Restore(image_);
      vfs_.DieAtChange(at);
      upgrade();
      const bool is_whole = !vfs_.is_dying();
      points % 2 == 0 ? vfs_.PowerCut(std::ref(random_)) : vfs_.KillProcess();
      vfs_.Heal();
      const std::string found = Describe(*Open());
      between += found != before_ && found != after_;
      if (is_whole) return {points, between};
      ++points;
      // Whatever it is, the next start goes on from there.
      EXPECT_TRUE(Apply({old_, two_, three_}).ok());
      EXPECT_EQ(Describe(*Open()), after_);
    }
  }

  const Migration old_{"0001_old", "CREATE TABLE run (id INTEGER PRIMARY KEY, name TEXT, notes TEXT) STRICT;"};
  const Migration two_{"0002_notes",
                       "CREATE TABLE run_note (run INTEGER, text TEXT) STRICT; INSERT INTO run_note SELECT id, notes "
                       "FROM run; CREATE INDEX run_note_by_run ON run_note (run);"};
  const Migration three_{"0003_state",
                         "ALTER TABLE run DROP COLUMN notes; ALTER TABLE run ADD COLUMN state INTEGER; "
                         "UPDATE run SET state = id; CREATE INDEX run_by_state ON run (state);"};
  CrashVfs vfs_{"upgrade"};
  std::mt19937_64 random_{7};
  CrashVfs::Image image_;
  std::string before_, after_;
};

TEST_F(Upgrade, IsWholeOrHasNotHappenedWhereverItIsInterrupted) {
  ASSERT_NE(before_, after_);

  const auto [points, between] =
      Interrupt(1, [this] { (void)Apply({old_, two_, three_}); });

  printf("interrupted upgrades: %d, neither old nor new: %d\n", points, between);
  EXPECT_EQ(between, 0);
  EXPECT_GE(points, 500);
}

// The test of the test: one transaction per migration is found out.
TEST_F(Upgrade, InSeveralTransactionsIsNoticed) {
  const auto [points, between] = Interrupt(20, [this] {
    (void)Apply({old_, two_});
    (void)Apply({old_, two_, three_});
  });

  EXPECT_GT(between, 0) << "of " << points;
}

}  // namespace
}  // namespace cd4ml::store
