// Repositories made by the git program, honest and hostile ones, as SourceRepo sees them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/git/open_repo.h"
#include "tests/support/temp_dir.h"

namespace cd4ml {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// One line of a tree made by hand.
struct Line {
  std::string mode;
  std::string name;
  std::string id;
};

class GitRepo : public testing::Test {
 protected:
  void SetUp() override { Git("init -q -b main ."); }

  // Runs git in the repository and returns what it printed, without the last line break.
  std::string Git(const std::string& arguments) const {
    const std::string command =
        "cd '" + path() +
        "' && env -i PATH=/usr/bin:/bin HOME=/nonexistent LC_ALL=C GIT_CONFIG_NOSYSTEM=1 "
        "GIT_AUTHOR_NAME='Ada L' GIT_AUTHOR_EMAIL=ada@example.org GIT_COMMITTER_NAME=Bob "
        "GIT_COMMITTER_EMAIL=bob@example.org GIT_AUTHOR_DATE='1600000000 +0200' "
        "GIT_COMMITTER_DATE='1700000000 +0000' git -c protocol.file.allow=always " +
        arguments + " 2>&1";
    std::string output;
    FILE* pipe = popen(command.c_str(), "r");
    std::array<char, 4096> buffer;
    while (const size_t count = fread(buffer.data(), 1, buffer.size(), pipe)) {
      output.append(buffer.data(), count);
    }
    EXPECT_EQ(pclose(pipe), 0) << arguments << ": " << output;
    if (output.ends_with('\n')) output.pop_back();
    return output;
  }

  // Commits the whole work tree and returns the id.
  std::string Commit(const std::string& message = "change") const {
    Git("add -A");
    Git("commit -q --allow-empty -m '" + message + "'");
    return Git("rev-parse HEAD");
  }
  std::string Write(const std::string& name, std::string_view bytes) const {
    return dir_.Write("repo/" + name, bytes);
  }

  // Store objects that git would not make itself.
  std::string StoreBlob(std::string_view bytes) const {
    return Git("hash-object -w '" + dir_.Write("object", bytes) + "'");
  }
  std::string StoreTree(const std::vector<Line>& lines) const {
    std::string raw;
    for (const Line& line : lines) {
      raw += line.mode + ' ' + line.name + '\0';
      for (size_t i = 0; i < line.id.size(); i += 2) {
        raw.push_back(static_cast<char>(std::stoi(line.id.substr(i, 2), nullptr, 16)));
      }
    }
    return Git("hash-object -w --literally -t tree '" + dir_.Write("object", raw) + "'");
  }
  std::string CommitTree(const std::vector<Line>& lines) const {
    return Git("commit-tree -m hostile " + StoreTree(lines));
  }

  std::string path() const {
    fs::create_directory(dir_.At("repo"));
    return dir_.At("repo");
  }
  absl::StatusOr<std::unique_ptr<SourceRepo>> Open(const std::string& location) const {
    return MakeRepoOpener()->Open(location);
  }
  std::unique_ptr<SourceRepo> Repo() const { return Open(path()).value(); }

  absl::Status Export(const std::string& commit) const {
    fs::remove_all(dir_.At("out"));
    fs::create_directory(dir_.At("out"));
    return Repo()->Export(commit, dir_.At("out"));
  }
  void ExpectRefused(const std::string& commit, const std::string& why) const {
    const absl::Status status = Export(commit);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(Message(status), HasSubstr(why));
    EXPECT_TRUE(IsUtf8(Message(status)));
  }

  TempDir dir_;
};

// Locations.

TEST_F(GitRepo, IsOpenedByPathUrlBareFolderAndLinkedWorkTree) {
  const std::string id = Commit();
  Git("clone -q --bare . '" + dir_.At("bare copy.git") + "'");
  Git("worktree add -q '" + dir_.At("linked") + "'");

  for (const std::string& location :
       {path(), path() + "/", path() + "/.git", "file://" + path(), "file://localhost" + path(),
        dir_.At("bare copy.git"), "file://" + dir_.At("bare%20copy.git"), dir_.At("linked")}) {
    const auto repo = Open(location);
    ASSERT_TRUE(repo.ok()) << location << ": " << repo.status();
    EXPECT_EQ((*repo)->Resolve("HEAD").value().id, id) << location;
  }
}

TEST_F(GitRepo, OnAnotherHostIsNotAvailableYet) {
  for (const std::string location :
       {"https://example.org/x.git", "ssh://git@example.org/x", "git@example.org:x.git",
        "example.org:/x", "ext::sh -c touch% /tmp/pwned", "git://example.org/x",
        "http://[::1]/x"}) {
    const auto repo = Open(location);
    EXPECT_EQ(repo.status().code(), absl::StatusCode::kUnimplemented) << location;
    EXPECT_THAT(Message(repo.status()), HasSubstr("clone it on this host and give the path"));
  }
}

TEST_F(GitRepo, NeedsAnAbsolutePath) {
  for (const std::string location :
       {"", "repo", "./repo", "../repo", "~/repo", "-x", "--upload-pack=x", "file://",
        "file://host/x", "file://repo", "/a\nb", "/a\x1B[0m"}) {
    const auto repo = Open(location);
    EXPECT_EQ(repo.status().code(), absl::StatusCode::kInvalidArgument) << location;
    EXPECT_TRUE(IsUtf8(Message(repo.status())));
  }
  EXPECT_EQ(Open(std::string("/tmp\0/x", 7)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GitRepo, ThatIsNoneIsSaidToBeNone) {
  const auto absent = Open(dir_.At("absent"));
  const auto plain = Open(dir_.path());
  const auto file = Open(dir_.Write("file", "x"));
  Write("sub/folder/x", "x");
  const auto below = Open(path() + "/sub/folder");

  EXPECT_EQ(absent.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(absent.status()), HasSubstr("there is no folder"));
  EXPECT_THAT(Message(plain.status()), HasSubstr("is not a git repository; give the folder"));
  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(below.status()), HasSubstr("did you mean \"" + path() + "\"?"));
}

TEST_F(GitRepo, OfAnotherUserIsReadByRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to give files away";
  const std::string id = Commit();
  for (const auto& entry : fs::recursive_directory_iterator(path())) {
    ASSERT_EQ(lchown(entry.path().c_str(), 12345, 12345), 0);
  }
  ASSERT_EQ(chown(path().c_str(), 12345, 12345), 0);

  EXPECT_EQ(Repo()->Resolve("main").value().id, id);
}

TEST_F(GitRepo, ReadsNoConfigurationOfItsOwn) {
  Write("file.txt", "a\n");
  Write(".gitattributes", "* text eol=crlf filter=evil\n");
  const std::string id = Commit();
  // Reading the pipe would wait for ever.
  ASSERT_EQ(mkfifo(dir_.At("pipe").c_str(), 0600), 0);
  dir_.Write(
      "repo/.git/config",
      "[include]\n\tpath = " + dir_.At("pipe") +
          "\n[core]\n\trepositoryformatversion = 0\n\tautocrlf = true\n\tfsmonitor = touch " +
          dir_.At("pwned") + "\n\tworktree = /\n[filter \"evil\"]\n\tsmudge = touch " +
          dir_.At("pwned") + "\n\trequired = true\n");

  ASSERT_TRUE(Export(id).ok());

  EXPECT_EQ(FileBytes(dir_.At("out/file.txt")), "a\n");
  EXPECT_FALSE(fs::exists(dir_.At("pwned")));
}

// Refs.

TEST_F(GitRepo, ResolvesBranchesTagsAndIds) {
  Write("a", "1");
  const std::string first = Commit("one");
  Git("tag v1");
  Git("tag -a -m note v1-annotated");
  Git("tag -a -m note v1-twice v1-annotated");
  Git("branch feature/x");
  Write("a", "2");
  const std::string second = Commit("two");
  Git("update-ref refs/remotes/origin/main " + first);
  const auto repo = Repo();

  for (const std::string& ref :
       {std::string("v1"), std::string("v1-annotated"), std::string("v1-twice"),
        std::string("feature/x"), std::string("refs/tags/v1"), std::string("origin/main"), first,
        first.substr(0, 4), first.substr(0, 39)}) {
    const auto commit = repo->Resolve(ref);
    ASSERT_TRUE(commit.ok()) << ref << ": " << commit.status();
    EXPECT_EQ(commit->id, first) << ref;
  }
  for (const std::string ref : {"HEAD", "main", "refs/heads/main"}) {
    EXPECT_EQ(repo->Resolve(ref).value().id, second) << ref;
  }
  Git("pack-refs --all");
  Git("gc -q");
  EXPECT_EQ(Repo()->Resolve("v1-twice").value().id, first);
}

TEST_F(GitRepo, SeesACommitMadeAfterItWasOpened) {
  Commit("one");
  const auto repo = Repo();
  ASSERT_TRUE(repo->Resolve("main").ok());

  const std::string second = Commit("two");

  EXPECT_EQ(repo->Resolve("main").value().id, second);
  EXPECT_EQ(repo->Resolve("main").value().subject, "two");
}

TEST_F(GitRepo, TellsWhoCommittedWhatAndWhen) {
  const std::string id = Commit("subject \x1B[31mred\n\nbody");

  const CommitFacts facts = Repo()->Resolve(id).value();

  EXPECT_EQ(facts.id, id);
  EXPECT_EQ(facts.subject, "subject ?[31mred");
  EXPECT_EQ(facts.author, "Ada L");
  EXPECT_EQ(FormatTime(facts.time), "2023-11-14T22:13:20.000Z");
}

TEST_F(GitRepo, CutsLongAndForeignSubjectsToValidText) {
  const std::string tree = StoreTree({});
  const auto commit = [&](const std::string& message, const std::string& time) {
    return Git("hash-object -w --literally -t commit '" +
               dir_.Write("object", "tree " + tree + "\nauthor \xE9 <e> " + time +
                                        " +0000\ncommitter x <e> " + time + " +0000\n\n" +
                                        message) +
               "'");
  };
  std::string euros;
  for (int i = 0; i < 100; ++i) euros += "\xE2\x82\xAC";

  const CommitFacts latin = Repo()->Resolve(commit("caf\xE9\n", "1")).value();
  const CommitFacts longer = Repo()->Resolve(commit(euros, "9223372036854775807")).value();
  const CommitFacts empty = Repo()->Resolve(commit("", "0")).value();

  EXPECT_EQ(latin.subject, "caf?");
  EXPECT_EQ(latin.author, "?");
  EXPECT_EQ(longer.subject.size(), 198u);
  EXPECT_GE(longer.time.ms, 0);
  EXPECT_EQ(empty.subject, "");
}

TEST_F(GitRepo, TakesNoExpressionOrOptionForARef) {
  Write("a", "1");
  Commit();
  for (const std::string ref : {"",
                                "-",
                                "--upload-pack=x",
                                "-x",
                                "HEAD~1",
                                "HEAD^",
                                "main^{tree}",
                                "main@{0}",
                                "@{-1}",
                                "main..main",
                                ":/change",
                                "main:a",
                                "a b",
                                "a\nb",
                                "a\x1B",
                                "..",
                                "main.lock",
                                "/main",
                                "main/",
                                "a//b",
                                "*",
                                "refs/heads/*",
                                "[a]",
                                "a?",
                                "a\\b",
                                "caf\xE9",
                                ".hidden",
                                "main."}) {
    const auto commit = Repo()->Resolve(ref);
    EXPECT_EQ(commit.status().code(), absl::StatusCode::kNotFound) << ref;
    EXPECT_TRUE(IsUtf8(Message(commit.status())));
  }
  for (const std::string& ref :
       {std::string("main\0x", 6), std::string(251, 'a'), std::string(100'000, 'a')}) {
    EXPECT_EQ(Repo()->Resolve(ref).status().code(), absl::StatusCode::kNotFound);
  }
}

TEST_F(GitRepo, SuggestsWhatAnUnknownRefMayMean) {
  Commit();
  Git("branch develop");
  const auto near = Repo()->Resolve("devlop");
  const auto far = Repo()->Resolve("something-else");

  EXPECT_EQ(near.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(near.status()), HasSubstr("did you mean \"develop\"?"));
  EXPECT_THAT(Message(far.status()), HasSubstr("it has \"develop\", \"main\""));
  for (const std::string& ref : {std::string("abc"), std::string("dead"), std::string("deadbeef"),
                                 std::string(40, 'a'), std::string("FETCH_HEAD"), std::string("@"),
                                 std::string("refs/heads/absent"), std::string(41, 'a')}) {
    EXPECT_EQ(Repo()->Resolve(ref).status().code(), absl::StatusCode::kNotFound) << ref;
  }
}

TEST_F(GitRepo, WithoutACommitSaysSo) {
  for (const std::string ref : {"HEAD", "main"}) {
    const auto commit = Repo()->Resolve(ref);
    EXPECT_EQ(commit.status().code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(Message(commit.status()), HasSubstr("commit something first"));
  }
}

TEST_F(GitRepo, AsksWhichOfBranchAndTagIsMeant) {
  Write("a", "1");
  Commit();
  Git("tag release");
  Write("a", "2");
  Commit();
  Git("branch release");

  const auto commit = Repo()->Resolve("release");

  EXPECT_EQ(commit.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(commit.status()), HasSubstr("refs/tags/release"));
}

TEST_F(GitRepo, AsksForMoreDigitsOfAnAmbiguousId) {
  // Enough objects that some four digits are shared.
  std::string input;
  for (int i = 0; i < 2'000; ++i) {
    const std::string text = std::to_string(i);
    input += "blob\nmark :" + std::to_string(i + 1) + "\ndata " + std::to_string(text.size()) +
             '\n' + text + '\n';
  }
  Git("fast-import --quiet < '" + dir_.Write("import", input) + "'");
  const std::string ids = Git("cat-file --batch-all-objects --batch-check='%(objectname)'");
  std::string shared;
  for (size_t at = 41; at < ids.size() && shared.empty(); at += 41) {
    if (ids.compare(at, 4, ids, at - 41, 4) == 0) shared = ids.substr(at, 4);
  }
  ASSERT_FALSE(shared.empty());

  const auto commit = Repo()->Resolve(shared);

  EXPECT_EQ(commit.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(commit.status()), HasSubstr("give more digits"));
}

TEST_F(GitRepo, RefusesRefsThatDoNotLeadToACommit) {
  Commit();
  Git("tag tree 'HEAD^{tree}'");
  Git("tag blob " + StoreBlob("x"));
  std::string chain = "HEAD";
  for (int i = 0; i < 20; ++i) {
    Git("tag -a -m x chain" + std::to_string(i) + ' ' + chain);
    chain = "chain" + std::to_string(i);
  }

  for (const std::string ref : {"tree", "blob", "chain19"}) {
    EXPECT_EQ(Repo()->Resolve(ref).status().code(), absl::StatusCode::kInvalidArgument) << ref;
  }
}

TEST_F(GitRepo, SurvivesDamagedRefsAndObjects) {
  Write("a", "1");
  const std::string id = Commit();
  dir_.Write("repo/.git/refs/heads/garbage", "not an id\n");
  dir_.Write("repo/.git/refs/heads/outside", "ref: ../../../../etc/passwd\n");
  dir_.Write("repo/.git/refs/heads/loop", "ref: refs/heads/loop\n");
  dir_.Write("repo/.git/refs/heads/gone", std::string(40, 'b') + "\n");
  for (const std::string ref : {"garbage", "outside", "loop", "gone"}) {
    EXPECT_FALSE(Repo()->Resolve(ref).ok()) << ref;
  }

  const std::string blob = Git("rev-parse HEAD:a");
  const std::string object =
      dir_.At("repo/.git/objects/" + blob.substr(0, 2) + '/' + blob.substr(2));
  chmod(object.c_str(), 0644);
  dir_.Write("repo/.git/objects/" + blob.substr(0, 2) + '/' + blob.substr(2), "rubbish");
  EXPECT_FALSE(Repo()->ReadFile(id, "a", 100).ok());
  fs::remove(object);
  const auto missing = Repo()->ReadFile(id, "a", 100);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Message(missing.status()), HasSubstr("shallow or partial clone"));
}

// Files.

TEST_F(GitRepo, ReadsFilesAtACommit) {
  Write("dir/deep/file", std::string("a\0b\r\n", 5));
  Write("empty", "");
  const std::string first = Commit();
  Write("dir/deep/file", "later");
  Commit();

  EXPECT_EQ(Repo()->ReadFile(first, "dir/deep/file", 5).value(), std::string("a\0b\r\n", 5));
  EXPECT_EQ(Repo()->ReadFile(first, "empty", 0).value(), "");
}

TEST_F(GitRepo, RefusesFilesThatAreTooLarge) {
  Write("zeros", std::string(5'000'000, '\0'));
  const std::string id = Commit();

  const auto file = Repo()->ReadFile(id, "zeros", 1 << 20);

  EXPECT_EQ(file.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(file.status()), HasSubstr("\"zeros\""));
}

TEST_F(GitRepo, SuggestsANearFileInTheSameFolder) {
  Write("pipelines/cd4ml.yaml", "x");
  const std::string id = Commit();

  const auto file = Repo()->ReadFile(id, "pipelines/cd4ml.yml", 100);
  const auto folder = Repo()->ReadFile(id, "pipeline/cd4ml.yaml", 100);

  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(file.status()), HasSubstr(id.substr(0, 12)));
  EXPECT_THAT(Message(file.status()), HasSubstr("did you mean \"pipelines/cd4ml.yaml\"?"));
  EXPECT_THAT(Message(folder.status()), HasSubstr("did you mean \"pipelines\"?"));
}

TEST_F(GitRepo, ReadsRegularFilesOnly) {
  Write("dir/file", "x");
  fs::create_symlink("/etc/passwd", path() + "/link");
  const std::string id = Commit();
  const std::string sub = CommitTree({{"160000", "sub", std::string(40, 'a')}});

  const auto code = [&](const std::string& commit, const std::string& name) {
    return Repo()->ReadFile(commit, name, 100).status().code();
  };
  EXPECT_EQ(code(id, "dir"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(id, "link"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(sub, "sub"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(id, "dir/file/below"), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(id, "link/x"), absl::StatusCode::kNotFound);
  for (const std::string name :
       {"", "/", "/dir/file", "dir//file", "dir/", "./dir", "../x", "dir/../dir"}) {
    EXPECT_EQ(code(id, name), absl::StatusCode::kInvalidArgument) << name;
  }
  for (const std::string name : {"HEAD", "main", "abcd", "zz"}) {
    EXPECT_EQ(code(name, "dir/file"), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(code(std::string(40, 'a'), "dir/file"), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(Git("rev-parse HEAD:dir/file"), "dir/file"), absl::StatusCode::kDataLoss);
}

TEST_F(GitRepo, ListsFilesByTheirEnding) {
  for (const std::string name : {"b.yaml", "a/x.yaml", "a-b/x.yaml", "a.yml", "c/yaml"})
    Write(name, "x");
  const std::string id = Commit();
  const std::string foreign = CommitTree({{"100644", "caf\xE9.yaml", StoreBlob("x")}});

  EXPECT_THAT(Repo()->ListFiles(id, ".yaml").value(),
              ElementsAre("a-b/x.yaml", "a/x.yaml", "b.yaml"));
  EXPECT_EQ(Repo()->ListFiles(id, "").value().size(), 5u);
  EXPECT_THAT(Repo()->ListFiles(id, "nothing").value(), IsEmpty());
  EXPECT_THAT(Repo()->ListFiles(foreign, ".yaml").value(), IsEmpty());
}

TEST_F(GitRepo, ListsTheFilesThatDiffer) {
  Write("same", "1");
  Write("changed", "1");
  Write("removed", "1");
  Write("dir/same", "1");
  Write("dir/changed", "1");
  Write("becomes", "file");
  Write("mode", "x");
  const std::string first = Commit();
  Write("changed", "2");
  Write("dir/changed", "2");
  fs::remove(path() + "/removed");
  fs::remove(path() + "/becomes");
  Write("becomes/folder", "x");
  Write("added/deep/file", "x");
  chmod((path() + "/mode").c_str(), 0755);
  const std::string second = Commit();

  const std::vector<std::string> expected = {
      "added/deep/file", "becomes", "becomes/folder", "changed", "dir/changed", "mode", "removed"};
  EXPECT_EQ(Repo()->ChangedPaths(first, second).value(), expected);
  EXPECT_EQ(Repo()->ChangedPaths(second, first).value(), expected);
  EXPECT_THAT(Repo()->ChangedPaths(first, first).value(), IsEmpty());
}

TEST_F(GitRepo, GivesUpOnTreeBombs) {
  std::string id = StoreBlob("x");
  std::string mode = "100644";
  for (int depth = 0; depth < 10; ++depth) {
    std::vector<Line> lines;
    for (int i = 0; i < 10; ++i) lines.push_back({mode, std::to_string(i), id});
    id = StoreTree(lines);
    mode = "40000";
  }
  const std::string bomb = Git("commit-tree -m bomb " + id);
  const std::string harmless = CommitTree({{"100644", "0", StoreBlob("y")}});

  EXPECT_EQ(Repo()->ListFiles(bomb, ".yaml").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Repo()->ChangedPaths(harmless, bomb).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Repo()->ReadFile(bomb, "0/0/0/0/0/0/0/0/0/0", 10).value(), "x");
}

TEST_F(GitRepo, GivesUpOnTreesThatAreTooDeep) {
  std::string id = StoreBlob("x");
  std::string mode = "100644";
  std::string import =
      "blob\nmark :1\ndata 1\nx\ncommit refs/heads/deep\ncommitter x <x> 0 +0000\ndata 0\nM 100644 "
      ":1 ";
  for (int depth = 0; depth < 300; ++depth) import += "d/";
  Git("fast-import --quiet < '" + dir_.Write("import", import + "f\n") + "'");
  const std::string deep = Git("rev-parse deep");

  EXPECT_EQ(Repo()->ListFiles(deep, "f").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(Export(deep).ok());
}

// Checkout.

TEST_F(GitRepo, ExportsFilesAsTheyAreCommitted) {
  Write("a.txt", "one\ntwo\n");
  Write("dir/run.sh", "#!/bin/sh\n");
  chmod((path() + "/dir/run.sh").c_str(), 0777);
  Write("model.bin", "version https://git-lfs.github.com/spec/v1\n");
  Write(".gitattributes", "*.bin filter=lfs\n*.txt text eol=crlf export-ignore\n");
  fs::create_symlink("../a.txt", path() + "/dir/link");
  fs::create_symlink("absent", path() + "/dangling");
  Git("add -A");
  Git("update-index --add --cacheinfo 160000," + std::string(40, 'a') + ",sub");
  Git("commit -q -m x");
  const mode_t old = umask(077);

  const absl::Status status = Export(Git("rev-parse HEAD"));

  umask(old);
  ASSERT_TRUE(status.ok()) << status;
  const std::string out = dir_.At("out");
  EXPECT_EQ(FileBytes(out + "/a.txt"), FileBytes(path() + "/a.txt"));
  EXPECT_EQ(FileBytes(out + "/dir/link"), FileBytes(path() + "/a.txt"));
  EXPECT_EQ(FileBytes(out + "/model.bin"), "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_EQ(fs::status(out + "/a.txt").permissions(), fs::perms(0644));
  EXPECT_EQ(fs::status(out + "/dir/run.sh").permissions(), fs::perms(0755));
  EXPECT_EQ(fs::read_symlink(out + "/dangling"), "absent");
  EXPECT_TRUE(fs::is_empty(out + "/sub"));
}

TEST_F(GitRepo, ExportsOnlyIntoAnEmptyFolder) {
  const std::string id = Commit();
  fs::create_directory(dir_.At("target"));
  fs::create_symlink("target", dir_.At("link"));
  dir_.Write("full/x", "x");

  for (const std::string& dir :
       {dir_.At("absent"), dir_.At("full"), dir_.At("link"), dir_.At("full/x")}) {
    EXPECT_EQ(Repo()->Export(id, dir).code(), absl::StatusCode::kFailedPrecondition) << dir;
  }
}

TEST_F(GitRepo, ExportsNothingIntoDotGit) {
  const std::string hook = StoreTree({{"100755", "post-checkout", StoreBlob("#!/bin/sh\n")}});
  const std::string hooks = StoreTree({{"40000", "hooks", hook}});
  for (const std::string name : {".git", ".GIT", "git~1", ".git ", ".git.",
                                 ".git::$INDEX_ALLOCATION", ".g\xE2\x80\x8Cit", "x\\.git"}) {
    ExpectRefused(CommitTree({{"40000", name, hooks}}), "could be taken for .git");
    ExpectRefused(CommitTree({{"40000", "dir", StoreTree({{"40000", name, hooks}})}}), "dir/");
    EXPECT_TRUE(fs::is_empty(dir_.At("out")) || fs::is_empty(dir_.At("out/dir"))) << name;
  }
}

TEST_F(GitRepo, ExportsNothingOutsideOfTheFolder) {
  const std::string blob = StoreBlob("evil");
  for (const std::string name : {"..", ".", "../evil", "/tmp/evil", "a/b", "a/../../evil"}) {
    ExpectRefused(CommitTree({{"100644", name, blob}}), "remove it from the repository");
    EXPECT_FALSE(Export(CommitTree({{"40000", name, StoreTree({{"100644", "evil", blob}})}})).ok());
  }
  EXPECT_FALSE(Export(CommitTree({{"100644", "", blob}})).ok());
  EXPECT_FALSE(fs::exists(dir_.At("evil")));
}

TEST_F(GitRepo, ExportsNoLinkThatMayLeaveTheFolder) {
  for (const std::string& target :
       {std::string("/etc/passwd"), std::string("../x"), std::string(".."),
        std::string("a/../../x"), std::string("./../x"), std::string(""), std::string("a\0/b", 4),
        std::string(5'000, 'a')}) {
    const std::string blob = StoreBlob(target);
    EXPECT_FALSE(Export(CommitTree({{"120000", "link", blob}})).ok()) << target;
    EXPECT_TRUE(fs::is_empty(dir_.At("out"))) << target;
  }
  // "s" leads up to the root from two folders down, so "l" through it would leave by climbing
  // again.
  const std::string deep =
      StoreTree({{"120000", "l", StoreBlob("s/../..")}, {"120000", "s", StoreBlob("../..")}});
  ExpectRefused(CommitTree({{"40000", "p", StoreTree({{"40000", "q", deep}})}}), "p/q/l");
}

TEST_F(GitRepo, WritesNothingThroughALinkOfItsOwn) {
  fs::create_directory(dir_.At("outside"));
  const std::string below = StoreTree({{"100644", "evil", StoreBlob("x")}});
  for (const std::string& target : {std::string("dir"), std::string("other")}) {
    const std::string link = StoreBlob(target);
    // The same name as link and folder, and a file written over a link.
    ExpectRefused(CommitTree({{"120000", "a", link}, {"40000", "a", below}}), "that name twice");
    ExpectRefused(CommitTree({{"120000", "a", link}, {"100644", "a", StoreBlob("x")}}),
                  "that name twice");
  }
  EXPECT_TRUE(fs::is_empty(dir_.At("outside")));
}

TEST_F(GitRepo, ExportsOddNamesAsTheyAre) {
  const std::string blob = StoreBlob("x");
  std::vector<std::string> names = {"-rf",         "A",        "a",
                                    "back\\slash", "caf\xE9",  "new\nline",
                                    "spa ce",      "\x1B[31m", std::string(255, 'n')};
  std::sort(names.begin(), names.end());
  std::vector<Line> lines;
  for (const std::string& name : names) lines.push_back({"100644", name, blob});

  const absl::Status status = Export(CommitTree(lines));

  ASSERT_TRUE(status.ok()) << status;
  for (const std::string& name : names) EXPECT_EQ(FileBytes(dir_.At("out/" + name)), "x");
  EXPECT_FALSE(Export(CommitTree({{"100644", std::string(256, 'n'), blob}})).ok());
}

TEST_F(GitRepo, ExportsNoMoreThanFitsOnTheDisk) {
  Write("zeros", std::string(3 << 20, '\0'));
  const std::string id = Commit();
  fs::create_directory(dir_.At("small"));
  if (mount("tmpfs", dir_.At("small").c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "needs the right to mount a tmpfs";
  }

  const absl::Status status = Repo()->Export(id, dir_.At("small"));

  umount2(dir_.At("small").c_str(), MNT_DETACH);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(Message(status), HasSubstr("free"));
}

}  // namespace
}  // namespace cd4ml
