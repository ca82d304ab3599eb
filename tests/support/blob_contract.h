// What every BlobStore owes its users, as a typed suite to be run against each implementation.
//
// A harness has `BlobStore& store()` and `void Overwrite(const Digest&, const std::string& bytes)`,
// which changes the stored bytes behind the store's back.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "cd4ml/base/status.h"
#include "cd4ml/ports/blob_store.h"
#include "tests/support/temp_dir.h"

namespace cd4ml {

// Returns `size` bytes that look random and differ by `seed`.
inline std::string Noise(size_t size, uint32_t seed = 1) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return bytes;
}

// Reads a blob to its end in pieces; returns what was handed out, or the first error.
inline absl::StatusOr<std::string> ReadAll(BlobStore& store, const Digest& digest, int64_t offset,
                                           size_t piece_size) {
  CD4ML_ASSIGN_OR_RETURN(const auto reader, store.Open(digest, offset));
  std::string bytes;
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(const std::string piece, reader->Read(piece_size));
    if (piece.empty()) return bytes;
    bytes += piece;
  }
}

inline mode_t ModeOf(const std::string& path) {
  struct stat facts = {};
  stat(path.c_str(), &facts);
  return facts.st_mode & 07777;
}

template <typename Harness>
class BlobContract : public testing::Test {
 protected:
  BlobStore& store() { return harness_.store(); }

  // Expects that no way out of the store hands out the blob in full.
  void ExpectDataLoss(const Digest& digest, const std::string& damaged) {
    for (const int64_t offset : {int64_t{0}, int64_t{1}}) {
      if (offset > static_cast<int64_t>(damaged.size())) continue;
      harness_.Overwrite(digest, damaged);
      const auto read = ReadAll(store(), digest, offset, 7);
      EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << read.status();
      EXPECT_NE(Message(read.status()).find(digest.hex()), std::string::npos) << read.status();
    }
    for (const bool may_link : {false, true}) {
      harness_.Overwrite(digest, damaged);
      const absl::Status status = store().Materialize(digest, dir_.At("out"), false, may_link);
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      EXPECT_FALSE(std::filesystem::exists(dir_.At("out")));
    }
  }

  Harness harness_;
  TempDir dir_;
};

TYPED_TEST_SUITE_P(BlobContract);

TYPED_TEST_P(BlobContract, ReturnsTheBytesThatWerePutUnderTheirSha256) {
  for (const size_t size : {0, 1, 63, 64, 65, 4096, (256 << 10) - 1, 256 << 10, (1 << 20) + 1}) {
    const std::string bytes = Noise(size);

    const auto digest = PutBytes(this->store(), bytes);

    ASSERT_TRUE(digest.ok()) << digest.status();
    EXPECT_EQ(*digest, Sha256(bytes));
    EXPECT_EQ(this->store().Size(*digest).value(), static_cast<int64_t>(size));
    EXPECT_TRUE(ReadAll(this->store(), *digest, 0, 1000).value() == bytes);
    EXPECT_TRUE(ReadAll(this->store(), *digest, 0, 2 << 20).value() == bytes);
  }
}

TYPED_TEST_P(BlobContract, ReadsFromAnyOffset) {
  const std::string bytes = Noise(600'000);
  const Digest digest = PutBytes(this->store(), bytes).value();

  for (const size_t offset : {0, 1, 262'143, 262'144, 262'145, 599'999, 600'000}) {
    EXPECT_TRUE(ReadAll(this->store(), digest, offset, 100'000).value() == bytes.substr(offset));
  }
  for (const int64_t offset : {int64_t{-1}, int64_t{600'001}, INT64_MAX, INT64_MIN}) {
    EXPECT_EQ(this->store().Open(digest, offset).status().code(), absl::StatusCode::kOutOfRange);
  }
}

TYPED_TEST_P(BlobContract, RefusesBytesThatAreNotTheExpectedOnes) {
  const Digest expected = Sha256("right");
  auto writer = this->store().Create().value();
  ASSERT_TRUE(writer->Append("wrong").ok());

  const auto committed = writer->Commit(expected);

  EXPECT_EQ(committed.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(this->store().Size(expected).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(this->store().Size(Sha256("wrong")).status().code(), absl::StatusCode::kNotFound);
}

TYPED_TEST_P(BlobContract, AWriterThatIsNotCommittedLeavesNothing) {
  this->store().Create().value()->Append("half").IgnoreError();

  EXPECT_EQ(this->store().Size(Sha256("half")).status().code(), absl::StatusCode::kNotFound);
}

TYPED_TEST_P(BlobContract, AnswersNotFoundForWhatIsNotThere) {
  const Digest digest = Sha256("never stored");

  EXPECT_EQ(this->store().Open(digest, 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(this->store().Size(digest).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(this->store().Materialize(digest, this->dir_.At("out"), false, true).code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(this->dir_.At("out")));
  EXPECT_TRUE(this->store().Remove(digest).ok());
}

TYPED_TEST_P(BlobContract, ForgetsWhatIsRemovedAndTakesItAgain) {
  const Digest digest = PutBytes(this->store(), "bytes").value();

  ASSERT_TRUE(this->store().Remove(digest).ok());

  EXPECT_EQ(this->store().Open(digest, 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(PutBytes(this->store(), "bytes").value(), digest);
  EXPECT_EQ(ReadAll(this->store(), digest, 0, 100).value(), "bytes");
}

TYPED_TEST_P(BlobContract, NeverServesADamagedBlob) {
  const std::string bytes = Noise(97);
  const Digest digest = PutBytes(this->store(), bytes).value();

  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    this->ExpectDataLoss(digest, flipped);
  }
  this->ExpectDataLoss(digest, bytes.substr(0, 96));
  this->ExpectDataLoss(digest, bytes.substr(1));
  this->ExpectDataLoss(digest, bytes + '\0');
  this->ExpectDataLoss(digest, bytes + bytes);
  this->ExpectDataLoss(digest, Noise(97, 2));
  this->ExpectDataLoss(digest, "");
}

TYPED_TEST_P(BlobContract, NeverServesBytesInPlaceOfAnEmptyBlob) {
  this->ExpectDataLoss(PutBytes(this->store(), "").value(), "x");
}

TYPED_TEST_P(BlobContract, PuttingTheBytesAgainMendsADamagedBlob) {
  const Digest digest = PutBytes(this->store(), "bytes").value();
  this->harness_.Overwrite(digest, "bites");

  ASSERT_TRUE(PutBytes(this->store(), "bytes").ok());

  EXPECT_EQ(ReadAll(this->store(), digest, 0, 100).value(), "bytes");
}

TYPED_TEST_P(BlobContract, StoresFiles) {
  for (const bool may_link : {false, true}) {
    const std::string path = this->dir_.Write("file", Noise(300'000, may_link));

    const auto digest = this->store().PutFile(path, may_link);

    ASSERT_TRUE(digest.ok()) << digest.status();
    EXPECT_EQ(*digest, Sha256(Noise(300'000, may_link)));
    EXPECT_TRUE(ReadAll(this->store(), *digest, 0, 4096).value() == Noise(300'000, may_link));
    std::filesystem::remove(path);
    EXPECT_TRUE(ReadAll(this->store(), *digest, 0, 4096).ok());
  }
}

TYPED_TEST_P(BlobContract, RefusesToStoreWhatIsNoRegularFile) {
  ASSERT_EQ(mkfifo(this->dir_.At("pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink(this->dir_.Write("file", "x"), this->dir_.At("link"));

  for (const bool may_link : {false, true}) {
    const auto put = [&](const std::string& path) {
      return this->store().PutFile(path, may_link).status().code();
    };
    EXPECT_EQ(put(this->dir_.At("absent")), absl::StatusCode::kNotFound);
    EXPECT_EQ(put(this->dir_.path()), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(put(this->dir_.At("pipe")), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(put(this->dir_.At("link")), absl::StatusCode::kInvalidArgument);
  }
}

TYPED_TEST_P(BlobContract, MaterializesReadOnlyFilesAndProgramsThatStart) {
  const Digest digest = PutBytes(this->store(), "#!/bin/sh\n").value();
  for (const bool may_link : {false, true}) {
    const std::string suffix = may_link ? "linked" : "copied";
    const std::string file = this->dir_.At("file." + suffix);
    const std::string program = this->dir_.At("program." + suffix);

    ASSERT_TRUE(this->store().Materialize(digest, file, false, may_link).ok());
    ASSERT_TRUE(this->store().Materialize(digest, program, true, may_link).ok());

    EXPECT_EQ(FileBytes(file), "#!/bin/sh\n");
    EXPECT_EQ(FileBytes(program), "#!/bin/sh\n");
    EXPECT_EQ(ModeOf(file), 0444u);
    EXPECT_EQ(ModeOf(program), 0555u);
  }
}

TYPED_TEST_P(BlobContract, MaterializesOnlyWhereNothingIs) {
  const Digest digest = PutBytes(this->store(), "new").value();
  const std::string there = this->dir_.Write("there", "old");
  std::filesystem::create_symlink(this->dir_.At("elsewhere"), this->dir_.At("dangling"));

  for (const bool may_link : {false, true}) {
    const auto place = [&](const std::string& path) {
      return this->store().Materialize(digest, path, false, may_link).code();
    };
    EXPECT_EQ(place(there), absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(place(this->dir_.At("dangling")), absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(place(this->dir_.At("no/such/folder")), absl::StatusCode::kNotFound);
  }
  EXPECT_EQ(FileBytes(there), "old");
  EXPECT_FALSE(std::filesystem::exists(this->dir_.At("elsewhere")));
}

TYPED_TEST_P(BlobContract, AcceptsTheSameBytesFromManyThreadsAtOnce) {
  const std::string bytes = Noise(300'000);
  const Digest digest = Sha256(bytes);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < 5; ++round) {
          EXPECT_EQ(PutBytes(this->store(), bytes).value(), digest);
          EXPECT_TRUE(ReadAll(this->store(), digest, 0, 65536).value() == bytes);
        }
      });
    }
  }
  EXPECT_TRUE(ReadAll(this->store(), digest, 0, 65536).value() == bytes);
}

REGISTER_TYPED_TEST_SUITE_P(
    BlobContract, ReturnsTheBytesThatWerePutUnderTheirSha256, ReadsFromAnyOffset,
    RefusesBytesThatAreNotTheExpectedOnes, AWriterThatIsNotCommittedLeavesNothing,
    AnswersNotFoundForWhatIsNotThere, ForgetsWhatIsRemovedAndTakesItAgain, NeverServesADamagedBlob,
    NeverServesBytesInPlaceOfAnEmptyBlob, PuttingTheBytesAgainMendsADamagedBlob, StoresFiles,
    RefusesToStoreWhatIsNoRegularFile, MaterializesReadOnlyFilesAndProgramsThatStart,
    MaterializesOnlyWhereNothingIs, AcceptsTheSameBytesFromManyThreadsAtOnce);

}  // namespace cd4ml
