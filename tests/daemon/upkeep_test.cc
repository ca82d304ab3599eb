// Backups of a real store with real blobs: whole, verified, or not there; and damage that is found wherever it is.
#include "cd4ml/daemon/upkeep.h"

#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "cd4ml/blob/open_blob_store.h"
#include "cd4ml/crypto/ed25519.h"
#include "cd4ml/os/os.h"
#include "tests/store/fixture.h"
#include "tests/store/raw.h"
#include "tests/support/temp_dir.h"
#include "tests/support/long_tests.h"

namespace cd4ml::daemon {
namespace {

namespace fs = std::filesystem;

// A clock that a question takes a millisecond of.
class SlowClock : public Clock {
 public:
  UtcTime Now() const override { return UtcTime{1'772'452'800'000} + Steady(); }
  Duration Steady() const override { return elapsed_ += Duration(1); }

 private:
  mutable Duration elapsed_{0};
};

// Passes everything on to a store that it owns; tests change one method.
struct MovedBlobs : BlobStore {
  explicit MovedBlobs(std::unique_ptr<BlobStore> to) : inner(std::move(to)) {}
  absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override { return inner->Create(); }
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest& digest, int64_t offset) override {
    return inner->Open(digest, offset);
  }
  absl::StatusOr<int64_t> Size(const Digest& digest) override { return inner->Size(digest); }
  absl::Status Remove(const Digest& digest) override { return inner->Remove(digest); }
  absl::StatusOr<Digest> PutFile(const std::string& path, bool may_link, const std::stop_token& stop) override {
    return inner->PutFile(path, may_link, stop);
  }
  absl::Status Materialize(const Digest& digest, const std::string& path, bool executable, bool may_link,
                           const std::stop_token& stop) override {
    return inner->Materialize(digest, path, executable, may_link, stop);
  }

  std::unique_ptr<BlobStore> inner;
};

// Runs of a store whose artifacts are there: `train.model` is a folder of two files.
class Upkeep : public store::StoreTest {
 protected:
  void SetUp() override {
    fs::create_directories(folder_ / "state");
    options_.path = folder_ / "state/cd4ml.db";
    Open();
    ASSERT_OK(store_->Commit({PipelineChange{Pipeline("car")}}));
    blobs_ = OpenBlobStore(folder_ / "state/blobs").value();
    records_ = store::OpenInspector({.path = options_.path}).value();
    signer_ = crypto::OpenSigner(folder_ / "signing.key").value();
    ASSERT_TRUE(PutBytes(*blobs_, "definition").ok());
  }

  // A run like StoreTest::RunCar, whose outputs are stored first.
  void RunStored(int64_t number, const std::string& salt) {
    ASSERT_TRUE(PutBytes(*blobs_, "listings " + std::to_string(number)).ok());
    core::Run run;
    ASSERT_OK(Do(run, store::CarRun(number)));
    for (const char* stage : {"validate", "train", "evaluate", "package", "release"}) {
      core::Outcome outcome = store::GoodOutcome(stage, salt);
      for (core::ProducedOutput& output : outcome.outputs) Store(output, salt);
      ASSERT_OK(Perform(run, stage, outcome));
    }
  }

  void Store(core::ProducedOutput& output, const std::string& salt) {
    if (output.type != core::OutputType::kModel) {
      ASSERT_EQ(PutBytes(*blobs_, output.name + " " + salt).value(), output.artifact.digest);
      return;
    }
    TempDir dir;
    dir.Write("model/weights", "weights " + salt);
    dir.Write("model/config", "the same in every run");
    output.artifact = PutArtifact(*blobs_, dir.At("model"), false).value();
  }

  UpkeepPorts MakePorts() {
    return {.files = *files_,
            .clock = *clock_,
            .open_blobs = [](const std::string& dir) { return OpenBlobStore(dir); },
            .open_records = [](const std::string& path) { return store::OpenInspector({.path = path}); },
            .lock_dir = [](const std::string& dir) -> absl::StatusOr<std::shared_ptr<void>> {
              auto lock = os::LockDir(dir);
              if (!lock.ok()) return lock.status();
              return std::shared_ptr<os::DirLock>(*std::move(lock));
            },
            .sync = os::SyncPath,
            .make_temp_dir = os::MakeTempDir,
            .signer = signer_.get(),
            .check_signature = crypto::CheckSignature};
  }

  absl::StatusOr<BackupReport> Create() { return CreateBackup(*records_, *blobs_, dir_, MakePorts(), {}); }
  absl::StatusOr<ScrubReport> Verify() { return VerifyBackup({.dir = dir_}, MakePorts(), {}); }
  absl::StatusOr<ScrubReport> RestoreTo(const std::string& name) {
    return daemon::Restore({.dir = dir_}, folder_ / name, MakePorts(), {});
  }

  static std::vector<fs::path> Blobs(const std::string& dir) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(dir + "/blobs/objects")) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
  }
  size_t Backups() const {
    std::error_code error;
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_ + "/backups", error), {}));
  }

  // Writes as a disk changes things by itself: mode and time stay.
  static void Overwrite(const fs::path& file, const std::string& bytes) {
    struct stat facts {};
    ASSERT_EQ(stat(file.c_str(), &facts), 0);
    ASSERT_EQ(chmod(file.c_str(), 0600), 0);
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
    const timespec times[2] = {facts.st_atim, facts.st_mtim};
    ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
    ASSERT_EQ(chmod(file.c_str(), facts.st_mode & 07777), 0);
  }

  const std::string dir_ = folder_ / "backup";
  const std::unique_ptr<FileSystem> files_ = os::MakeFileSystem();
  const std::unique_ptr<Clock> clock_ = os::MakeClock();
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<Inspector> records_;
  std::unique_ptr<Signer> signer_;
};

std::string Text(const LineageGraph& graph) {
  std::string text = graph.root + "\n";
  for (const LineageNode& node : graph.nodes)
    text += node.id + " " + node.label + " " + FormatTime(node.at) + " " + ToJson(node.facts) + "\n";
  for (const LineageEdge& edge : graph.edges) text += edge.from + " -> " + edge.to + "\n";
  return text;
}

TEST_F(Upkeep, ARestoredStoreAnswersEveryQuestionOfTheOriginal) {
  RunStored(1, "one");
  RunStored(2, "two");
  ASSERT_OK(store_->Commit({PredictionChange{{{"car/2/release", "req-7", Tick(), Value::Map{{"age", 3}}, 9'800.0}}}}));
  ASSERT_OK(Create().status());
  ASSERT_OK(RestoreTo("elsewhere").status());

  const auto restored = store::OpenHistory({.path = folder_ / "elsewhere/cd4ml.db"}).value();
  std::vector<std::string> references = {"car/1", "car/2", "req-7", "car/production", "car/1/release", "car/2/train"};
  for (const char* reference : {"car/1", "car/2"}) {
    const core::Run run = history().GetRun(reference).value();
    references.push_back(run.pins.commit);
    references.push_back(core::VersionId(run.pins.materials.at("listings")));
    for (const char* output : {"validate.clean", "train.model", "package.service"})
      references.push_back(core::VersionId(*core::FindVersion(run, output)));
    EXPECT_EQ(restored->GetRun(reference).value().pins.params, run.pins.params);
  }
  for (const std::string& reference : references) {
    for (const LineageDirection direction : {LineageDirection::kUp, LineageDirection::kDown}) {
      const auto is = restored->TraceLineage(reference, direction, 0);
      const auto was = history().TraceLineage(reference, direction, 0);
      ASSERT_EQ(is.status(), was.status()) << reference;
      if (was.ok()) {
        EXPECT_EQ(Text(*is), Text(*was)) << reference;
      }
    }
  }
  EXPECT_EQ(restored->ListDeployments("", {}, 10).value().size(), 2u);
  EXPECT_EQ(restored->ListRuns({}).value().size(), 2u);
  EXPECT_EQ(restored->Predictions("car/2/release", {}, UtcTime{INT64_MAX}, 10).value().size(), 1u);
  // Every blob of the original is there, and the new store goes on where the old one was.
  EXPECT_EQ(Blobs(folder_ / "elsewhere").size(), Blobs(folder_ / "state").size());
  const auto writer = store::OpenStateStore({.path = folder_ / "elsewhere/cd4ml.db"});
  ASSERT_OK(writer.status());
  EXPECT_EQ((*writer)->Load().value().last_run_number.at("car"), 2);
}

TEST_F(Upkeep, CopiesOnlyWhatIsNotThereYet) {
  RunStored(1, "one");
  const BackupReport first = Create().value();
  const BackupReport second = Create().value();
  RunStored(2, "two");
  const BackupReport third = Create().value();

  EXPECT_EQ(first.blobs, 7);   // Definition, listings, clean, service, the model's listing and its two files.
  EXPECT_EQ(first.blobs_copied, 7);
  EXPECT_EQ(second.blobs_copied, 0);
  EXPECT_EQ(third.blobs, 12);
  EXPECT_EQ(third.blobs_copied, 5);
  EXPECT_EQ(Backups(), 3u);
  EXPECT_TRUE(Verify().value().damage.empty());
  EXPECT_EQ(Verify().value().blobs, 12);
}

TEST_F(Upkeep, FindsEveryKindOfDamageInEveryBlobOfABackup) {
  RunStored(1, "one");
  ASSERT_OK(Create().status());
  std::mt19937 random(7);
  for (const fs::path& file : Blobs(dir_)) {
    const std::string good = FileBytes(file);
    const std::string digest = file.parent_path().filename().string() + file.filename().string();
    std::string flipped = good;
    const size_t bit = random() % (good.size() * 8);
    flipped[bit / 8] ^= static_cast<char>(1 << bit % 8);
    for (const std::string& bad : {flipped, good.substr(1), good.substr(0, good.size() - 1), std::string(), good + "x"}) {
      Overwrite(file, bad);
      const auto restored = RestoreTo("restored");
      EXPECT_TRUE(absl::IsDataLoss(restored.status())) << restored.status();
      EXPECT_NE(Message(restored.status()).find(digest), std::string::npos) << restored.status();
      EXPECT_FALSE(fs::exists(folder_ / "restored"));
      // It was moved aside; so it is gone now, and still found.
      const auto verified = Verify();
      EXPECT_TRUE(absl::IsDataLoss(verified.status()) || !verified->damage.empty()) << digest;
      fs::remove_all(folder_ / "restored.restoring");
      std::ofstream(file, std::ios::binary) << good;
    }
  }
  EXPECT_TRUE(Verify().value().damage.empty());
  EXPECT_TRUE(RestoreTo("restored").ok());
}

TEST_F(Upkeep, NeverReplacesWhatIsThere) {
  RunStored(1, "one");
  ASSERT_OK(Create().status());
  fs::create_directories(folder_ / "full");
  std::ofstream(folder_ / "full/precious") << "x";

  EXPECT_TRUE(absl::IsAlreadyExists(RestoreTo("full").status()));
  EXPECT_TRUE(absl::IsAlreadyExists(RestoreTo("state").status()));
  EXPECT_EQ(FileBytes(folder_ / "full/precious"), "x");
}

// As a process that dies at each of its steps: what was written is what is there.
TEST_F(Upkeep, StoppedAtAnyBlobARestoreLeavesNothingInPlaceAndGoesOn) {
  RunStored(1, "one");
  ASSERT_OK(Create().status());
  for (int at = 0; at < 8; ++at) {
    UpkeepPorts ports = MakePorts();
    // The store of the folder that is being made fails after so many blobs.
    struct Failing : MovedBlobs {
      using MovedBlobs::MovedBlobs;
      int left = 0;
      absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override {
        if (left-- <= 0) return absl::ResourceExhaustedError("the disk is full: 0 B are free");
        return inner->Create();
      }
    };
    ports.open_blobs = [at](const std::string& dir) -> absl::StatusOr<std::unique_ptr<BlobStore>> {
      auto opened = OpenBlobStore(dir);
      if (!opened.ok() || dir.find(".restoring") == std::string::npos) return opened;
      auto failing = std::make_unique<Failing>(*std::move(opened));
      failing->left = at;
      return failing;
    };
    const std::string target = folder_ / ("t" + std::to_string(at));
    const auto stopped = daemon::Restore({.dir = dir_}, target, ports, {});
    EXPECT_EQ(absl::IsResourceExhausted(stopped.status()), at < 7) << stopped.status();
    EXPECT_EQ(fs::exists(target), at >= 7);
    if (at < 7) {
      EXPECT_TRUE(RestoreTo("t" + std::to_string(at)).ok());
    }
    EXPECT_FALSE(fs::exists(target + ".restoring"));
    const auto records = store::OpenInspector({.path = target + "/cd4ml.db"}).value();
    const auto blobs = OpenBlobStore(target + "/blobs").value();
    EXPECT_TRUE(Scrub(*records, *blobs, *clock_, {}).value().damage.empty());
  }
}

TEST_F(Upkeep, AFullDiskLeavesTheEarlierBackupsAsTheyWere) {
  RunStored(1, "one");
  ASSERT_OK(Create().status());
  RunStored(2, "two");
  UpkeepPorts ports = MakePorts();
  struct Full : MovedBlobs {
    using MovedBlobs::MovedBlobs;
    absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override {
      return absl::ResourceExhaustedError("the disk is full: 0 B are free");
    }
  };
  ports.open_blobs = [](const std::string& dir) -> absl::StatusOr<std::unique_ptr<BlobStore>> {
    return std::make_unique<Full>(OpenBlobStore(dir).value());
  };

  EXPECT_TRUE(absl::IsResourceExhausted(CreateBackup(*records_, *blobs_, dir_, ports, {}).status()));
  EXPECT_EQ(Backups(), 1u);
  EXPECT_FALSE(fs::exists(dir_ + "/draft.db"));
  EXPECT_TRUE(Verify().value().damage.empty());
  EXPECT_EQ(Create().value().blobs_copied, 5);
}

TEST_F(Upkeep, ABackupOnAReadOnlyMediumIsVerifiedAndRestored) {
  RunStored(1, "one");
  ASSERT_TRUE(Create().ok());
  const auto mounted = [&](unsigned long flags) { return mount(dir_.c_str(), dir_.c_str(), nullptr, MS_BIND | flags, nullptr) == 0; };
  if (!mounted(0)) GTEST_SKIP() << "needs the right to mount";
  EXPECT_TRUE(mounted(MS_REMOUNT | MS_RDONLY));

  const auto verified = Verify();
  const auto restored = RestoreTo("again");
  const auto refused = Create();

  umount2(dir_.c_str(), MNT_DETACH);
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_TRUE(verified->damage.empty());
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_TRUE(restored->damage.empty());
  EXPECT_FALSE(refused.ok());
  EXPECT_FALSE(fs::exists(dir_ + "/draft.db"));
  // Damage is found there as anywhere, and stays where it is.
  Overwrite(Blobs(dir_).front(), "flipped");
  ASSERT_TRUE(mounted(0) && mounted(MS_REMOUNT | MS_RDONLY));
  const auto damaged = Verify();
  umount2(dir_.c_str(), MNT_DETACH);
  const std::string said = damaged.ok() && !damaged->damage.empty() ? damaged->damage.front().why : Message(damaged.status());
  EXPECT_NE(said.find("is damaged"), std::string::npos) << said;
  EXPECT_NE(said.find("nothing can be written"), std::string::npos) << said;
}

TEST_F(Upkeep, ADamagedStoreIsBackedUpWithWhatIsLeftAndSaysSo) {
  RunStored(1, "one");
  const core::Run run = history().GetRun("car/1").value();
  const std::string digest = core::FindVersion(run, "validate.clean")->digest;
  fs::remove(folder_ / ("state/blobs/objects/" + digest.substr(0, 2) + "/" + digest.substr(2)));

  const BackupReport report = Create().value();

  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_NE(report.damage[0].what.find(digest), std::string::npos);
  EXPECT_EQ(report.damage[0].users, std::vector<std::string>{"run car/1"});
  // What was lost before is lost after; anything more is refused.
  const auto restored = RestoreTo("restored");
  ASSERT_OK(restored.status());
  EXPECT_EQ(restored->damage.size(), 1u);
  fs::remove(Blobs(dir_).front());
  EXPECT_TRUE(absl::IsDataLoss(RestoreTo("again").status()));
}

TEST_F(Upkeep, WhatWasRemovedOnPurposeIsNoDamageUntilItIsMadeAgain) {
  RunStored(1, "a");
  const Digest clean = Sha256("clean a");
  ASSERT_OK(store_->Commit({TombstoneChange{{{clean, 7, "data:car/validate.clean", "old", "ana", UtcTime{7}}}}}));
  ASSERT_OK(blobs_->Remove(clean));

  EXPECT_TRUE(Scrub(*records_, *blobs_, *clock_, {}).value().damage.empty());
  EXPECT_EQ(Create().value().blobs, 6);
  EXPECT_TRUE(RestoreTo("restored").value().damage.empty());

  RunStored(2, "a");
  ASSERT_OK(blobs_->Remove(clean));
  const auto damage = Scrub(*records_, *blobs_, *clock_, {}).value().damage;
  ASSERT_EQ(damage.size(), 1U);
  EXPECT_NE(damage[0].what.find(clean.hex()), std::string::npos) << damage[0].what;
}

TEST_F(Upkeep, AManifestIsSignedAndNoOtherIsTaken) {
  RunStored(1, "one");
  const std::string name = Create().value().name;
  const auto other = crypto::OpenSigner(folder_ / "other.key").value();
  const fs::path file = dir_ + "/backups/" + name + ".json";
  const std::string good = FileBytes(file);

  EXPECT_TRUE(VerifyBackup({.dir = dir_, .public_key = signer_->public_key()}, MakePorts(), {}).ok());
  EXPECT_TRUE(absl::IsDataLoss(VerifyBackup({.dir = dir_, .public_key = other->public_key()}, MakePorts(), {}).status()));
  EXPECT_TRUE(absl::IsNotFound(VerifyBackup({.dir = dir_, .name = "x"}, MakePorts(), {}).status()));
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    std::string bad = good;
    bad[random() % (good.size() - 1)] ^= static_cast<char>(1 << random() % 7);
    if (bad == good) continue;
    std::ofstream(file) << bad;
    const auto verified = VerifyBackup({.dir = dir_, .public_key = signer_->public_key()}, MakePorts(), {});
    // A key id is a hint that nothing rests on.
    EXPECT_TRUE(!verified.ok() || core::ParseEnvelope(bad)->payload == core::ParseEnvelope(good)->payload) << bad;
  }
}

TEST_F(Upkeep, AScrubIsAsSlowAsItIsToBeAndStopsWhenItIsTold) {
  RunStored(1, "one");
  SlowClock clock;
  const Duration before = clock.Steady();
  const auto report = Scrub(*records_, *blobs_, clock, {.bytes_per_second = 10'000});
  ASSERT_OK(report.status());
  EXPECT_GE((clock.Steady() - before).count(), report->bytes / 10);

  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(Scrub(*records_, *blobs_, clock, {.stop = stop.get_token()}).status()));
}

TEST_F(Upkeep, AScrubFindsRandomFlipsInAllOfManyBlobs) {
  for (int64_t number = 1; number <= 20; ++number) RunStored(number, "salt " + std::to_string(number));
  const std::vector<fs::path> files = Blobs(folder_ / "state");
  std::mt19937 random(11);
  const int rounds = AreTestsLong() ? 10'000 : 100;
  for (int i = 0; i < rounds; ++i) {
    const fs::path& file = files[random() % files.size()];
    const std::string good = FileBytes(file);
    std::string bad = good;
    bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    Overwrite(file, bad);
    const Digest digest =
        Digest::Parse(file.parent_path().filename().string() + file.filename().string()).value();
    EXPECT_TRUE(absl::IsDataLoss(ReadBlob(*blobs_, digest, 1 << 20).status())) << "served";
    std::ofstream(file, std::ios::binary) << good;
  }
  EXPECT_TRUE(Scrub(*records_, *blobs_, *clock_, {}).value().damage.empty());
}

}  // namespace
}  // namespace cd4ml::daemon
