// Trees and artifacts: what is stored of a folder, what is refused, and how it comes back.
#include "cd4ml/ports/blob_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>

#include "cd4ml/base/status.h"
#include "tests/support/memory_blob_store.h"
#include "tests/support/temp_dir.h"

namespace cd4ml {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kHash(64, 'a');

std::string Line(const std::string& path) { return kHash + " 1 - " + path + '\n'; }

TEST(Tree, ComesBackAsItWasWritten) {
  std::vector<TreeEntry> entries = {{"z", Sha256("1"), 1, true},
                                    {"a/b c/ü", Sha256("2"), 0, false},
                                    {"a-b", Sha256("3"), INT64_MAX - 1, false}};

  const std::string text = FormatTree(entries);
  const auto parsed = ParseTree(text);

  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->at(0).path, "a-b");
  EXPECT_EQ(parsed->at(1), entries[1]);
  EXPECT_EQ(parsed->at(2), entries[0]);
  EXPECT_EQ(FormatTree(*parsed), text);
  EXPECT_EQ(ParseTree("").value().size(), 0u);
}

TEST(Tree, RefusesPathsThatLeaveTheFolderOrHideInIt) {
  for (const std::string path :
       {"", "/", "/etc/passwd", "..", "../x", "a/../x", "a/..", ".", "./x", "a/.", "a//b", "a/",
        "a\x01", "a\tb", "a\x7F", "\xFF", "a\xC0\xAF"}) {
    const auto parsed = ParseTree(Line(path));
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_THAT(Message(parsed.status()), HasSubstr("line 1")) << path;
  }
  EXPECT_FALSE(ParseTree(kHash + " 1 - a" + std::string(1, '\0') + "b\n").ok());
  EXPECT_FALSE(ParseTree(Line(std::string(256, 'n'))).ok());
  EXPECT_TRUE(ParseTree(Line(std::string(255, 'n'))).ok());
  EXPECT_TRUE(ParseTree(Line("...")).ok());
  EXPECT_TRUE(ParseTree(Line("a b")).ok());
}

TEST(Tree, RefusesWhatFormatTreeWouldNotWrite) {
  const std::string upper(64, 'A');
  for (const std::string& text : {kHash,
                                  kHash + " 1 - a",
                                  kHash + "  1 - a\n",
                                  kHash + " 01 - a\n",
                                  kHash + " +1 - a\n",
                                  kHash + " -1 - a\n",
                                  kHash + " 1 y a\n",
                                  kHash + " 1  a\n",
                                  kHash + " 1 -\n",
                                  kHash + "\n",
                                  kHash + " 9223372036854775808 - a\n",
                                  kHash + " 1x - a\n",
                                  kHash + " - a\n",
                                  upper + " 1 - a\n",
                                  "sha256:" + kHash + " 1 - a\n",
                                  std::string(63, 'a') + " 1 - a\n",
                                  std::string("\n"),
                                  Line("b") + Line("a"),
                                  Line("a") + Line("a"),
                                  Line("a") + '\n',
                                  Line("a\r"),
                                  kHash + " 9223372036854775807 - a\n" + Line("b")}) {
    EXPECT_EQ(ParseTree(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(Tree, RefusesAFileThatIsAlsoAFolder) {
  EXPECT_FALSE(ParseTree(Line("a") + Line("a/b")).ok());
  EXPECT_FALSE(ParseTree(Line("a") + Line("a-b") + Line("a/b/c")).ok());
  EXPECT_FALSE(ParseTree(Line("x/y") + Line("x/y-") + Line("x/y/z")).ok());
  EXPECT_TRUE(ParseTree(Line("a-b") + Line("a/b") + Line("ab")).ok());
}

class Artifact : public testing::Test {
 protected:
  absl::StatusOr<ArtifactRef> Put(const std::string& name) {
    return PutArtifact(store_, dir_.At(name), /*may_link=*/true);
  }
  absl::Status Place(const ArtifactRef& artifact, const std::string& name) {
    return PlaceArtifact(store_, artifact, dir_.At(name), /*may_link=*/true);
  }
  // Expects that the folder "in" is refused with this text.
  void ExpectRefused(const std::string& text) {
    const auto artifact = Put("in");
    EXPECT_EQ(artifact.status().code(), absl::StatusCode::kInvalidArgument) << artifact.status();
    EXPECT_THAT(Message(artifact.status()), HasSubstr(text));
  }

  MemoryBlobStore store_;
  TempDir dir_;
};

TEST_F(Artifact, OfAFileIsTheFile) {
  dir_.Write("model.json", "{}");

  const auto artifact = Put("model.json");

  ASSERT_TRUE(artifact.ok()) << artifact.status();
  EXPECT_EQ(*artifact, (ArtifactRef{Sha256("{}"), false, 2, 1}));
  ASSERT_TRUE(Place(*artifact, "out").ok());
  EXPECT_EQ(FileBytes(dir_.At("out")), "{}");
}

TEST_F(Artifact, OfAFolderComesBackWithItsFilesAndPrograms) {
  dir_.Write("in/data/a.csv", "a");
  dir_.Write("in/data/b.csv", "bb");
  chmod(dir_.Write("in/run", "#!/bin/sh\n").c_str(), 0750);
  dir_.Write("in/empty", "");
  fs::create_directories(dir_.At("in/no files/here"));

  const auto artifact = Put("in");

  ASSERT_TRUE(artifact.ok()) << artifact.status();
  EXPECT_TRUE(artifact->is_tree);
  EXPECT_EQ(artifact->files, 4);
  EXPECT_EQ(artifact->size, 13);
  ASSERT_TRUE(Place(*artifact, "out").ok());
  EXPECT_EQ(FileBytes(dir_.At("out/data/a.csv")), "a");
  EXPECT_EQ(FileBytes(dir_.At("out/data/b.csv")), "bb");
  EXPECT_EQ(access(dir_.At("out/run").c_str(), X_OK), 0);
  EXPECT_EQ(fs::file_size(dir_.At("out/empty")), 0u);
  EXPECT_FALSE(fs::exists(dir_.At("out/no files")));
}

TEST_F(Artifact, HasADigestThatDependsOnNamesBytesAndModesAlone) {
  for (const std::string name : {"b", "a", "c/d"}) dir_.Write("one/" + name, name);
  for (const std::string name : {"c/d", "a", "b"}) dir_.Write("two/" + name, name);

  const Digest one = Put("one")->digest;

  EXPECT_EQ(Put("two")->digest, one);
  EXPECT_EQ(one.hex(), Sha256(FormatTree({{"a", Sha256("a"), 1, false},
                                          {"b", Sha256("b"), 1, false},
                                          {"c/d", Sha256("c/d"), 3, false}}))
                           .hex());
  fs::rename(dir_.At("two/b"), dir_.At("two/bb"));
  EXPECT_NE(Put("two")->digest, one);
}

TEST_F(Artifact, OfAnEmptyFolderIsAnEmptyFolder) {
  fs::create_directory(dir_.At("in"));

  const auto artifact = Put("in");

  EXPECT_EQ(artifact->files, 0);
  ASSERT_TRUE(Place(*artifact, "out").ok());
  EXPECT_TRUE(fs::is_directory(dir_.At("out")));
}

TEST_F(Artifact, HoldsTheContentOfLinksThatStayInside) {
  dir_.Write("in/v2/model", "weights");
  fs::create_symlink("v2", dir_.At("in/latest"));
  fs::create_symlink("../v2/model", dir_.At("in/v2/alias"));
  fs::create_symlink(dir_.At("in/v2/model"), dir_.At("in/absolute"));

  const auto artifact = Put("in");

  ASSERT_TRUE(artifact.ok()) << artifact.status();
  ASSERT_TRUE(Place(*artifact, "out").ok());
  for (const std::string name :
       {"v2/model", "v2/alias", "latest/model", "latest/alias", "absolute"}) {
    EXPECT_EQ(FileBytes(dir_.At("out/" + name)), "weights") << name;
    EXPECT_FALSE(fs::is_symlink(dir_.At("out/" + name))) << name;
  }
}

TEST_F(Artifact, RefusesLinksThatLeaveTheFolder) {
  fs::create_directory(dir_.At("in"));
  dir_.Write("in-secret/key", "secret");
  dir_.Write("secret", "secret");
  for (const std::string& target :
       {std::string("../secret"), std::string("../in-secret"), std::string("../in-secret/key"),
        dir_.At("secret"), std::string("/etc/passwd"), std::string("..")}) {
    fs::create_symlink(target, dir_.At("in/link"));
    ExpectRefused(dir_.At("in/link"));
    fs::remove(dir_.At("in/link"));
  }
  EXPECT_EQ(store_.count(), 0u);
}

TEST_F(Artifact, RefusesLinksThatLeadNowhereOrInACircle) {
  fs::create_directories(dir_.At("in/a"));
  for (const std::string target : {"absent", "link", "../a", "..", "."}) {
    fs::create_symlink(target, dir_.At("in/a/link"));
    ExpectRefused("in/a/link");
    fs::remove(dir_.At("in/a/link"));
  }
}

TEST_F(Artifact, RefusesLinksThatMultiplyWithoutEnd) {
  for (int i = 0; i < 40; ++i) {
    const std::string folder = dir_.At("in/" + std::to_string(i));
    fs::create_directories(folder);
    fs::create_symlink("../" + std::to_string(i + 1), folder + "/a");
    fs::create_symlink("../" + std::to_string(i + 1), folder + "/b");
  }
  fs::create_directories(dir_.At("in/40"));

  EXPECT_EQ(Put("in").status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(Artifact, RefusesPipesAndSockets) {
  fs::create_directory(dir_.At("in"));
  ASSERT_EQ(mkfifo(dir_.At("in/pipe").c_str(), 0600), 0);
  ExpectRefused("in/pipe");
  EXPECT_EQ(Put("in/pipe").status().code(), absl::StatusCode::kInvalidArgument);
  fs::remove(dir_.At("in/pipe"));

  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  dir_.At("in/socket").copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ExpectRefused("in/socket");
  close(fd);
}

TEST_F(Artifact, RefusesNamesThatNoTreeCanHold) {
  const std::map<std::string, std::string> names = {
      {"line\nbreak", "line\\x0Abreak"}, {"escape\x1B[31m", "escape\\x1B[31m"}, {"latin\xE9", "latin\\xE9"}};
  for (const auto& [name, shown] : names) {
    dir_.Write("in/" + name, "x");
    ExpectRefused("\"" + shown + "\" in it is not UTF-8, has control characters or is too long; rename it");
    fs::remove(dir_.At("in/" + name));
  }
}

TEST_F(Artifact, RefusesWhatIsNotThereAndWhatIsALinkItself) {
  dir_.Write("file", "x");
  fs::create_symlink("file", dir_.At("link"));

  EXPECT_EQ(Put("absent").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Put("file/below").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(Put("link").status()), HasSubstr("give the path that it leads to"));
}

TEST_F(Artifact, IsPlacedOnlyWhereNothingIs) {
  dir_.Write("in/a", "x");
  const ArtifactRef artifact = Put("in").value();
  fs::create_directory(dir_.At("folder"));
  dir_.Write("file", "old");
  fs::create_symlink("absent", dir_.At("link"));

  for (const std::string name : {"folder", "file", "link"}) {
    EXPECT_EQ(Place(artifact, name).code(), absl::StatusCode::kAlreadyExists) << name;
  }
  EXPECT_FALSE(Place(artifact, "no/such/parent").ok());
  EXPECT_EQ(FileBytes(dir_.At("file")), "old");
}

TEST_F(Artifact, IsPlacedWholeOrNotAtAll) {
  dir_.Write("in/a", "good");
  dir_.Write("in/z/b", "bad");
  const ArtifactRef artifact = Put("in").value();
  store_.Overwrite(Sha256("bad"), "rot");

  EXPECT_EQ(Place(artifact, "out").code(), absl::StatusCode::kDataLoss);

  EXPECT_FALSE(fs::exists(dir_.At("out")));
}

TEST_F(Artifact, IsNotPlacedWhenItsTreeIsHostile) {
  for (const std::string path : {"../evil", "/tmp/evil", "a/../../evil"}) {
    const Digest tree = PutBytes(store_, Sha256("x").hex() + " 1 - " + path + '\n').value();

    const absl::Status status = Place(ArtifactRef{tree, true, 1, 1}, "out");

    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(Message(status), HasSubstr(tree.hex()));
    EXPECT_FALSE(fs::exists(dir_.At("out")));
    EXPECT_FALSE(fs::exists(dir_.At("evil")));
  }
}

TEST_F(Artifact, IsCopiedWholeToAStoreThatLacksIt) {
  dir_.Write("in/a", "one");
  dir_.Write("in/b", "one");
  dir_.Write("in/c", std::string(700'000, 'c'));
  const ArtifactRef folder = Put("in").value();
  MemoryBlobStore other;

  ASSERT_TRUE(CopyArtifact(store_, other, folder).ok());

  EXPECT_EQ(other.count(), 3u);
  EXPECT_TRUE(PlaceArtifact(other, folder, dir_.At("out"), false).ok());
  EXPECT_EQ(fs::file_size(dir_.At("out/c")), 700'000u);
}

TEST_F(Artifact, IsCopiedWithoutReadingWhatIsThere) {
  dir_.Write("in/a", "one");
  dir_.Write("in/b", "two");
  const ArtifactRef folder = Put("in").value();
  MemoryBlobStore other;
  ASSERT_TRUE(CopyArtifact(store_, other, folder).ok());

  ASSERT_TRUE(store_.Remove(Sha256("one")).ok());

  EXPECT_TRUE(CopyArtifact(store_, other, folder).ok());
}

TEST_F(Artifact, IsNotCompleteElsewhereUntilAllOfItArrived) {
  dir_.Write("in/a", "good");
  dir_.Write("in/b", "bad");
  const ArtifactRef folder = Put("in").value();
  MemoryBlobStore other;
  store_.Overwrite(Sha256("bad"), "rot");

  const absl::Status status = CopyArtifact(store_, other, folder);

  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Message(status), HasSubstr("b: "));
  EXPECT_EQ(other.Size(folder.digest).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Artifact, WithoutADigestIsAnErrorAndNothingElse) {
  MemoryBlobStore other;
  for (const bool is_tree : {false, true}) {
    const ArtifactRef none{.digest = {}, .is_tree = is_tree, .size = 0, .files = 1};
    for (const absl::Status& status :
         {PlaceArtifact(store_, none, dir_.At("out"), false), UseArtifact(store_, none), CopyArtifact(store_, other, none),
          ReadBlob(store_, none.digest, 1).status()}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
      EXPECT_THAT(Message(status), HasSubstr("has no digest"));
    }
  }
}

TEST_F(Artifact, ReadBlobStopsBeforeALargeOne) {
  const Digest digest = PutBytes(store_, "12345").value();

  EXPECT_EQ(ReadBlob(store_, digest, 5).value(), "12345");
  EXPECT_EQ(ReadBlob(store_, digest, 4).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace cd4ml
