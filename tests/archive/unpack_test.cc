// Packages that are well made, and those that try to get out of their folder.
#include "cd4ml/archive/unpack.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace cd4ml::archive {
namespace {

namespace fs = std::filesystem;

class Unpacking : public testing::Test {
 protected:
  Unpacking() {
    std::string pattern = testing::TempDir() + "unpack-XXXXXX";
    top_ = mkdtemp(pattern.data());
    fs::create_directories(top_ / "in");
    fs::create_directories(top_ / "out");
  }
  ~Unpacking() override { fs::remove_all(top_); }

  // Runs a shell command in the folder of the sources; the tests need archives that only tar and python make.
  void Shell(const std::string& command) {
    ASSERT_EQ(std::system(("cd " + (top_ / "in").string() + " && " + command).c_str()), 0) << command;
  }
  absl::Status UnpackIt(const std::string& name) {
    return Unpack((top_ / "in" / name).string(), (top_ / "out").string());
  }
  std::string Read(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(top_ / "out" / name).rdbuf();
    return text.str();
  }

  fs::path top_;
};

TEST_F(Unpacking, TarKeepsFilesFoldersAndTheExecutableBit) {
  Shell("mkdir d && echo hello > d/a && echo run > b && chmod 755 b && tar -cf p.tar d b");

  ASSERT_TRUE(UnpackIt("p.tar").ok());

  EXPECT_EQ(Read("d/a"), "hello\n");
  EXPECT_NE(fs::status(top_ / "out/b").permissions() & fs::perms::owner_exec, fs::perms::none);
}

TEST_F(Unpacking, CompressedTarAndZipAreReadToo) {
  Shell("echo hello > a && tar -czf p.tgz a && python3 -c \"import zipfile; zipfile.ZipFile('p.zip','w').write('a')\"");

  EXPECT_TRUE(UnpackIt("p.tgz").ok());
  EXPECT_EQ(Read("a"), "hello\n");
  fs::remove(top_ / "out/a");
  EXPECT_TRUE(UnpackIt("p.zip").ok());
  EXPECT_EQ(Read("a"), "hello\n");
}

TEST_F(Unpacking, NamesThatLeadOutsideAreRefused) {
  Shell("echo x > a && tar -cf up.tar --transform 's,a,../escaped,' -P a && tar -cf abs.tar -P --transform 's,a,/escaped,' a");

  EXPECT_EQ(UnpackIt("up.tar").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(UnpackIt("abs.tar").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(fs::exists(top_ / "escaped"));
}

TEST_F(Unpacking, LinksThatLeadOutsideAreRefused) {
  Shell("ln -s /etc link && tar -cf abs.tar link && rm link && ln -s ../.. link && tar -cf up.tar link");

  EXPECT_EQ(UnpackIt("abs.tar").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(UnpackIt("up.tar").code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Unpacking, DevicesAndPipesAreRefused) {
  Shell("mkfifo pipe && tar -cf p.tar pipe");

  EXPECT_EQ(UnpackIt("p.tar").code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Unpacking, WhatIsNoArchiveOrCutOffIsRefused) {
  Shell("echo 'no archive' > text && head -c 300000 /dev/urandom > a && tar -cf p.tar a && head -c 100000 p.tar > cut.tar && : > empty");

  EXPECT_EQ(UnpackIt("text").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(UnpackIt("cut.tar").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(UnpackIt("empty").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(UnpackIt("gone").code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cd4ml::archive
