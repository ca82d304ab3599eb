// Folders as data: read once, read again exactly when it must be, and never torn.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cd4ml/base/status.h"
#include "cd4ml/os/os.h"
#include "daemon/data_source.h"
#include "daemon/ranges.h"
#include "daemon/seen_files.h"
#include "tests/support/memory_blob_store.h"
#include "tests/support/temp_dir.h"
#include "tests/support/long_tests.h"

namespace cd4ml::daemon {
namespace {

using ::testing::HasSubstr;

// Counts what is hashed, and lets something happen right before.
class WatchedStore final : public BlobStore {
 public:
  absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override { return store_.Create(); }
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest& digest, int64_t offset) override {
    return store_.Open(digest, offset);
  }
  absl::StatusOr<int64_t> Size(const Digest& digest) override {
    CD4ML_ASSIGN_OR_RETURN(const int64_t size, store_.Size(digest));
    return size + unannounced;
  }
  absl::Status Remove(const Digest& digest) override { return store_.Remove(digest); }
  absl::StatusOr<Digest> PutFile(const std::string& path, bool may_link, const std::stop_token& stop) override {
    ++hashed;
    if (before) before(path);
    return store_.PutFile(path, may_link, stop);
  }
  absl::Status Materialize(const Digest& digest, const std::string& path, bool executable, bool may_link,
                           const std::stop_token& stop) override {
    return store_.Materialize(digest, path, executable, may_link, stop);
  }

  std::atomic<int> hashed = 0;
  int64_t unannounced = 0;        // Bytes of each file that its file system did not tell of.
  std::function<void(const std::string&)> before;

 private:
  MemoryBlobStore store_;
};

// Far enough after everything that a test writes, unless it says otherwise.
class SetClock final : public Clock {
 public:
  UtcTime Now() const override { return now; }
  Duration Steady() const override { return Duration(0); }
  UtcTime now = os::MakeClock()->Now() + Duration(3'600'000);
};

class NoRepo final : public SourceRepo {
 public:
  absl::StatusOr<CommitFacts> Resolve(std::string_view) override { return None(); }
  absl::StatusOr<std::string> ReadFile(std::string_view, std::string_view, int64_t) override { return None(); }
  absl::StatusOr<std::vector<std::string>> ListFiles(std::string_view, std::string_view) override { return None(); }
  absl::StatusOr<std::string> IdentifyFiles(std::string_view, const std::vector<std::string>&) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<std::vector<std::string>> ChangedPaths(std::string_view, std::string_view) override { return None(); }
  absl::Status Export(std::string_view, const std::string&) override { return None(); }

 private:
  static absl::Status None() { return absl::UnimplementedError("local data asks no repository"); }
};

class LocalDataTest : public ::testing::Test {
 protected:
  LocalDataTest() {
    settings_.state_dir = dir_.At("state");
    settings_.data_root = dir_.At("data");
    for (const std::string& folder : {settings_.state_dir, settings_.data_root}) std::filesystem::create_directory(folder);
  }

  absl::StatusOr<ArtifactRef> Read(const std::string& location, const std::string& pattern = "", bool anew = false) {
    const auto source = MakeLocalData(settings_, store_, *files_, clock_);
    core::MaterialSpec material{.name = "sales", .location = location, .pattern = pattern};
    store_.hashed = 0;
    return source->Read(material, {repo_, "", "", {}, anew});
  }
  std::string Write(const std::string& name, std::string_view bytes) { return dir_.Write("data/" + name, bytes); }

  TempDir dir_;
  Settings settings_;
  WatchedStore store_;
  SetClock clock_;
  NoRepo repo_;
  const std::unique_ptr<FileSystem> files_ = os::MakeFileSystem();
};

TEST_F(LocalDataTest, HashesWhatIsUnchangedOnlyOnce) {
  for (int i = 0; i < 50; ++i) Write("sales/" + std::to_string(i), std::to_string(i));

  const auto first = Read("sales");
  EXPECT_EQ(store_.hashed, 50);
  const auto again = Read("sales");

  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_EQ(*first, *again);
  EXPECT_EQ(first->files, 50);
  EXPECT_EQ(store_.hashed, 0);
}

TEST_F(LocalDataTest, HashesExactlyTheFileThatChanged) {
  for (int i = 0; i < 5; ++i) Write("sales/" + std::to_string(i), "old");
  const auto first = Read("sales");

  Write("sales/3", "new");
  const auto again = Read("sales");

  EXPECT_EQ(store_.hashed, 1);
  EXPECT_NE(first->digest, again->digest);
}

TEST_F(LocalDataTest, SeesAChangeThatKeepsSizeAndModificationTime) {
  const std::string path = Write("one", "aaa");
  const auto time = std::filesystem::last_write_time(path);
  const auto first = Read("one");

  std::ofstream(path) << "bbb";
  std::filesystem::last_write_time(path, time);
  const auto again = Read("one");

  EXPECT_NE(first->digest, again->digest);
}

TEST_F(LocalDataTest, DoesNotTrustAFileThatWasJustWritten) {
  // In the same tick of the file system's clock it may be written again, and nothing would tell.
  Write("one", "aaa");
  clock_.now = os::MakeClock()->Now();

  ASSERT_TRUE(Read("one").ok());
  ASSERT_TRUE(Read("one").ok());

  EXPECT_EQ(store_.hashed, 1);
}

TEST_F(LocalDataTest, ReadsAgainWhatTheStoreHasLost) {
  Write("one", "aaa");
  const auto first = Read("one");
  ASSERT_TRUE(store_.Remove(first->digest).ok());

  const auto again = Read("one");

  EXPECT_EQ(store_.hashed, 1);
  EXPECT_TRUE(store_.Size(again->digest).ok());
}

TEST_F(LocalDataTest, TakesADamagedCacheForNone) {
  Write("sales/one", "aaa");
  const auto first = Read("sales");
  for (const auto& file : std::filesystem::directory_iterator(SeenFolder(settings_))) {
    std::string text = FileBytes(file.path().string());
    // Another digest for the file: what a flipped bit would do at its worst.
    text[text.size() - 1 - std::string("\tone\n").size()] ^= 1;
    std::ofstream(file.path()) << text;
  }

  const auto again = Read("sales");

  EXPECT_EQ(store_.hashed, 1);
  EXPECT_EQ(*first, *again);
}

TEST_F(LocalDataTest, RefusesAFileThatChangesWhileItIsRead) {
  Write("sales/a", "aaa");
  const std::string path = Write("sales/b", "bbb");
  store_.before = [&](const std::string& reading) {
    if (reading == path) std::ofstream(path, std::ios::app) << "more";
  };

  const auto read = Read("sales");

  EXPECT_THAT(Message(read.status()), HasSubstr("\"" + path + "\" changed while it was read"));
}

TEST_F(LocalDataTest, AFailureCostsNothingOfWhatWasKnown) {
  for (int i = 0; i < 3'000; ++i) Write("sales/" + std::to_string(10'000 + i), "x" + std::to_string(i));
  ASSERT_TRUE(Read("sales").ok());
  const std::string path = Write("sales/10000", "changed");
  store_.before = [&](const std::string& reading) {
    if (reading == path) std::ofstream(path, std::ios::app) << "more";
  };
  ASSERT_FALSE(Read("sales").ok());

  store_.before = nullptr;
  ASSERT_TRUE(Read("sales").ok());

  EXPECT_EQ(store_.hashed, 1);
}

TEST_F(LocalDataTest, ReadsEverythingAgainWhenItIsTold) {
  Write("one", "aaa");
  ASSERT_TRUE(Read("one").ok());

  ASSERT_TRUE(Read("one", "", /*anew=*/true).ok());

  EXPECT_EQ(store_.hashed, 1);
}

TEST_F(LocalDataTest, RefusesTheDaemonsOwnFolderHoweverItIsReached) {
  const std::string key = dir_.Write("state/signing.key", "secret");
  Write("sales/a.csv", "1");
  std::filesystem::create_symlink(key, settings_.data_root + "/link");
  std::filesystem::create_directory_symlink(settings_.state_dir, settings_.data_root + "/folder");
  const TempDir elsewhere;
  std::filesystem::create_directory_symlink(dir_.path(), elsewhere.At("again"));

  for (const auto& [location, pattern] : std::vector<std::pair<std::string, std::string>>{
           {key, ""}, {"file://" + key, ""}, {"../state/signing.key", ""}, {"link", ""}, {"folder", "*.key"}, {"folder/signing.key", ""},
           {settings_.state_dir, ""}, {settings_.state_dir + "/", "*"}, {dir_.path(), ""}, {dir_.path(), "**/*.key"},
           {"..", "state/*"}, {elsewhere.At("again/state"), ""}}) {
    const auto read = Read(location, pattern);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kPermissionDenied) << location << " " << pattern << " " << read.status();
    EXPECT_THAT(Message(read.status()), HasSubstr("the daemon's own folder")) << location;
    EXPECT_EQ(store_.hashed, 0) << location;
  }
  EXPECT_TRUE(Read("..", "data/sales/*").ok()) << "what is not in it may be beside it";
}

TEST_F(LocalDataTest, CredentialsOfTheDaemonAreNoDataWhereverTheyLie) {
  dir_.Write("elsewhere/credentials", "secret");
  dir_.Write("elsewhere/table.csv", "a\n1\n");
  std::filesystem::create_symlink("credentials", dir_.At("elsewhere/link"));
  settings_.secret_files = {dir_.At("elsewhere/credentials"), dir_.At("none")};

  for (const char* location : {"elsewhere/credentials", "elsewhere/link", "elsewhere", "elsewhere/../elsewhere/credentials"}) {
    const auto read = Read(dir_.At(location));
    EXPECT_EQ(read.status().code(), absl::StatusCode::kPermissionDenied) << location << read.status();
    EXPECT_THAT(Message(read.status()), HasSubstr("holds credentials of the daemon")) << location;
  }
  EXPECT_TRUE(Read(dir_.At("elsewhere/table.csv")).ok());
}

TEST_F(LocalDataTest, TakesADataRootWithinTheDaemonsFolder) {
  dir_.Write("state/signing.key", "secret");
  dir_.Write("state/data/sales/a.csv", "1");
  dir_.Write("state/data-of-others", "2");
  settings_.data_root = dir_.At("state/data");

  EXPECT_TRUE(Read("sales").ok());
  EXPECT_EQ(Read("../signing.key").status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Read("../data-of-others").status().code(), absl::StatusCode::kPermissionDenied);
  settings_.data_root = settings_.state_dir;
  EXPECT_EQ(Read("signing.key").status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(LocalDataTest, RefusesWhatShowsTheMachineAndItsProcesses) {
  std::filesystem::create_symlink("/proc/self/environ", settings_.data_root + "/link");

  for (const char* location : {"/proc/self/environ", "link", "/proc/../proc/version", "/sys", "/dev/null", "/dev"}) {
    const auto read = Read(location);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kPermissionDenied) << location << " " << read.status();
    EXPECT_EQ(store_.hashed, 0) << location;
  }
}

TEST_F(LocalDataTest, RefusesAFileThatHoldsMoreThanItsFileSystemSays) {
  Write("one", "");
  store_.unannounced = 7;

  EXPECT_THAT(Message(Read("one").status()), HasSubstr("is said to have 0 B, but 7 B were read"));
}

TEST_F(LocalDataTest, SaysWhereAPatternBelongs) {
  Write("w/x/a.csv", "1");

  EXPECT_THAT(Message(Read("w/*.csv").status()), HasSubstr("{data: \"w\", pattern: \"*.csv\"}"));
  EXPECT_THAT(Message(Read("*/x/a.csv").status()), HasSubstr("{data: \".\", pattern: \"*/x/a.csv\"}"));
  EXPECT_EQ(PatternHint("w/a.csv"), "");
}

TEST_F(LocalDataTest, IsAFileWithoutPatternAndAFolderWithOne) {
  Write("sales/a.csv", "1");
  Write("sales/sub/b.csv", "2");
  Write("sales/c.txt", "3");

  EXPECT_EQ(Read("sales")->files, 3);
  EXPECT_EQ(Read("sales", "*.csv")->files, 1);
  EXPECT_EQ(Read("sales", "**/*.csv")->files, 2);
  EXPECT_FALSE(Read("sales/a.csv")->is_tree);
  EXPECT_THAT(Message(Read("sales", "*.json").status()), HasSubstr("matches \"*.json\""));
  EXPECT_THAT(Message(Read("sales/a.csv", "*").status()), HasSubstr("is not a folder"));
  EXPECT_THAT(Message(Read("none").status()), HasSubstr("data root"));
}

TEST(Ranges, CoverEverythingOnceAndStopAtTheFirstError) {
  std::atomic<int64_t> sum = 0;
  ASSERT_TRUE(ForRanges(1'000, 7, 4, [&](size_t begin, size_t end) {
                for (size_t i = begin; i < end; ++i) sum += static_cast<int64_t>(i);
                return absl::OkStatus();
              }).ok());
  EXPECT_EQ(sum, 999 * 500);

  std::atomic<int> called = 0;
  const absl::Status failed = ForRanges(1'000'000, 1, 2, [&](size_t, size_t) {
    ++called;
    return absl::UnavailableError("no");
  });
  EXPECT_EQ(Message(failed), "no");
  EXPECT_LE(called, 2);
  EXPECT_TRUE(ForRanges(0, 7, 4, [](size_t, size_t) { return absl::UnavailableError("never"); }).ok());
}

// A million files: only when asked for, because making them takes a minute.
TEST_F(LocalDataTest, AMillionFiles) {
  if (!AreTestsLong()) GTEST_SKIP() << "a million files take a minute; scripts/test --long makes them";
  for (int folder = 0; folder < 1'000; ++folder) {
    const std::string name = settings_.data_root + "/many/" + std::to_string(folder) + "/";
    std::filesystem::create_directories(name);
    for (int i = 0; i < 1'000; ++i) {
      const int fd = open((name + std::to_string(i)).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
      const std::string bytes = std::to_string(i);
      ASSERT_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
      close(fd);
    }
  }

  const auto first = Read("many");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->files, 1'000'000);
  EXPECT_EQ(store_.hashed, 1'000'000);
  EXPECT_EQ(Read("many")->digest, first->digest);
  EXPECT_EQ(store_.hashed, 0);
}

}  // namespace
}  // namespace cd4ml::daemon
