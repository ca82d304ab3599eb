// Blobs that are kept as chunks: the contract again, what they share, and what only they can suffer.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "cd4ml/blob/open_blob_store.h"
#include "tests/support/blob_contract.h"
#include "tests/support/edits.h"

namespace cd4ml {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Long after everything that a test does.
constexpr UtcTime kLater{INT64_MAX};

// Folds each blob once it is stored.
class FoldingStore final : public BlobStore {
 public:
  explicit FoldingStore(KeptBlobStore& store) : store_(store) {}

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override {
    class Writer final : public BlobWriter {
     public:
      Writer(FoldingStore& store, std::unique_ptr<BlobWriter> writer)
          : store_(store), writer_(std::move(writer)) {}
      absl::Status Append(std::string_view bytes) override { return writer_->Append(bytes); }
      absl::StatusOr<Digest> Commit(const Digest& expected) override {
        CD4ML_ASSIGN_OR_RETURN(const Digest digest, writer_->Commit(expected));
        return store_.Fold(digest);
      }
      FoldingStore& store_;
      std::unique_ptr<BlobWriter> writer_;
    };
    CD4ML_ASSIGN_OR_RETURN(auto writer, store_.Create());
    return std::make_unique<Writer>(*this, std::move(writer));
  }
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest& digest, int64_t offset) override {
    return store_.Open(digest, offset);
  }
  absl::StatusOr<int64_t> Size(const Digest& digest) override { return store_.Size(digest); }
  absl::Status Remove(const Digest& digest) override { return store_.Remove(digest); }
  absl::StatusOr<Digest> PutFile(const std::string& path, bool may_link,
                                 const std::stop_token& stop) override {
    CD4ML_ASSIGN_OR_RETURN(const Digest digest, store_.PutFile(path, may_link, stop));
    return Fold(digest);
  }
  absl::Status Materialize(const Digest& digest, const std::string& path, bool executable,
                           bool may_link, const std::stop_token& stop) override {
    return store_.Materialize(digest, path, executable, may_link, stop);
  }

 private:
  // A blob that is folded already, or by another thread just now, is not there to be folded.
  absl::StatusOr<Digest> Fold(const Digest& digest) {
    const std::lock_guard lock(mutex_);
    const absl::Status status = store_.Fold(digest, {}).status();
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    return digest;
  }

  KeptBlobStore& store_;
  std::mutex mutex_;
};

class FoldedHarness {
 public:
  BlobStore& store() { return folding_; }
  KeptBlobStore& kept() { return *store_; }
  std::string PathOf(const std::string& folder, const Digest& digest) const {
    return dir_.At(folder + '/' + digest.hex().substr(0, 2) + '/' + digest.hex().substr(2));
  }
  // Lets the blob be made of one chunk with these bytes, itself without fault.
  void Overwrite(const Digest& digest, const std::string& bytes) const {
    fs::remove(PathOf("objects", digest));
    std::string list = std::to_string(bytes.size()) + '\n';
    if (!bytes.empty()) {
      Write(PathOf("chunks", Sha256(bytes)), 'r' + bytes);
      list += Sha256(bytes).hex() + ' ' + std::to_string(bytes.size()) + '\n';
    }
    Write(PathOf("recipes", digest), list + Sha256(list).hex() + '\n');
  }
  const TempDir& dir() const { return dir_; }

 private:
  static void Write(const std::string& path, const std::string& bytes) {
    fs::create_directories(fs::path(path).parent_path());
    chmod(path.c_str(), 0644);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    chmod(path.c_str(), 0444);
  }

  TempDir dir_;
  std::unique_ptr<KeptBlobStore> store_ = OpenBlobStore(dir_.path()).value();
  FoldingStore folding_{*store_};
};

INSTANTIATE_TYPED_TEST_SUITE_P(FoldedBlobStore, BlobContract, FoldedHarness);

class FoldedBlobs : public testing::Test {
 protected:
  KeptBlobStore& store() { return harness_.kept(); }
  Digest PutFolded(const std::string& bytes) {
    const Digest digest = PutBytes(harness_.store(), bytes).value();
    EXPECT_FALSE(fs::exists(harness_.PathOf("objects", digest)));
    return digest;
  }
  std::vector<std::string> FilesBelow(const std::string& folder) const {
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(harness_.dir().At(folder))) {
      if (entry.is_regular_file()) files.push_back(entry.path().string());
    }
    return files;
  }
  static void Flip(const std::string& path, std::mt19937& random) {
    std::string bytes = FileBytes(path);
    bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    chmod(path.c_str(), 0644);
    struct stat facts = {};
    stat(path.c_str(), &facts);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    // As a disk would do it: nobody wrote, so the times are the same.
    const timespec times[2] = {facts.st_atim, facts.st_mtim};
    utimensat(AT_FDCWD, path.c_str(), times, 0);
    chmod(path.c_str(), 0444);
  }

  FoldedHarness harness_;
  TempDir dir_;
};

TEST_F(FoldedBlobs, VersionsAfterRandomEditsShareTheirChunksAndAllComeBack) {
  std::mt19937 random(7);
  std::string bytes = RandomText(2 << 20, random);
  std::map<Digest, std::string> versions;
  int64_t first = 0;
  for (int version = 0; version < 10; ++version) {
    versions[PutFolded(bytes)] = bytes;
    if (version == 0) first = store().bytes_used();
    EditAtRandom(bytes, 3, random);
  }

  for (const auto& [digest, wanted] : versions) {
    EXPECT_EQ(store().Size(digest).value(), static_cast<int64_t>(wanted.size()));
    EXPECT_TRUE(ReadAll(store(), digest, 0, 100'000).value() == wanted);
    ASSERT_TRUE(store().Materialize(digest, dir_.At(digest.hex()), false, false).ok());
    EXPECT_TRUE(FileBytes(dir_.At(digest.hex())) == wanted);
  }
  EXPECT_LT(store().bytes_used(), 4 * first) << "10 versions, each a little different";
}

TEST_F(FoldedBlobs, AreCompressedWhereItPays) {
  std::string text;
  for (int row = 0; text.size() < (2 << 20); ++row) text += std::to_string(row * 7919) + ",red,4.25\n";
  PutFolded(text);
  const int64_t of_text = store().bytes_used();
  PutFolded(Noise(2 << 20));

  EXPECT_LT(of_text, (2 << 20) / 2);
  EXPECT_LT(store().bytes_used() - of_text, (2 << 20) * 5 / 4);
}

TEST_F(FoldedBlobs, BecomeWholeToBeLinkedToAndAreFoldedAgain) {
  const std::string bytes = Noise(300'000);
  const Digest digest = PutFolded(bytes);

  ASSERT_TRUE(store().Materialize(digest, dir_.At("a"), false, true).ok());
  ASSERT_TRUE(store().Materialize(digest, dir_.At("b"), false, true).ok());

  struct stat a = {}, b = {};
  stat(dir_.At("a").c_str(), &a);
  stat(dir_.At("b").c_str(), &b);
  EXPECT_EQ(a.st_ino, b.st_ino);
  EXPECT_TRUE(FileBytes(dir_.At("a")) == bytes);
  EXPECT_TRUE(store().List()->front().is_linked);
  EXPECT_FALSE(store().List()->front().is_folded);
  EXPECT_TRUE(store().Fold(digest, {}).ok());
  EXPECT_TRUE(store().List()->front().is_folded);
  EXPECT_TRUE(ReadAll(store(), digest, 0, 4096).value() == bytes);
}

TEST_F(FoldedBlobs, NeverServeAChunkWithAFlippedBit) {
  std::mt19937 random(11);
  for (int round = 0; round < 24; ++round) {
    const std::string bytes = RandomText(200'000, random);
    const Digest digest = PutFolded(bytes);
    const auto chunks = store().Chunks(digest).value();
    Flip(harness_.PathOf("chunks", chunks[random() % chunks.size()].digest), random);

    absl::Status status;
    switch (round % 4) {
      case 0: status = ReadAll(store(), digest, 0, 5000).status(); break;
      case 1: status = store().Materialize(digest, dir_.At("out"), false, true); break;
      case 2: status = store().Materialize(digest, dir_.At("out"), true, false); break;
      default: {
        std::vector<size_t> all(chunks.size());
        for (size_t i = 0; i < all.size(); ++i) all[i] = i;
        const auto reader = store().OpenChunks(digest, chunks, all).value();
        for (std::string piece = "x"; status.ok() && !piece.empty();) {
          auto read = reader->Read(10'000);
          status = read.status();
          if (read.ok()) piece = *read;
        }
      }
    }

    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << round << ": " << status;
    EXPECT_FALSE(fs::exists(dir_.At("out")));
    EXPECT_EQ(store().Size(digest).status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(PutBytes(store(), bytes).value(), digest);
    EXPECT_TRUE(ReadAll(store(), digest, 0, 5000).value() == bytes);
  }
}

TEST_F(FoldedBlobs, ADamagedChunkIsNoticedBeforeAWholeFileIsGivenUpForIt) {
  std::mt19937 random(12);
  const std::string bytes = RandomText(1 << 20, random);
  const Digest digest = PutFolded(bytes);
  Flip(harness_.PathOf("chunks", store().Chunks(digest)->front().digest), random);
  ASSERT_TRUE(store().Remove(digest).ok());
  ASSERT_TRUE(PutBytes(store(), bytes).ok());

  EXPECT_EQ(store().Fold(digest, {}).status().code(), absl::StatusCode::kDataLoss);

  EXPECT_TRUE(ReadAll(store(), digest, 0, 5000).value() == bytes);
  EXPECT_TRUE(store().Fold(digest, {}).ok()) << "the next attempt stores the chunk again";
  EXPECT_TRUE(ReadAll(store(), digest, 0, 5000).value() == bytes);
}

TEST_F(FoldedBlobs, LooseChunksGoAndSharedOnesStay) {
  std::mt19937 random(13);
  std::string bytes = RandomText(2 << 20, random);
  const Digest one = PutFolded(bytes);
  bytes.insert(1 << 20, "an insertion");
  const Digest other = PutFolded(bytes);
  const size_t both = FilesBelow("chunks").size();

  ASSERT_TRUE(store().Remove(one).ok());
  ASSERT_TRUE(store().RemoveLoose(kLater, {}).ok());

  const size_t left = FilesBelow("chunks").size();
  EXPECT_LT(left, both);
  EXPECT_EQ(left, store().Chunks(other)->size());
  EXPECT_TRUE(ReadAll(store(), other, 0, 5000).value() == bytes);
  ASSERT_TRUE(store().Remove(other).ok());
  ASSERT_TRUE(store().RemoveLoose(kLater, {}).ok());
  EXPECT_EQ(FilesBelow("chunks").size(), 0u);
  EXPECT_EQ(store().bytes_used(), 0);
}

TEST_F(FoldedBlobs, WhatWasUsedSinceIsNotRemoved) {
  for (const bool is_folded : {false, true}) {
    const std::string bytes = is_folded ? "folded" : "whole";
    const Digest digest = is_folded ? PutFolded(bytes) : PutBytes(store(), bytes).value();
    const UtcTime put = store().List()->front().used;
    const auto used = [&] { return store().List()->front().used; };
    EXPECT_FALSE(store().RemoveUnused(digest, put).value());

    // The clock of a file system advances in steps.
    while (used() <= put) ASSERT_TRUE(store().Size(digest).ok());
    EXPECT_FALSE(store().RemoveUnused(digest, put + Duration(1)).value());
    const UtcTime asked = used();
    while (used() <= asked) ASSERT_TRUE(PutBytes(store(), bytes).ok());
    EXPECT_FALSE(store().RemoveUnused(digest, asked + Duration(1)).value());

    EXPECT_TRUE(store().RemoveUnused(digest, used() + Duration(1)).value());
    EXPECT_EQ(store().Size(digest).status().code(), absl::StatusCode::kNotFound);
  }
}

TEST_F(FoldedBlobs, AreRefusedBeyondTheLimitWhoeverStores) {
  const auto other = OpenBlobStore(harness_.dir().path()).value();
  ASSERT_TRUE(PutBytes(store(), Noise(100'000, 1)).ok());
  store().set_limit(store().bytes_used() + 150'000);

  for (BlobStore* refusing : {static_cast<BlobStore*>(other.get()), static_cast<BlobStore*>(&store())}) {
    const auto bytes = PutBytes(*refusing, Noise(200'000, 2));
    const auto file = refusing->PutFile(dir_.Write("file", Noise(200'000, 2)), true);
    EXPECT_EQ(bytes.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(file.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(Message(file.status()), HasSubstr("run `cd4ml gc`"));
  }
  EXPECT_TRUE(PutBytes(*other, Noise(100'000, 3)).ok());
  EXPECT_FALSE(PutBytes(store(), Noise(100'000, 4)).ok());
  ASSERT_TRUE(store().Remove(Sha256(Noise(100'000, 1))).ok());
  EXPECT_TRUE(PutBytes(store(), Noise(100'000, 4)).ok());
}

TEST_F(FoldedBlobs, CountingCorrectsWhatACrashLeftWrong) {
  PutFolded(Noise(300'000));
  const int64_t right = store().bytes_used();
  ASSERT_EQ(truncate(harness_.dir().At("usage").c_str(), 0), 0);
  const auto reopened = OpenBlobStore(harness_.dir().path()).value();
  ASSERT_EQ(reopened->bytes_used(), 0);

  ASSERT_TRUE(reopened->RemoveLoose(kLater, {}).ok());

  EXPECT_EQ(reopened->bytes_used(), right);
}

// Folds, unfolds and removes for ever.
[[noreturn]] void FoldForEver(const std::string& store_dir, const std::string& file_dir) {
  const auto store = OpenBlobStore(store_dir).value();
  std::mt19937 random(1);
  std::string bytes = RandomText(1 << 20, random);
  for (int i = 0;; ++i) {
    EditAtRandom(bytes, 2, random);
    const Digest digest = PutBytes(*store, bytes).value();
    store->Fold(digest, {}).IgnoreError();
    if (i % 3 == 0) {
      const std::string out = file_dir + '/' + std::to_string(i);
      store->Materialize(digest, out, false, true).IgnoreError();
      unlink(out.c_str());
      store->Fold(digest, {}).IgnoreError();
    }
    if (i % 4 == 3) store->Remove(digest).IgnoreError();
    if (i % 8 == 7) store->RemoveLoose(kLater, {}).IgnoreError();
  }
}

TEST_F(FoldedBlobs, AllThatIsThereIsRightAfterTheKeeperWasKilled) {
  size_t checked = 0;
  for (int round = 0; round < 5; ++round) {
    const pid_t child = fork();
    if (child == 0) FoldForEver(harness_.dir().path(), dir_.path());
    // Killed once it is at work, at a moment that differs from round to round.
    for (int looks = 0; looks < 3 + round * 5 || store().List()->size() < 3; ++looks) {
      std::this_thread::yield();
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);

    const auto reopened = OpenBlobStore(harness_.dir().path()).value();
    ASSERT_TRUE(reopened->RemoveLoose(kLater, {}).ok());
    const auto blobs = reopened->List().value();
    for (const StoredBlob& blob : blobs) {
      const auto bytes = ReadAll(*reopened, blob.digest, 0, 65536);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      ++checked;
    }
    EXPECT_TRUE(FilesBelow("quarantine").empty());
  }
  EXPECT_GT(checked, 5u);
}

}  // namespace
}  // namespace cd4ml
