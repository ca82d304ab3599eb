// Which names and link targets of a repository may reach the disk.
#include "git/names.h"

#include <gtest/gtest.h>

#include "cd4ml/base/text.h"

namespace cd4ml::git {
namespace {

TEST(Names, ThatAnyFileSystemCouldTakeForDotGitAreFound) {
  for (const std::string_view name : {".git",
                                      ".GIT",
                                      ".Git",
                                      ".git.",
                                      ".git ",
                                      ".git. . ",
                                      ".git::$INDEX_ALLOCATION",
                                      ".git:x",
                                      "git~1",
                                      "GIT~1",
                                      "git~1.",
                                      ".git\\hooks",
                                      "a\\.git",
                                      "a\\b\\GIT~1 ",
                                      "\\.git",
                                      ".g\xE2\x80\x8Cit",
                                      "\xEF\xBB\xBF.git",
                                      ".git\xE2\x80\x8D",
                                      ".\xE2\x81\xAFgit",
                                      ".g\xE2\x80\xAEi\xE2\x81\xAAt"}) {
    EXPECT_TRUE(IsDotGit(name)) << name;
    EXPECT_FALSE(IsSafeName(name)) << name;
  }
}

TEST(Names, ThatOnlyResembleDotGitAreKept) {
  for (const std::string_view name :
       {".gitignore", ".gitattributes", ".gitmodules",  "git",        ".gi",
        ".gitt",      "x.git",          "git~2",        ".git_",      "..git",
        ".github",    "model.git",      "\xE2\x80\x8C", ".g\xE2\x80", "a\\b",
        "...",        "caf\xC3\xA9",    "caf\xE9",      "with space", "-rf",
        "CON"}) {
    EXPECT_FALSE(IsDotGit(name)) << name;
    EXPECT_TRUE(IsSafeName(name)) << name;
  }
}

TEST(Names, ThatLeaveTheirFolderAreRefused) {
  for (const std::string_view name : {"", ".", "..", "/", "a/b", "../x", "/etc"}) {
    EXPECT_FALSE(IsSafeName(name)) << name;
  }
  EXPECT_FALSE(IsSafeName(std::string_view("a\0b", 3)));
  EXPECT_FALSE(IsSafeName(std::string(256, 'x')));
}

TEST(LinkTargets, MayClimbNoHigherThanTheRoot) {
  EXPECT_TRUE(IsSafeTarget("a", 0));
  EXPECT_TRUE(IsSafeTarget("a/b/../c", 0) == false) << "may climb out of another link";
  EXPECT_TRUE(IsSafeTarget("./a//b/.", 0));
  EXPECT_TRUE(IsSafeTarget("../a", 1));
  EXPECT_TRUE(IsSafeTarget("../..", 2));
  EXPECT_TRUE(IsSafeTarget("..a", 0));
  EXPECT_FALSE(IsSafeTarget("..", 0));
  EXPECT_FALSE(IsSafeTarget("../a", 0));
  EXPECT_FALSE(IsSafeTarget("./../a", 0));
  EXPECT_FALSE(IsSafeTarget("../../a", 1));
  EXPECT_FALSE(IsSafeTarget("a/..", 5));
  EXPECT_FALSE(IsSafeTarget("/etc/passwd", 5));
  EXPECT_FALSE(IsSafeTarget("//", 5));
  EXPECT_FALSE(IsSafeTarget("", 0));
  EXPECT_FALSE(IsSafeTarget(std::string_view("a\0/../..", 8), 0));
}

TEST(PrintableText, IsUtf8WithoutControlCharacters) {
  EXPECT_EQ(Printable("plain caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x9A\x97"),
            "plain caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x9A\x97");
  EXPECT_EQ(Printable("a\x1B[31mb\nc\x7F"), "a?[31mb?c?");
  EXPECT_EQ(Printable("caf\xE9 \xC3"), "caf? ?");
  EXPECT_EQ(Printable("\xC2\x9B"
                      "31m"),
            "?31m");
  EXPECT_EQ(Printable("\xE2\x82\xAC\xE2\x82\xAC", 5), "\xE2\x82\xAC");
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_TRUE(IsUtf8(Printable(std::string(3, static_cast<char>(byte)) + "x"))) << byte;
  }
}

}  // namespace
}  // namespace cd4ml::git
