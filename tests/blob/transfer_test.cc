// Moving blobs by chunks: only what is missing, on after a cut, verified before it is visible.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "cd4ml/blob/open_blob_store.h"
#include "tests/support/blob_contract.h"
#include "tests/support/edits.h"
#include "tests/support/memory_blob_store.h"

namespace cd4ml {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Transfer : public testing::Test {
 protected:
  // Stores `bytes` in `from_` and returns what they are.
  ArtifactRef Put(const std::string& bytes) {
    return {PutBytes(*from_, bytes).value(), false, static_cast<int64_t>(bytes.size()), 1};
  }
  static int64_t SizeOf(const std::vector<Chunk>& chunks, const std::vector<size_t>& which) {
    int64_t size = 0;
    for (const size_t i : which) size += chunks[i].size;
    return size;
  }
  // Moves what is missing of the blob, cut off after `bytes_max` bytes; returns how many were to come.
  absl::StatusOr<int64_t> Move(const Digest& digest, int64_t bytes_max) {
    CD4ML_ASSIGN_OR_RETURN(const auto chunks, from_->Chunks(digest));
    CD4ML_ASSIGN_OR_RETURN(const auto assembly, to_->Assemble(digest, chunks));
    CD4ML_ASSIGN_OR_RETURN(const auto reader, from_->OpenChunks(digest, chunks, assembly->missing()));
    EXPECT_EQ(reader->size(), SizeOf(chunks, assembly->missing()));
    int64_t moved = 0;
    while (moved < bytes_max) {
      CD4ML_ASSIGN_OR_RETURN(const std::string piece,
                             reader->Read(static_cast<size_t>(std::min<int64_t>(bytes_max - moved, 10'007))));
      if (piece.empty()) break;
      CD4ML_RETURN_IF_ERROR(assembly->Append(piece));
      moved += static_cast<int64_t>(piece.size());
    }
    if (moved == reader->size()) CD4ML_RETURN_IF_ERROR(assembly->Commit(digest).status());
    return reader->size();
  }

  TempDir from_dir_, to_dir_, dir_;
  std::unique_ptr<KeptBlobStore> from_ = OpenBlobStore(from_dir_.path()).value();
  std::unique_ptr<KeptBlobStore> to_ = OpenBlobStore(to_dir_.path()).value();
};

TEST_F(Transfer, MovesOnlyWhatRandomEditsChanged) {
  std::mt19937 random(1);
  std::string bytes = RandomText(6 << 20, random);
  ASSERT_EQ(Move(Put(bytes).digest, INT64_MAX).value(), 6 << 20);
  for (int version = 0; version < 6; ++version) {
    EditAtRandom(bytes, 2, random);
    const Digest digest = Put(bytes).digest;
    // Whether whole or folded, on both sides.
    if (version % 2 == 1) {
      ASSERT_TRUE(from_->Fold(digest, {}).ok());
    }
    if (version % 3 == 2) {
      const auto blobs = to_->List().value();
      for (const StoredBlob& blob : blobs) {
        if (blob.is_folded) continue;
        ASSERT_TRUE(to_->Fold(blob.digest, {}).ok());
      }
    }

    const auto moved = Move(digest, INT64_MAX);

    ASSERT_TRUE(moved.ok()) << moved.status();
    EXPECT_GT(*moved, 0);
    EXPECT_LE(*moved, 5 * static_cast<int64_t>(kChunkMax)) << "version " << version;
    EXPECT_TRUE(ReadAll(*to_, digest, 0, 1 << 20).value() == bytes);
  }
}

// In proportion what a hundred edits of a gibibyte are.
TEST_F(Transfer, MovesAtMostAFiftiethAfterAFewEdits) {
  std::mt19937 random(2);
  std::string bytes = RandomText(64 << 20, random);
  ASSERT_TRUE(CopyArtifact(*from_, *to_, Put(bytes)).ok());
  for (int i = 0; i < 6; ++i) bytes.insert(random() % bytes.size(), "sixteen bytes...");

  const auto moved = Move(Put(bytes).digest, INT64_MAX);

  EXPECT_LE(*moved, (64 << 20) / 50);
}

TEST_F(Transfer, KnowsWhatItHasAfterItWasOpenedAgain) {
  std::mt19937 random(3);
  std::string bytes = RandomText(4 << 20, random);
  ASSERT_TRUE(CopyArtifact(*from_, *to_, Put(bytes)).ok());
  bytes.insert(2 << 20, "edit");
  const Digest digest = Put(bytes).digest;
  to_.reset();
  to_ = OpenBlobStore(to_dir_.path()).value();

  EXPECT_LE(Move(digest, INT64_MAX).value(), 2 * static_cast<int64_t>(kChunkMax));
}

TEST_F(Transfer, GoesOnAfterACutAtAnyByte) {
  std::mt19937 random(4);
  for (int round = 0; round < 8; ++round) {
    const std::string bytes = RandomText((1 << 20) + random() % 500'000, random);
    const Digest digest = Put(bytes).digest;
    const int64_t cut = static_cast<int64_t>(random() % bytes.size());
    ASSERT_EQ(Move(digest, cut).value(), static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(to_->Size(digest).status().code(), absl::StatusCode::kNotFound);
    // Also after the receiver has ended.
    if (round % 2 == 0) {
      to_.reset();
      to_ = OpenBlobStore(to_dir_.path()).value();
    }

    const auto rest = Move(digest, INT64_MAX);

    ASSERT_TRUE(rest.ok()) << rest.status();
    EXPECT_GE(*rest, static_cast<int64_t>(bytes.size()) - cut);
    EXPECT_LE(*rest, static_cast<int64_t>(bytes.size()) - cut + static_cast<int64_t>(kChunkMax));
    EXPECT_TRUE(ReadAll(*to_, digest, 0, 1 << 20).value() == bytes);
  }
  EXPECT_TRUE(fs::is_empty(to_dir_.At("partial")));
}

TEST_F(Transfer, DoesNotTrustWhatACutLeft) {
  std::mt19937 random(5);
  const std::string bytes = RandomText(2 << 20, random);
  const Digest digest = Put(bytes).digest;
  ASSERT_TRUE(Move(digest, 1'500'000).ok());
  std::fstream(to_dir_.At("partial/" + digest.hex()), std::ios::in | std::ios::out).seekp(700'000) << "rot";

  ASSERT_TRUE(Move(digest, INT64_MAX).ok());

  EXPECT_TRUE(ReadAll(*to_, digest, 0, 1 << 20).value() == bytes);
}

TEST_F(Transfer, ShowsNothingOfBytesThatAreWrong) {
  std::mt19937 random(6);
  const std::string bytes = RandomText(2 << 20, random);
  const Digest digest = Put(bytes).digest;
  const auto chunks = from_->Chunks(digest).value();
  for (int round = 0; round < 8; ++round) {
    const auto assembly = to_->Assemble(digest, chunks).value();
    std::string wrong = bytes;
    wrong[random() % wrong.size()] ^= static_cast<char>(1 << random() % 8);
    ASSERT_TRUE(assembly->Append(wrong).ok());

    EXPECT_EQ(assembly->Commit(digest).status().code(), absl::StatusCode::kDataLoss);

    EXPECT_EQ(to_->Size(digest).status().code(), absl::StatusCode::kNotFound);
  }
  EXPECT_TRUE(Move(digest, INT64_MAX).ok());
}

TEST_F(Transfer, RefusesTooMuchTooLittleAndListsThatCannotBe) {
  const std::string bytes = Noise(2 << 20);
  const Digest digest = Put(bytes).digest;
  const auto chunks = from_->Chunks(digest).value();
  {
    const auto assembly = to_->Assemble(digest, chunks).value();
    EXPECT_EQ(assembly->Commit(digest).status().code(), absl::StatusCode::kInvalidArgument);
    ASSERT_TRUE(assembly->Append(bytes).ok());
    EXPECT_EQ(assembly->Append("x").code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(to_->Assemble(digest, chunks).status().code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_FALSE(to_->Assemble(digest, {{Sha256("x"), -1}}).ok());
  EXPECT_FALSE(to_->Assemble(digest, {{Sha256("x"), kChunkMax + 1}}).ok());
  EXPECT_FALSE(to_->Assemble(digest, {{Digest(), 1}}).ok());
}

TEST_F(Transfer, AChunkThatHasGoneBadElsewhereIsAskedFor) {
  std::mt19937 random(7);
  std::string bytes = RandomText(2 << 20, random);
  const Digest first = Put(bytes).digest;
  ASSERT_TRUE(CopyArtifact(*from_, *to_, {first, false, 2 << 20, 1}).ok());
  const std::string path = to_dir_.At("objects/" + first.hex().substr(0, 2) + '/' + first.hex().substr(2));
  chmod(path.c_str(), 0644);
  std::fstream(path, std::ios::in | std::ios::out).seekp(1000) << "rot";
  bytes += "more";

  const Digest second = Put(bytes).digest;
  ASSERT_TRUE(Move(second, INT64_MAX).ok());

  EXPECT_TRUE(ReadAll(*to_, second, 0, 1 << 20).value() == bytes);
}

TEST_F(Transfer, AWrongNoteOfTheCutsIsFoundOut) {
  const std::string bytes = Noise(2 << 20, 5);
  const Digest digest = Put(bytes).digest;
  auto chunks = from_->Chunks(digest).value();
  std::swap(chunks[0], chunks[1]);

  const auto reader = from_->OpenChunks(digest, chunks, {0}).value();

  EXPECT_EQ(reader->Read(1000).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(from_->Size(digest).ok()) << "the blob itself is without fault";
}

TEST_F(Transfer, ADamagedSourceIsFoundBeforeItIsSent) {
  const std::string bytes = Noise(2 << 20, 6);
  const Digest digest = Put(bytes).digest;
  const std::string path = from_dir_.At("objects/" + digest.hex().substr(0, 2) + '/' + digest.hex().substr(2));
  chmod(path.c_str(), 0644);
  std::fstream(path, std::ios::in | std::ios::out).seekp(1'000'000) << "rot";

  EXPECT_EQ(Move(digest, INT64_MAX).status().code(), absl::StatusCode::kDataLoss);

  EXPECT_EQ(to_->Size(digest).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Transfer, WorksWithStoresThatKnowNoChunks) {
  std::mt19937 random(8);
  const std::string bytes = RandomText(3 << 20, random);
  MemoryBlobStore memory, other;
  const Digest digest = PutBytes(memory, bytes).value();
  const ArtifactRef artifact{digest, false, 3 << 20, 1};

  ASSERT_TRUE(CopyArtifact(memory, *to_, artifact).ok());
  ASSERT_TRUE(CopyArtifact(*to_, other, artifact).ok());

  EXPECT_TRUE(ReadAll(other, digest, 0, 1 << 20).value() == bytes);
  EXPECT_EQ(memory.Chunks(digest).value(), to_->Chunks(digest).value());
}

TEST_F(Transfer, GoesOnAfterTheReceiverWasKilled) {
  std::mt19937 random(9);
  const std::string bytes = RandomText(8 << 20, random);
  const Digest digest = Put(bytes).digest;
  const auto chunks = from_->Chunks(digest).value();
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto assembly = to_->Assemble(digest, chunks).value();
    for (size_t at = 0; at < (5 << 20); at += 4096) assembly->Append(std::string_view(bytes).substr(at, 4096)).IgnoreError();
    (void)!write(ready[1], "x", 1);
    while (true) pause();
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);

  const auto rest = Move(digest, INT64_MAX);

  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_LE(*rest, (3 << 20) + static_cast<int64_t>(kChunkMax));
  EXPECT_TRUE(ReadAll(*to_, digest, 0, 1 << 20).value() == bytes);
}

TEST_F(Transfer, WhatNobodyGoesOnWithIsRemoved) {
  const Digest digest = Put(Noise(2 << 20, 7)).digest;
  ASSERT_TRUE(Move(digest, 1'000'000).ok());
  ASSERT_TRUE(to_->RemoveLoose(UtcTime{1}, {}).ok());
  EXPECT_FALSE(fs::is_empty(to_dir_.At("partial")));

  ASSERT_TRUE(to_->RemoveLoose(UtcTime{INT64_MAX}, {}).ok());

  EXPECT_TRUE(fs::is_empty(to_dir_.At("partial")));
}

}  // namespace
}  // namespace cd4ml
