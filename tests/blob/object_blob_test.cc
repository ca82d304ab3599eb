// The store in a folder of objects, over HTTP at a real S3 server process that checks signatures and can misbehave: the
// contract, transfers, collection, and every way in which a server lets one down.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <map>
#include <random>
#include <thread>

#include "blob/chunks.h"
#include "blob/object_blob_store.h"
#include "cd4ml/base/value.h"
#include "cd4ml/http/connect.h"
#include "cd4ml/http/object_store.h"
#include "tests/support/blob_contract.h"
#include "tests/support/edits.h"
#include "tests/support/memory_blob_store.h"

namespace cd4ml {
namespace {

using testing::AllOf;
using testing::Ge;
using testing::HasSubstr;
using testing::Le;
using testing::Not;

constexpr const char* kServerProgram = CD4ML_SOURCE_DIR "/tests/support/data_server.py";

// tests/support/data_server.py as a process.
class S3Process {
 public:
  S3Process() {
    int in[2], out[2];
    if (pipe(in) != 0 || pipe(out) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], 0);
      dup2(out[1], 1);
      close(in[1]);
      close(out[0]);
      execl("/usr/bin/python3", "python3", "-B", kServerProgram, nullptr);
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    end_ = in[1];
    char c = 0;
    while (read(out[0], &c, 1) == 1 && c != '\n') url_ += c;
    close(out[0]);
  }
  ~S3Process() {
    close(end_);
    waitpid(pid_, nullptr, 0);
  }
  S3Process(const S3Process&) = delete;
  S3Process& operator=(const S3Process&) = delete;

  const std::string& url() const { return url_; }
  // Ends it at once, as a machine that goes away does.
  void Kill() const { kill(pid_, SIGKILL); }

  Value Control(const std::string& json) {
    const auto answer = client_->Send({.method = "POST", .url = url_ + "/", .headers = {}, .body = json});
    return ParseJson(answer.value().body).value();
  }
  // Lets requests that begin with "METHOD key" fail like this, so many times.
  void Trouble(const std::string& prefix, const std::string& what, int times) {
    Control(R"({"trouble": {")" + prefix + R"(": [")" + what + "\", " + std::to_string(times) + "]}}");
  }
  void Age(const std::string& prefix, int seconds) {
    Control(R"({"age": [")" + prefix + "\", " + std::to_string(seconds) + "]}");
  }
  // Returns what was asked since the last call: "METHOD /bucket/key".
  std::vector<std::string> Took() {
    std::vector<std::string> took;
    const Value state = Control("{}");
    for (const Value& request : state.Find("took")->list()) took.push_back(request.string());
    return took;
  }
  // Returns the keys below `prefix`.
  std::vector<std::string> Keys(const std::string& prefix) {
    std::vector<std::string> keys;
    const Value state = Control("{}");
    for (const auto& [key, size] : state.Find("kept")->map()) {
      if (key.starts_with(prefix)) keys.push_back(key);
    }
    return keys;
  }

  http::S3Settings settings() const {
    return {.endpoint = url_, .region = "eu-test-1", .access_key = "AKTEST", .secret_key = "not-a-secret/+=", .session_token = ""};
  }

 private:
  pid_t pid_ = -1;
  int end_ = -1;
  std::string url_;
  const std::unique_ptr<HttpClient> client_ = http::MakeHttpClient();
};

class FixedClock final : public Clock {
 public:
  UtcTime Now() const override { return {1'000'000'000'000}; }
  Duration Steady() const override { return Duration(1); }
};

// In a bucket of a server of its own.
class ObjectHarness {
 public:
  explicit ObjectHarness(Duration touch_after = Duration(0)) : store_(OpenAs("this", touch_after).value()) {}

  absl::StatusOr<std::unique_ptr<KeptBlobStore>> OpenAs(const std::string& owner, Duration touch_after = Duration(0)) {
    return OpenObjectBlobStore(opener_, clock_, owner, touch_after);
  }
  KeptBlobStore& store() { return *store_; }
  S3Process& server() { return server_; }
  ObjectStoreOpener opener() const { return opener_; }
  UtcTime Ago(int seconds) const { return {clock_.Now().ms - int64_t{seconds} * 1000}; }
  void Overwrite(const Digest& digest, const std::string& bytes) {
    ASSERT_TRUE(opener_()->Put("objects/" + digest.hex(), bytes, {}).ok());
  }

 private:
  S3Process server_;
  FixedClock clock_;
  const ObjectStoreOpener opener_ =
      http::MakeS3Folder(server_.settings(), "s3://kept/a b/",
                         {.silence_max = Duration(1'000), .attempts = 3, .first_wait = Duration(1)}).value();
  std::unique_ptr<KeptBlobStore> store_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(ObjectBlobStore, BlobContract, ObjectHarness);

class ObjectBlobs : public testing::Test {
 protected:
  KeptBlobStore& store() { return harness_.store(); }
  S3Process& server() { return harness_.server(); }
  static ArtifactRef RefOf(const std::string& bytes) { return {Sha256(bytes), false, static_cast<int64_t>(bytes.size()), 1}; }
  // Returns the bytes of chunks that were put since the last look.
  size_t ChunksPut() {
    const auto took = server().Took();
    return static_cast<size_t>(std::count_if(took.begin(), took.end(),
                                             [](const auto& request) { return request.starts_with("PUT /kept/a%20b/chunks/"); }));
  }

  ObjectHarness harness_;
  TempDir dir_;
};

TEST_F(ObjectBlobs, OnlyMissingChunksTravelAndVersionsShareThem) {
  std::mt19937 random(1);
  std::string bytes = RandomText(4 << 20, random);
  MemoryBlobStore from;
  PutBytes(from, bytes).value();
  ASSERT_TRUE(CopyArtifact(from, store(), RefOf(bytes)).ok());
  const size_t all = ChunksPut();
  EXPECT_GT(all, 30u);

  EditAtRandom(bytes, 3, random);
  PutBytes(from, bytes).value();
  ASSERT_TRUE(CopyArtifact(from, store(), RefOf(bytes)).ok());

  EXPECT_LE(ChunksPut(), 9u);
  EXPECT_TRUE(ReadAll(store(), Sha256(bytes), 0, 100'000).value() == bytes);
  EXPECT_TRUE(ReadAll(store(), Sha256(bytes), 1'000'001, 100'000).value() == bytes.substr(1'000'001));
  // And back again, to one who has the former version.
  MemoryBlobStore to;
  ASSERT_TRUE(CopyArtifact(store(), to, RefOf(bytes)).ok());
  EXPECT_TRUE(ReadAll(to, Sha256(bytes), 0, 1 << 20).value() == bytes);
}

TEST_F(ObjectBlobs, StoresFilesOfAnySizeAndKnowsWhatItHas) {
  std::mt19937 random(2);
  const std::string bytes = RandomText(3 << 20, random);
  const std::string path = dir_.Write("big", bytes);

  EXPECT_EQ(store().PutFile(path, true).value(), Sha256(bytes));
  EXPECT_GT(ChunksPut(), 10u);
  EXPECT_EQ(store().PutFile(path, true).value(), Sha256(bytes));
  EXPECT_EQ(ChunksPut(), 0u);
  EXPECT_EQ(store().Size(Sha256(bytes)).value(), 3 << 20);
  ASSERT_TRUE(store().Materialize(Sha256(bytes), dir_.At("out"), false, true).ok());
  EXPECT_TRUE(FileBytes(dir_.At("out")) == bytes);
}

TEST_F(ObjectBlobs, GoesOnAfterACut) {
  std::mt19937 random(3);
  const std::string bytes = RandomText(4 << 20, random);
  const Digest digest = Sha256(bytes);
  MemoryBlobStore from;
  PutBytes(from, bytes).value();
  const auto chunks = from.Chunks(digest).value();
  {
    const auto cut = store().Assemble(digest, chunks).value();
    ASSERT_TRUE(cut->Append(std::string_view(bytes).substr(0, 2 << 20)).ok());
    EXPECT_EQ(store().Assemble(digest, chunks).status().code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(store().Size(digest).status().code(), absl::StatusCode::kNotFound);

  const auto again = store().Assemble(digest, chunks).value();

  EXPECT_LT(again->missing().size(), chunks.size() * 2 / 3);
  const auto rest = from.OpenChunks(digest, chunks, again->missing()).value();
  while (true) {
    const std::string piece = rest->Read(100'000).value();
    if (piece.empty()) break;
    ASSERT_TRUE(again->Append(piece).ok());
  }
  EXPECT_TRUE(again->Commit(digest).ok());
  EXPECT_TRUE(ReadAll(store(), digest, 0, 1 << 20).value() == bytes);
}

TEST_F(ObjectBlobs, RefuseWrongBytesAndListsOfAnotherBlob) {
  std::mt19937 random(4);
  const std::string bytes = RandomText(2 << 20, random), other = RandomText(2 << 20, random);
  MemoryBlobStore from;
  for (const std::string& blob : {bytes, other}) PutBytes(from, blob).value();
  const auto chunks = from.Chunks(Sha256(bytes)).value();
  {
    const auto assembly = store().Assemble(Sha256(bytes), chunks).value();
    EXPECT_EQ(assembly->Append(other).code(), absl::StatusCode::kDataLoss);
  }
  // Every chunk is right, but they are another blob.
  const auto assembly = store().Assemble(Sha256(other), chunks).value();
  ASSERT_TRUE(assembly->Append(bytes).ok());
  EXPECT_THAT(Message(assembly->Commit(Sha256(other)).status()), HasSubstr("hash to sha256:" + Sha256(bytes).hex()));
  EXPECT_EQ(store().Size(Sha256(other)).status().code(), absl::StatusCode::kNotFound);
  // None of what did not get there is a blob, and it is only loose.
  EXPECT_TRUE(server().Keys("a b/recipes/").empty());
}

TEST_F(ObjectBlobs, NeverServeADamagedChunkAndAreMendedByPuttingItAgain) {
  std::mt19937 random(5);
  const std::string bytes = RandomText(2 << 20, random);
  const Digest digest = PutBytes(store(), bytes).value();
  for (const std::string damage : {"flip", "cut", "gone", "list"}) {
    const auto chunks = store().Chunks(digest).value();
    const std::string key = damage == "list" ? "recipes/" + digest.hex() : "chunks/" + chunks[7].digest.hex();
    const auto objects = harness_.opener()();
    std::string stored = objects->Get(key, 1 << 20, {}).value();
    if (damage == "gone") {
      ASSERT_TRUE(objects->Remove(key, {}).ok());
    } else {
      stored[stored.size() / 2] ^= 1;
      ASSERT_TRUE(objects->Put(key, damage == "cut" ? stored.substr(0, 100) : stored, {}).ok());
    }

    const auto read = ReadAll(store(), digest, 0, 1 << 20);

    EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << damage << read.status();
    EXPECT_THAT(Message(read.status()), HasSubstr(digest.hex()));
    EXPECT_EQ(store().Size(digest).status().code(), absl::StatusCode::kNotFound) << damage;
    EXPECT_EQ(PutBytes(store(), bytes).value(), digest);
    EXPECT_TRUE(ReadAll(store(), digest, 0, 1 << 20).value() == bytes) << damage;
  }
  EXPECT_FALSE(server().Keys("a b/quarantine/").empty());
}

TEST_F(ObjectBlobs, WhatPassesIsTriedAgain) {
  for (const std::string trouble : {"503", "500", "cut", "reset", "page", "endless"}) {
    const std::string bytes = "bytes after " + trouble;
    if (trouble != "endless") server().Trouble("PUT ", trouble, 2);
    const auto digest = PutBytes(store(), bytes);
    ASSERT_TRUE(digest.ok()) << trouble << digest.status();
    server().Trouble("GET ", trouble, 2);
    EXPECT_EQ(ReadAll(store(), *digest, 0, 100).value(), bytes) << trouble;
  }
}

TEST_F(ObjectBlobs, WhatDoesNotPassIsOneClearMessageAndLeavesNothing) {
  struct Case {
    std::string trouble, message;
    absl::StatusCode code;
  };
  const std::string bytes = "never stored", key = "s3://kept/a b/objects/" + Sha256(bytes).hex();
  for (const Case& c : std::vector<Case>{
           {"503", "the server answers 503, SlowDown: It is refused. (attempt 3 of 3)", absl::StatusCode::kUnavailable},
           {"cut", "(attempt 3 of 3)", absl::StatusCode::kUnavailable},
           {"reset", "(attempt 3 of 3)", absl::StatusCode::kUnavailable},
           {"page", "the server answers 200 with a page of HTML; is there a proxy in between? (attempt 3 of 3)",
            absl::StatusCode::kUnavailable},
           {"403", "the server answers 403, AccessDenied: It is refused. to PUT; check the credentials",
            absl::StatusCode::kPermissionDenied}}) {
    server().Trouble("PUT a b/objects/", c.trouble, 1000);
    server().Took();

    const absl::Status status = PutBytes(store(), bytes).status();

    EXPECT_EQ(status.code(), c.code) << c.trouble << status;
    EXPECT_THAT(Message(status), AllOf(HasSubstr(key), HasSubstr(c.message), Not(HasSubstr("not-a-secret")))) << c.trouble;
    const auto took = server().Took();
    const auto is_put = [](const auto& request) { return request.starts_with("PUT"); };
    // What fails on a connection that was open before may be sent once more at once.
    EXPECT_THAT(std::count_if(took.begin(), took.end(), is_put), c.trouble == "403" ? AllOf(Ge(1), Le(1)) : AllOf(Ge(3), Le(4)))
        << c.trouble;
    server().Control(R"({"trouble": {}})");
    EXPECT_EQ(store().Size(Sha256(bytes)).status().code(), absl::StatusCode::kNotFound) << c.trouble;
  }
}

TEST_F(ObjectBlobs, ASilentServerIsNotWaitedForForEver) {
  const auto hasty = http::MakeS3Folder(server().settings(), "s3://kept",
                                        {.silence_max = Duration(1'000), .attempts = 1, .first_wait = Duration(1)}).value()();
  server().Trouble("PUT ", "silent", 1000);

  const absl::Status status = hasty->Put("key", "bytes", {});

  server().Control(R"({"trouble": {}})");
  EXPECT_EQ(Message(status), "s3://kept/key: the server sent and took nothing for 1.0s (attempt 1 of 1)");
}

TEST_F(ObjectBlobs, AServerThatFailsIsNoDamage) {
  std::mt19937 random(6);
  const std::string bytes = RandomText(2 << 20, random);
  const Digest digest = PutBytes(store(), bytes).value();
  server().Trouble("GET a b/chunks/", "cut", 1000);

  const auto read = ReadAll(store(), digest, 0, 1 << 20);
  const absl::Status placed = store().Materialize(digest, dir_.At("out"), false, false);
  server().Control(R"({"trouble": {}})");

  EXPECT_EQ(read.status().code(), absl::StatusCode::kUnavailable) << read.status();
  EXPECT_EQ(placed.code(), absl::StatusCode::kUnavailable) << placed;
  EXPECT_FALSE(std::filesystem::exists(dir_.At("out")));
  EXPECT_TRUE(server().Keys("a b/quarantine/").empty());
  EXPECT_TRUE(ReadAll(store(), digest, 0, 1 << 20).value() == bytes);
}

TEST_F(ObjectBlobs, AServerThatIsGoneAndALargeBlobThatWasHalfPutAreSaid) {
  std::mt19937 random(7);
  const std::string bytes = RandomText(4 << 20, random);
  server().Trouble("PUT a b/recipes/", "503", 1000);
  EXPECT_EQ(PutBytes(store(), bytes).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store().Size(Sha256(bytes)).status().code(), absl::StatusCode::kNotFound);
  server().Kill();

  const absl::Status gone = store().Size(Sha256(bytes)).status();

  EXPECT_EQ(gone.code(), absl::StatusCode::kUnavailable) << gone;
  EXPECT_THAT(Message(gone), AllOf(HasSubstr("s3://kept/a b/objects/"), HasSubstr("127.0.0.1")));
}

TEST_F(ObjectBlobs, BelongToOneDaemon) {
  EXPECT_TRUE(harness_.OpenAs("this").ok());
  const auto other = harness_.OpenAs("other");
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(other.status()), AllOf(HasSubstr("another daemon, \"this\""), HasSubstr("a b/owner")));

  const auto nowhere = http::MakeS3Folder({.endpoint = server().url(), .region = "eu-test-1", .access_key = "AKTEST",
                                           .secret_key = "wrong", .session_token = ""}, "s3://kept/x").value();
  const auto refused = OpenObjectBlobStore(nowhere, FixedClock(), "this", Duration(0));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(Message(refused.status()), HasSubstr("cannot open the artifact store: s3://kept/x/owner: the server answers 403"));
  EXPECT_FALSE(http::MakeS3Folder({}, "kept/x").ok());
}

TEST_F(ObjectBlobs, WhatWasUsedSinceIsNotRemoved) {
  std::mt19937 random(8);
  const Digest big = PutBytes(store(), RandomText(2 << 20, random)).value();
  const Digest small = PutBytes(store(), "small").value();
  server().Age("", 1000);
  const auto stored = store().List().value();
  ASSERT_EQ(stored.size(), 2u);
  for (const StoredBlob& blob : stored) {
    EXPECT_EQ(blob.size, blob.digest == big ? 2 << 20 : 5);
    EXPECT_GE(blob.used, harness_.Ago(1001));
    EXPECT_LE(blob.used, harness_.Ago(990));
  }

  for (const Digest& digest : {big, small}) {
    EXPECT_FALSE(store().RemoveUnused(digest, harness_.Ago(2000)).value());
    ASSERT_TRUE(store().Size(digest).ok());
    EXPECT_FALSE(store().RemoveUnused(digest, harness_.Ago(500)).value()) << "it was asked for just now";
    server().Age("", 1000);
    EXPECT_TRUE(store().RemoveUnused(digest, harness_.Ago(500)).value());
    EXPECT_EQ(store().Size(digest).status().code(), absl::StatusCode::kNotFound);
  }
}

TEST_F(ObjectBlobs, AUseThatWasNotNotedCountsAsLateAsItMayHaveBeen) {
  ObjectHarness rare(Duration(100'000));
  const Digest digest = PutBytes(rare.store(), "bytes").value();
  rare.server().Age("", 50);
  rare.server().Took();
  ASSERT_TRUE(rare.store().Size(digest).ok());
  for (const std::string& request : rare.server().Took()) EXPECT_FALSE(request.starts_with("PUT")) << request;
  EXPECT_FALSE(rare.store().RemoveUnused(digest, rare.Ago(10)).value());
  rare.server().Age("", 200);

  EXPECT_TRUE(rare.store().RemoveUnused(digest, rare.Ago(10)).value());
}

TEST_F(ObjectBlobs, LooseChunksGoAndSharedAndYoungAndHeldOnesStay) {
  std::mt19937 random(9);
  std::string bytes = RandomText(3 << 20, random);
  const Digest first = PutBytes(store(), bytes).value();
  EditAtRandom(bytes, 3, random);
  const Digest second = PutBytes(store(), bytes).value();
  const size_t all = server().Keys("a b/chunks/").size();
  ASSERT_TRUE(store().RemoveUnused(first, harness_.Ago(-100)).value());

  EXPECT_EQ(store().RemoveLoose(harness_.Ago(500), {}).value(), 0) << "they are young";
  server().Age("", 1000);
  {
    // Whoever has begun relies on what he was told to be there.
    MemoryBlobStore other;
    const auto chunks = other.Chunks(PutBytes(other, RandomText(2 << 20, random)).value()).value();
    const auto held = store().Assemble(first, store().Chunks(second).value()).value();
    EXPECT_TRUE(held->missing().empty());
    ASSERT_TRUE(store().RemoveUnused(second, harness_.Ago(500)).value());
    store().RemoveLoose(harness_.Ago(500), {}).value();
    EXPECT_GT(server().Keys("a b/chunks/").size(), 0u);
    EXPECT_LT(server().Keys("a b/chunks/").size(), all);
  }
  EXPECT_GT(store().RemoveLoose(harness_.Ago(500), {}).value(), 2 << 20);
  EXPECT_TRUE(server().Keys("a b/chunks/").empty());
  EXPECT_EQ(store().bytes_used(), 0);
}

TEST_F(ObjectBlobs, NothingIsLooseWhenAListCannotBeRead) {
  std::mt19937 random(10);
  const std::string bytes = RandomText(2 << 20, random);
  const Digest digest = PutBytes(store(), bytes).value();
  server().Age("", 1000);
  server().Trouble("GET a b/recipes/", "503", 1000);

  EXPECT_EQ(store().RemoveLoose(harness_.Ago(500), {}).status().code(), absl::StatusCode::kUnavailable);

  server().Control(R"({"trouble": {}})");
  EXPECT_TRUE(ReadAll(store(), digest, 0, 1 << 20).value() == bytes);
}

TEST_F(ObjectBlobs, AWrongAnswerOrTwoLoseNothingInACollection) {
  std::mt19937 random(12);
  const std::string bytes = RandomText(2 << 20, random);
  const Digest digest = PutBytes(store(), bytes).value();
  server().Age("", 1000);
  struct Case {
    std::string trouble;
    int times;
    absl::StatusCode code;
  };
  for (const Case& c : std::vector<Case>{{"garbled", 1, absl::StatusCode::kOk},
                                         {"garbled", 1000, absl::StatusCode::kDataLoss},
                                         {"404", 1, absl::StatusCode::kUnavailable}}) {
    server().Trouble("GET a b/recipes/", c.trouble, c.times);

    const absl::Status swept = store().RemoveLoose(harness_.Ago(500), {}).status();

    EXPECT_EQ(swept.code(), c.code) << c.trouble << swept;
    EXPECT_THAT(Message(swept), HasSubstr(swept.ok() ? "" : "s3://kept/a b/recipes/" + digest.hex()));
    server().Control(R"({"trouble": {}})");
    EXPECT_TRUE(server().Keys("a b/quarantine/").empty()) << c.trouble;
    EXPECT_TRUE(ReadAll(store(), digest, 0, 1 << 20).value() == bytes) << c.trouble;
  }
  server().Trouble("GET a b/recipes/", "garbled", 1);
  EXPECT_EQ(store().List()->front().size, 2 << 20);
  server().Trouble("GET a b/recipes/", "garbled", 1);
  EXPECT_EQ(store().Size(digest).value(), 2 << 20);
  server().Trouble("GET a b/recipes/", "garbled", 1);
  EXPECT_TRUE(ReadAll(store(), digest, 0, 1 << 20).value() == bytes);
}

TEST_F(ObjectBlobs, AListThatWasMovedAsideKeepsItsChunksUntilTheBlobIsThereAgain) {
  std::mt19937 random(13);
  const std::string bytes = RandomText(2 << 20, random), recipe = "recipes/" + Sha256(bytes).hex();
  PutBytes(store(), bytes).value();
  server().Age("", 1000);
  server().Trouble("GET a b/recipes/", "garbled", 2);
  ASSERT_EQ(ReadAll(store(), Sha256(bytes), 0, 1 << 20).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_EQ(server().Keys("a b/quarantine/").size(), 1u);

  EXPECT_EQ(store().RemoveLoose(harness_.Ago(500), {}).value(), 0);

  ASSERT_TRUE(harness_.opener()()->Copy("quarantine/" + recipe, recipe, {}).ok());
  EXPECT_TRUE(ReadAll(store(), Sha256(bytes), 0, 1 << 20).value() == bytes);
  // It has done its service, and keeps nothing any more.
  EXPECT_EQ(store().RemoveLoose(harness_.Ago(500), {}).value(), 0);
  EXPECT_TRUE(server().Keys("a b/quarantine/").empty());
  ASSERT_TRUE(store().Remove(Sha256(bytes)).ok());
  EXPECT_GT(store().RemoveLoose(harness_.Ago(500), {}).value(), 1 << 20);
  EXPECT_TRUE(server().Keys("a b/chunks/").empty());
  // What is no list names no chunks.
  ASSERT_TRUE(harness_.opener()()->Put("quarantine/" + recipe, "torn", {}).ok());
  EXPECT_TRUE(store().RemoveLoose(harness_.Ago(500), {}).ok());
  EXPECT_EQ(server().Keys("a b/quarantine/").size(), 1u);
}

TEST_F(ObjectBlobs, AreCountedAndRefusedBeyondTheLimit) {
  const Digest digest = PutBytes(store(), Noise(1000)).value();
  PutBytes(store(), Noise(1000)).value();
  EXPECT_EQ(store().bytes_used(), 1000);
  const auto again = harness_.OpenAs("this").value();
  EXPECT_EQ(again->bytes_used(), 0);
  ASSERT_TRUE(again->RemoveLoose({}, {}).ok());
  EXPECT_EQ(again->bytes_used(), 1000);

  store().set_limit(1500);
  const auto refused = PutBytes(store(), Noise(1001));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(refused.status()), HasSubstr("cd4ml gc"));
  std::mt19937 random(11);
  const std::string big = RandomText(2 << 20, random);
  EXPECT_EQ(PutBytes(store(), big).status().code(), absl::StatusCode::kResourceExhausted);
  MemoryBlobStore from;
  PutBytes(from, big).value();
  EXPECT_EQ(CopyArtifact(from, store(), RefOf(big)).code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(store().Remove(digest).ok());
  EXPECT_EQ(store().bytes_used(), 0);
  EXPECT_TRUE(PutBytes(store(), Noise(1001)).ok());
}

TEST(HeldChunks, NobodyGetsAChunkThatIsBeingRemovedAndNobodyRemovesOneThatIsHeld) {
  blob::HeldChunks held;
  const Digest a = Sha256("a"), b = Sha256("b"), c = Sha256("c");
  held.Hold(a);
  held.BeginSweep();
  held.Release(a);
  held.Hold(b);
  held.Release(b);
  EXPECT_FALSE(held.BeginRemoval(a)) << "held when the sweep began";
  EXPECT_FALSE(held.BeginRemoval(b)) << "held since";
  ASSERT_TRUE(held.BeginRemoval(c));
  auto waits = std::async(std::launch::async, [&] { held.Hold(c); });
  EXPECT_EQ(waits.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  held.EndRemoval(c);
  waits.get();
  EXPECT_FALSE(held.BeginRemoval(c));
  held.EndSweep();
  held.Release(c);
  held.BeginSweep();
  EXPECT_TRUE(held.BeginRemoval(c));
}

}  // namespace
}  // namespace cd4ml
