// The store on the file system: the contract, and what only files can suffer.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "cd4ml/blob/open_blob_store.h"
#include "tests/support/blob_contract.h"

namespace cd4ml {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class FileHarness {
 public:
  BlobStore& store() { return *store_; }
  std::string PathOf(const Digest& digest) const {
    return dir_.At("objects/" + digest.hex().substr(0, 2) + '/' + digest.hex().substr(2));
  }
  // Writes in place, so that hard links see it too, and leaves the mode as it was.
  void Overwrite(const Digest& digest, const std::string& bytes) const {
    const std::string path = PathOf(digest);
    chmod(path.c_str(), 0644);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    chmod(path.c_str(), 0444);
  }
  const TempDir& dir() const { return dir_; }

 private:
  TempDir dir_;
  std::unique_ptr<BlobStore> store_ = OpenBlobStore(dir_.path()).value();
};

INSTANTIATE_TYPED_TEST_SUITE_P(FileBlobStore, BlobContract, FileHarness);

class FileBlobStore : public testing::Test {
 protected:
  BlobStore& store() { return harness_.store(); }
  size_t CountBelow(const std::string& folder) const {
    const fs::directory_iterator it(harness_.dir().At(folder));
    return static_cast<size_t>(std::distance(begin(it), end(it)));
  }

  FileHarness harness_;
  TempDir dir_;
};

ino_t InodeOf(const std::string& path) {
  struct stat facts = {};
  lstat(path.c_str(), &facts);
  return facts.st_ino;
}

TEST_F(FileBlobStore, LinksAFileThatIsOursAndMakesItReadOnly) {
  const std::string path = dir_.Write("model.bin", Noise(100'000));
  const ino_t inode = InodeOf(path);

  const Digest digest = store().PutFile(path, /*may_link=*/true).value();

  EXPECT_EQ(InodeOf(harness_.PathOf(digest)), inode);
  EXPECT_EQ(ModeOf(path), 0444u);
  EXPECT_EQ(CountBelow("tmp"), 0u);
}

TEST_F(FileBlobStore, CopiesAndLeavesTheFileAloneWithoutLeaveToLink) {
  const std::string path = dir_.Write("data.csv", "a,b\n");
  const auto written = fs::last_write_time(path);

  const Digest digest = store().PutFile(path, /*may_link=*/false).value();

  EXPECT_NE(InodeOf(harness_.PathOf(digest)), InodeOf(path));
  EXPECT_EQ(ModeOf(path), 0644u);
  EXPECT_EQ(fs::last_write_time(path), written);
}

TEST_F(FileBlobStore, CopiesProgramsAndFilesKnownByAnotherNameToo) {
  const std::string program = dir_.Write("program", "#!/bin/sh\n");
  chmod(program.c_str(), 0755);
  const std::string twin = dir_.Write("twin", "twin");
  fs::create_hard_link(twin, dir_.At("other"));

  const Digest program_digest = store().PutFile(program, true).value();
  const Digest twin_digest = store().PutFile(twin, true).value();

  EXPECT_NE(InodeOf(harness_.PathOf(program_digest)), InodeOf(program));
  EXPECT_NE(InodeOf(harness_.PathOf(twin_digest)), InodeOf(twin));
  EXPECT_EQ(ModeOf(program), 0755u);
  EXPECT_EQ(ModeOf(twin), 0644u);
}

TEST_F(FileBlobStore, CopiesAFileThatSomebodyHasOpenForWriting) {
  const std::string path = dir_.Write("log", "first");
  std::ofstream writer(path, std::ios::app);

  const Digest digest = store().PutFile(path, true).value();
  writer << " second" << std::flush;

  EXPECT_EQ(digest, Sha256("first"));
  EXPECT_EQ(ReadAll(store(), digest, 0, 100).value(), "first");
  EXPECT_EQ(FileBytes(path), "first second");
  EXPECT_EQ(ModeOf(path), 0644u);
}

TEST_F(FileBlobStore, NeverStoresWrongBytesOfAFileThatKeepsChanging) {
  const std::string path = dir_.Write("busy", Noise(200'000));
  std::atomic<bool> is_done = false;
  // Opens the file anew each time, so that often nobody has it open when the store looks.
  std::jthread changer([&] {
    for (uint32_t seed = 1; !is_done; ++seed) {
      std::fstream(path, std::ios::in | std::ios::out | std::ios::binary) << Noise(200'000, seed);
    }
  });

  for (int round = 0; round < 20; ++round) {
    const auto digest = store().PutFile(path, /*may_link=*/false);
    ASSERT_TRUE(digest.ok()) << digest.status();
    EXPECT_TRUE(ReadAll(store(), *digest, 0, 65536).ok());
  }
  is_done = true;
}

TEST_F(FileBlobStore, LeavesAFileAloneWhoseBytesItHas) {
  const std::string path = dir_.Write("file", "bytes");
  const Digest digest = PutBytes(store(), "bytes").value();

  EXPECT_EQ(store().PutFile(path, true).value(), digest);

  EXPECT_EQ(ModeOf(path), 0644u);
  EXPECT_NE(InodeOf(path), InodeOf(harness_.PathOf(digest)));
}

TEST_F(FileBlobStore, StoresManyFilesAtOnceInTheirOrder) {
  std::vector<std::string> paths;
  for (int i = 0; i < 600; ++i) {
    paths.push_back(dir_.Write(std::to_string(i), Noise(10, static_cast<uint32_t>(i % 500))));
  }

  const auto digests = store().PutFiles(paths, true);

  ASSERT_TRUE(digests.ok()) << digests.status();
  ASSERT_EQ(digests->size(), 600u);
  for (uint32_t i = 0; i < 600; ++i) {
    EXPECT_EQ(digests->at(i), Sha256(Noise(10, i % 500)));
    EXPECT_EQ(ReadAll(store(), digests->at(i), 0, 100).value(), Noise(10, i % 500));
  }
  EXPECT_EQ(CountBelow("tmp"), 0u);
  paths.push_back(dir_.At("absent"));
  EXPECT_THAT(Message(store().PutFiles(paths, true).status()), HasSubstr(dir_.At("absent")));
}

TEST_F(FileBlobStore, MaterializesByHardLink) {
  const Digest digest = PutBytes(store(), "bytes").value();

  ASSERT_TRUE(store().Materialize(digest, dir_.At("a"), false, /*may_link=*/true).ok());
  ASSERT_TRUE(store().Materialize(digest, dir_.At("b"), false, /*may_link=*/false).ok());

  EXPECT_EQ(InodeOf(dir_.At("a")), InodeOf(harness_.PathOf(digest)));
  EXPECT_NE(InodeOf(dir_.At("b")), InodeOf(harness_.PathOf(digest)));
}

TEST_F(FileBlobStore, NoticesThatAStageWroteIntoALinkedInput) {
  const Digest digest = PutBytes(store(), "0123456789").value();
  ASSERT_TRUE(store().Materialize(digest, dir_.At("input"), false, true).ok());
  chmod(dir_.At("input").c_str(), 0644);
  std::fstream(dir_.At("input"), std::ios::in | std::ios::out) << "X";
  chmod(dir_.At("input").c_str(), 0444);

  const absl::Status again = store().Materialize(digest, dir_.At("next"), false, true);

  EXPECT_EQ(again.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Message(again), HasSubstr("run the stage that made it again"));
  EXPECT_FALSE(fs::exists(dir_.At("next")));
}

TEST_F(FileBlobStore, AcceptsAndSealsAgainABlobThatWasOnlyTouched) {
  const Digest digest = PutBytes(store(), "bytes").value();
  fs::last_write_time(harness_.PathOf(digest), fs::file_time_type());
  chmod(harness_.PathOf(digest).c_str(), 0644);

  EXPECT_TRUE(store().Materialize(digest, dir_.At("out"), false, true).ok());

  EXPECT_EQ(ModeOf(harness_.PathOf(digest)), 0444u);
}

TEST_F(FileBlobStore, WhatIsLongEndsWhenItIsToldAndLeavesNothingBehind) {
  std::stop_source stop;
  stop.request_stop();
  const Digest digest = PutBytes(store(), Noise(1 << 20)).value();
  const std::string path = dir_.Write("output", Noise(2 << 20));

  const auto put = store().PutFile(path, /*may_link=*/false, stop.get_token());
  const absl::Status copied =
      store().Materialize(digest, dir_.At("out"), false, /*may_link=*/false, stop.get_token());
  // With its seal broken a blob is read before it is linked.
  fs::last_write_time(harness_.PathOf(digest), fs::file_time_type());
  const absl::Status linked =
      store().Materialize(digest, dir_.At("out"), false, /*may_link=*/true, stop.get_token());

  EXPECT_EQ(put.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(copied.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(linked.code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(fs::exists(dir_.At("out")));
  EXPECT_EQ(CountBelow("tmp"), 0u);
  EXPECT_EQ(CountBelow("quarantine"), 0u);
  EXPECT_TRUE(store().Size(digest).ok());
}

TEST_F(FileBlobStore, DetectsEveryRandomBitFlip) {
  std::mt19937 random(42);
  for (int round = 0; round < 200; ++round) {
    std::string bytes = Noise(1 + random() % 2000, random());
    const Digest digest = PutBytes(store(), bytes).value();
    bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    harness_.Overwrite(digest, bytes);

    const bool is_linked = round % 2 == 0;
    const absl::Status status = is_linked ? store().Materialize(digest, dir_.At("out"), false, true)
                                          : ReadAll(store(), digest, 0, 256).status();

    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << round << ": " << status;
  }
}

TEST_F(FileBlobStore, DetectsTwoBlobsThatWereSwapped) {
  const Digest a = PutBytes(store(), "aaaa").value();
  const Digest b = PutBytes(store(), "bbbb").value();
  fs::rename(harness_.PathOf(a), dir_.At("held"));
  fs::rename(harness_.PathOf(b), harness_.PathOf(a));
  fs::rename(dir_.At("held"), harness_.PathOf(b));

  EXPECT_EQ(store().Materialize(a, dir_.At("out"), false, true).code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReadAll(store(), b, 0, 100).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(FileBlobStore, ReadsNothingThroughASymbolicLinkInPlaceOfABlob) {
  const Digest digest = PutBytes(store(), "bytes").value();
  fs::remove(harness_.PathOf(digest));
  fs::create_symlink(dir_.Write("elsewhere", "bytes"), harness_.PathOf(digest));

  EXPECT_FALSE(ReadAll(store(), digest, 0, 100).ok());
  EXPECT_FALSE(store().Materialize(digest, dir_.At("out"), false, true).ok());
}

TEST_F(FileBlobStore, NamesTheQuarantineAndForgetsTheDamagedBlob) {
  const Digest digest = PutBytes(store(), "bytes").value();
  harness_.Overwrite(digest, "bites");

  const auto read = ReadAll(store(), digest, 0, 100);

  EXPECT_THAT(Message(read.status()), HasSubstr(harness_.dir().At("quarantine/" + digest.hex())));
  EXPECT_EQ(CountBelow("quarantine"), 1u);
  EXPECT_EQ(store().Size(digest).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileBlobStore, TwoStoresShareAFolder) {
  const auto other = OpenBlobStore(harness_.dir().path()).value();
  auto writer = store().Create().value();
  ASSERT_TRUE(writer->Append("from one").ok());

  // Opening clears leftovers; what a living writer has begun is none.
  const auto third = OpenBlobStore(harness_.dir().path()).value();
  const auto digest = writer->Commit(Digest());

  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_EQ(ReadAll(*other, *digest, 0, 100).value(), "from one");
}

TEST_F(FileBlobStore, SaysWhyAFolderCannotBeOpened) {
  const auto store = OpenBlobStore(dir_.Write("file", ""));

  EXPECT_THAT(Message(store.status()), HasSubstr(dir_.At("file")));
}

// Puts blobs for ever, in all ways there are.
[[noreturn]] void PutForEver(const std::string& store_dir, const std::string& file_dir) {
  const auto store = OpenBlobStore(store_dir).value();
  for (uint32_t i = 0;; ++i) {
    PutBytes(*store, Noise(1000 + i % 50'000, i)).IgnoreError();
    const std::string path = file_dir + '/' + std::to_string(i);
    std::ofstream(path, std::ios::binary) << Noise(1000 + i % 70'000, i + 1);
    store->PutFile(path, i % 2 == 0).IgnoreError();
  }
}

TEST_F(FileBlobStore, HoldsNoWrongBlobAfterAPutterWasKilled) {
  size_t checked = 0;
  for (int round = 0; round < 5; ++round) {
    const size_t before = CountBelow("tmp");
    const pid_t child = fork();
    if (child == 0) PutForEver(harness_.dir().path(), dir_.path());
    // Killed once it has stored something, at a moment that differs from round to round.
    const auto has_begun = [&] {
      for (const auto& folder : fs::directory_iterator(harness_.dir().At("objects"))) {
        if (!fs::is_empty(folder)) return true;
      }
      return CountBelow("tmp") > before;
    };
    while (!has_begun()) std::this_thread::yield();
    for (int i = 0; i < round * 3; ++i) PutBytes(store(), Noise(100, 1000 + i)).IgnoreError();
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);

    const auto reopened = OpenBlobStore(harness_.dir().path()).value();
    EXPECT_EQ(CountBelow("tmp"), 0u);
    for (const auto& folder : fs::directory_iterator(harness_.dir().At("objects"))) {
      for (const auto& object : fs::directory_iterator(folder)) {
        const auto digest =
            Digest::Parse(folder.path().filename().string() + object.path().filename().string());
        EXPECT_TRUE(ReadAll(*reopened, *digest, 0, 65536).ok());
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, 0u);
}

// A file system of 1 MiB, where we may mount one.
class FullDisk : public testing::Test {
 protected:
  void SetUp() override {
    if (mount("tmpfs", dir_.path().c_str(), "tmpfs", 0, "size=1m") != 0) {
      GTEST_SKIP() << "needs the right to mount a tmpfs";
    }
    is_mounted_ = true;
  }
  void TearDown() override {
    if (is_mounted_) umount2(dir_.path().c_str(), MNT_DETACH);
  }

  TempDir dir_;
  TempDir elsewhere_;
  bool is_mounted_ = false;
};

TEST_F(FullDisk, RefusesWithTheNumbersAndGoesOnServing) {
  const auto store = OpenBlobStore(dir_.At("store")).value();
  const Digest small = PutBytes(*store, "small").value();

  const auto bytes = PutBytes(*store, Noise(2 << 20));
  const auto file = store->PutFile(elsewhere_.Write("big", Noise(3 << 20)), true);

  EXPECT_EQ(bytes.status().code(), absl::StatusCode::kResourceExhausted) << bytes.status();
  EXPECT_THAT(Message(bytes.status()), HasSubstr("no space left on the device"));
  EXPECT_EQ(file.status().code(), absl::StatusCode::kResourceExhausted) << file.status();
  EXPECT_THAT(Message(file.status()), HasSubstr("3.0 MiB needed"));
  EXPECT_EQ(ReadAll(*store, small, 0, 100).value(), "small");
  EXPECT_TRUE(PutBytes(*store, Noise(300'000)).ok()) << "the failed puts left something behind";
}

TEST_F(FullDisk, MaterializesNothingThatDoesNotFit) {
  const auto store = OpenBlobStore(elsewhere_.path()).value();
  const Digest big = PutBytes(*store, Noise(3 << 20)).value();

  const absl::Status status = store->Materialize(big, dir_.At("out"), false, true);

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_FALSE(fs::exists(dir_.At("out")));
}

TEST_F(FullDisk, CopiesBetweenFileSystems) {
  const auto store = OpenBlobStore(dir_.At("store")).value();

  const Digest digest = store->PutFile(elsewhere_.Write("file", "bytes"), true).value();

  ASSERT_TRUE(store->Materialize(digest, elsewhere_.At("out"), false, true).ok());
  EXPECT_EQ(FileBytes(elsewhere_.At("out")), "bytes");
}

TEST_F(FileBlobStore, OfAFolderThatDoesNotFitNothingIsTaken) {
  const auto kept = OpenBlobStore(dir_.At("store")).value();
  kept->set_limit(1'500'000);
  std::vector<std::string> paths;
  // More than are staged at a time, and two of each.
  for (int i = 0; i < 300; ++i) paths.push_back(dir_.Write("folder/" + std::to_string(i), Noise(static_cast<size_t>(10'000 + i / 2))));

  const auto half = kept->PutFiles({paths.begin(), paths.begin() + 150}, false);
  const int64_t used = kept->bytes_used();
  const auto full = kept->PutFiles(paths, false);
  const auto again = kept->PutFiles({paths.begin(), paths.begin() + 150}, false);

  ASSERT_TRUE(half.ok()) << half.status();
  EXPECT_EQ(full.status().code(), absl::StatusCode::kResourceExhausted) << full.status();
  EXPECT_THAT(Message(full.status()), HasSubstr("the artifact store is full: " + FormatSize(used) + " of 1.4 MiB are taken"));
  EXPECT_EQ(kept->bytes_used(), used) << "something of it was taken";
  EXPECT_TRUE(again.ok()) << "what is there needs no room: " << again.status();
  EXPECT_EQ(kept->bytes_used(), used);
  kept->set_limit(2'000'000);
  EXPECT_TRUE(kept->PutFiles(paths, false).ok()) << "what is there twice counts once";
}

TEST_F(FileBlobStore, TwoFoldersAtATimeStayBelowTheLimit) {
  const auto kept = OpenBlobStore(dir_.At("store")).value();
  kept->set_limit(15'000'000);
  std::vector<std::vector<std::string>> folders(4);
  for (size_t k = 0; k < folders.size(); ++k) {
    for (size_t i = 0; i < 50; ++i) folders[k].push_back(dir_.Write(std::to_string(k) + '-' + std::to_string(i), Noise(200'000 + 50 * k + i)));
  }
  std::atomic<int> stored = 0;
  {
    std::vector<std::jthread> threads;
    for (const auto& paths : folders) threads.emplace_back([&] { stored += kept->PutFiles(paths, false).ok(); });
  }
  // Each has 10 MB, which count from when they are copied.
  EXPECT_LE(stored, 1);
  EXPECT_LE(kept->bytes_used(), 15'000'000);
}

TEST_F(FileBlobStore, ReportsALimitOnTheSizeOfFiles) {
  rlimit old;
  getrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {.rlim_cur = 100'000, .rlim_max = old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);

  const auto digest = PutBytes(store(), Noise(300'000));

  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(digest.status().code(), absl::StatusCode::kResourceExhausted) << digest.status();
  EXPECT_EQ(CountBelow("tmp"), 0u);
}

}  // namespace
}  // namespace cd4ml
