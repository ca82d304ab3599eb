// What a swept folder leaves behind: nothing, or an empty mould of itself.
#include "agent/sweeper.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "agent/attempt.h"
#include "agent/files.h"
#include "tests/support/temp_dir.h"

namespace cd4ml::agent {
namespace {

namespace fs = std::filesystem;

class SweeperTest : public ::testing::Test {
 protected:
  SweeperTest() : sweeper_(Folder("trash"), 1) {}

  std::string Folder(const std::string& name) {
    EXPECT_TRUE(MakeDirs(dir_.At(name)).ok());
    return dir_.At(name);
  }
  // Retires as many rooms as are emptied without waiting for quiet, each made by `furnish`, and waits for one of them.
  bool RetireAndReuse(const std::function<void(const std::string&)>& furnish) {
    for (int i = 0; i < 8; ++i) {
      const std::string room = dir_.At("room" + std::to_string(i));
      EXPECT_TRUE(MakeDirs(room + "/work").ok());
      EXPECT_TRUE(WriteText(room + "/params.json", "{\"secret\": 1}").ok());
      furnish(room);
      sweeper_.Retire(room, kRoomMould);
    }
    // Every folder is a spare, or gone, in the end.
    while (true) {
      if (sweeper_.Reuse(kRoomMould, dir_.At("again"))) return true;
      if (ListNames(dir_.At("trash")).empty()) return false;
      std::this_thread::yield();
    }
  }

  TempDir dir_;
  Sweeper sweeper_;
};

TEST_F(SweeperTest, AReusedRoomHoldsNothingOfTheFormerStage) {
  ASSERT_TRUE(RetireAndReuse([](const std::string& room) {
    EXPECT_TRUE(WriteText(room + "/metrics.json", "{}").ok());
    EXPECT_TRUE(WriteText(room + "/work/.hidden", "x").ok());
    EXPECT_TRUE(MakeDirs(room + "/work/deep/er").ok());
    EXPECT_TRUE(MakeDirs(room + "/read/model").ok());
  }));

  EXPECT_EQ(ListNames(dir_.At("again")), (std::vector<std::string>{"params.json.next", "work"}));
  EXPECT_TRUE(ListNames(dir_.At("again/work")).empty());
}

TEST_F(SweeperTest, AnAttemptsFolderComesBackWithoutRecordOutcomeAndOutput) {
  for (int i = 0; i < 8; ++i) {
    const std::string dir = dir_.At("attempt" + std::to_string(i));
    ASSERT_TRUE(MakeDirs(dir + "/room/work").ok());
    for (const char* name : {"/task.json", "/outcome.json"}) ASSERT_TRUE(WriteText(dir + name, "long and old").ok());
    ASSERT_TRUE(AppendText(dir + "/log", i % 2 == 0 ? "" : "said").ok());
    sweeper_.Retire(dir, kAttemptMould);
  }
  for (const std::string& again : {dir_.At("again0"), dir_.At("again1")}) {
    while (!sweeper_.Reuse(kAttemptMould, again)) std::this_thread::yield();
  }

  EXPECT_EQ(ListNames(dir_.At("again0")), (std::vector<std::string>{"log", "outcome.json.next", "task.json.next"}));
  EXPECT_EQ(FileSize(dir_.At("again0/log")), 0);
  EXPECT_EQ(ListNames(dir_.At("again1")), (std::vector<std::string>{"outcome.json.next", "task.json.next"}));
  ASSERT_TRUE(WriteText(dir_.At("again1/task.json"), "new").ok());
  EXPECT_EQ(FileBytes(dir_.At("again1/task.json")), "new");
}

TEST_F(SweeperTest, AFileThatLivesOnElsewhereIsNotWrittenOver) {
  ASSERT_TRUE(RetireAndReuse([this](const std::string& room) {
    fs::create_hard_link(room + "/params.json", dir_.At("kept-" + fs::path(room).filename().string()));
  }));

  EXPECT_EQ(ListNames(dir_.At("again")), (std::vector<std::string>{"work"}));
  EXPECT_EQ(FileBytes(dir_.At("kept-room0")), "{\"secret\": 1}");
}

TEST_F(SweeperTest, AFolderThatIsNotAsANewOneIsNotUsedAgain) {
  EXPECT_FALSE(RetireAndReuse([](const std::string& room) { chmod((room + "/work").c_str(), 0777); }));
  EXPECT_FALSE(RetireAndReuse([this](const std::string& room) {
    EXPECT_TRUE(RemoveAll(room + "/work").ok());
    fs::create_directory_symlink(Folder("outside"), room + "/work");
  }));
  EXPECT_FALSE(RetireAndReuse([](const std::string& room) { chmod(room.c_str(), 0700); }));
  EXPECT_TRUE(Exists(dir_.At("outside")));
}

TEST_F(SweeperTest, WhatIsTakenVanishes) {
  ASSERT_TRUE(WriteText(Folder("old") + "/x", "x").ok());

  sweeper_.Take(dir_.At("old"));

  EXPECT_FALSE(Exists(dir_.At("old")));
  EXPECT_FALSE(sweeper_.Reuse(kRoomMould, dir_.At("again")));
}

}  // namespace
}  // namespace cd4ml::agent
