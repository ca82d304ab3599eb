// Files, logs, signals and locks on the real system. The keeper's client is tested in tests/keeper.
#include "cd4ml/os/os.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <thread>

#include "cd4ml/base/status.h"
#include "os/resources.h"

namespace cd4ml::os {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

namespace fs = std::filesystem;

class OsTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto dir = MakeTempDir();
    ASSERT_TRUE(dir.ok()) << dir.status();
    dir_ = *dir;
  }
  void TearDown() override {
    EXPECT_TRUE(files_->RemoveAll(dir_).ok());
    EXPECT_FALSE(fs::exists(dir_));
  }

  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ + "/" + name, std::ios::binary | std::ios::app) << text;
  }
  std::string At(const std::string& name) const { return dir_ + "/" + name; }

  std::string dir_;
  std::unique_ptr<FileSystem> files_ = MakeFileSystem();
};

using FileSystemTest = OsTest;

TEST_F(OsTest, WatchedFilesAreNoticedWhenAnybodyOpensThemByWhateverPath) {
  for (const char* folder : {"a", "a/b", "c"}) fs::create_directories(At(folder));
  for (const char* file : {"top", "a/one", "a/b/two", "a/b/other", "c/three", "unread"}) Write(file, "x");
  fs::create_symlink(At("c/three"), At("a/link"));

  auto watch = WatchReads(dir_, {"top", "a/one", "a/b/two", "c/three", "unread"});
  ASSERT_TRUE(watch.ok()) << watch.status();
  (void)fs::file_size(At("unread"));
  for (const char* file : {"a/b/two", "a/b/other", "a/link"}) std::ifstream(At(file)).get();
  if (const pid_t child = fork(); child == 0) {
    execl("/bin/cp", "cp", At("top").c_str(), "/dev/null", nullptr);
  } else {
    waitpid(child, nullptr, 0);
  }
  const NoticedReads reads = (*watch)->Finish();

  EXPECT_THAT(reads.opened, ElementsAre("a/b/two", "c/three", "top"));
  EXPECT_TRUE(reads.is_complete);
  EXPECT_THAT(WatchReads(dir_, {"gone/file"}).status().message(), HasSubstr("cannot watch \"" + At("gone")));
}

TEST_F(OsTest, WhatIsReplacedBeforeItIsOpenedIsNoLongerWhatIsWatched) {
  for (const char* folder : {"only/deep", "mixed"}) fs::create_directories(At(folder));
  const std::set<std::string> files = {"emptied", "changed", "removed", "moved", "linked", "only/deep/x", "mixed/y"};
  for (const std::string& file : files) Write(file, "x");
  Write("mixed/other", "x");
  auto watch = WatchReads(dir_, files).value();
  std::ofstream(At("emptied")) << "y";
  {
    std::fstream changed(At("changed"));
    changed.get();
    changed.seekp(0) << "y";
  }
  fs::remove(At("removed"));
  Write("removed", "y");
  for (const char* file : {"emptied", "removed"}) std::ifstream(At(file)).get();
  fs::rename(At("moved"), At("elsewhere"));
  fs::create_hard_link(At("linked"), At("mixed/again"));
  for (const char* folder : {"only", "mixed"}) (void)std::distance(fs::directory_iterator(At(folder)), {});

  EXPECT_THAT(watch->Finish().opened, ElementsAre("changed", "linked", "moved", "only/"));
}

TEST_F(OsTest, FilesThatAreOpenedByTheThousandAreAllNoticed) {
  std::set<std::string> files;
  for (int i = 0; i < 1'000; ++i) files.insert("f" + std::to_string(i));
  for (const std::string& file : files) Write(file, "");
  auto watch = WatchReads(dir_, files).value();
  for (int round = 0; round < 4; ++round) {
    for (const std::string& file : files) std::ifstream(At(file)).get();
  }

  const NoticedReads reads = watch->Finish();

  EXPECT_TRUE(reads.opened == files || !reads.is_complete) << reads.opened.size();
}

TEST_F(FileSystemTest, WritesAndReadsAFileAsAWhole) {
  const std::string bytes("two\0lines\n", 10);
  ASSERT_TRUE(files_->WriteFileAtomically(At("file"), "old, and longer than the new").ok());
  ASSERT_TRUE(files_->WriteFileAtomically(At("file"), bytes).ok());

  EXPECT_EQ(*files_->ReadFile(At("file"), 10), bytes);
  EXPECT_THAT(*files_->ListDir(dir_), ElementsAre("file"));
}

TEST_F(FileSystemTest, RefusesToReadWhatIsTooLargeAbsentOrNoFile) {
  Write("file", "12345");
  mkfifo(At("fifo").c_str(), 0600);

  EXPECT_TRUE(absl::IsResourceExhausted(files_->ReadFile(At("file"), 4).status()));
  EXPECT_TRUE(absl::IsNotFound(files_->ReadFile(At("none"), 4).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(files_->ReadFile(dir_, 4).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(files_->ReadFile(At("fifo"), 4).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(files_->ReadFile("/proc/self/status", 4).status()));
}

TEST_F(FileSystemTest, AFailedWriteLeavesTheOldFileAndNothingElse) {
  fs::create_directories(At("folder/inner"));

  const absl::Status status = files_->WriteFileAtomically(At("folder"), "bytes");

  EXPECT_THAT(Message(status), HasSubstr(At("folder")));
  EXPECT_THAT(*files_->ListDir(dir_), ElementsAre("folder"));
  EXPECT_TRUE(absl::IsNotFound(files_->WriteFileAtomically(At("none/file"), "bytes")));
}

TEST_F(FileSystemTest, MakesFoldersAndAcceptsThoseThatExist) {
  EXPECT_TRUE(files_->MakeDirs(At("a/b/c")).ok());
  EXPECT_TRUE(files_->MakeDirs(At("a/b/c")).ok());
  EXPECT_TRUE(files_->MakeDirs(At("a/b/d/")).ok());
  Write("file", "");

  EXPECT_THAT(*files_->ListDir(At("a/b")), ElementsAre("c", "d"));
  EXPECT_THAT(Message(files_->MakeDirs(At("file/x"))), HasSubstr(At("file")));
  EXPECT_FALSE(files_->MakeDirs(At("file")).ok());
}

TEST_F(FileSystemTest, DescribesALinkAndNotWhatItLeadsTo) {
  Write("file", "12345");
  fs::create_symlink("file", At("link"));
  chmod(At("file").c_str(), 0755);

  const auto file = files_->Stat(At("file"));
  EXPECT_EQ(file->kind, FileKind::kFile);
  EXPECT_EQ(file->size, 5);
  EXPECT_TRUE(file->executable);
  EXPECT_GT(file->modified_ns, 0);
  EXPECT_EQ(files_->Stat(At("link"))->kind, FileKind::kLink);
  EXPECT_EQ(files_->Stat(dir_)->kind, FileKind::kFolder);
  EXPECT_EQ(files_->Stat("/dev/null")->kind, FileKind::kOther);
  EXPECT_TRUE(absl::IsNotFound(files_->Stat(At("none")).status()));
  EXPECT_FALSE(files_->Exists(At("none")));
}

TEST_F(FileSystemTest, RemovesATreeAndSparesWhatItsLinksLeadTo) {
  Write("outside", "kept");
  fs::create_directories(At("tree/a/b/c"));
  fs::create_directories(At("tree/cd4ml-removed-1/x"));
  fs::create_symlink(At("outside"), At("tree/a/link"));
  fs::create_directory_symlink(dir_, At("tree/a/b/up"));
  Write("tree/a/b/c/file", "x");
  mkfifo(At("tree/fifo").c_str(), 0600);
  chmod(At("tree/a/b").c_str(), 0);
  chmod(At("tree/a").c_str(), 0555);
  fs::create_directory_symlink(At("tree"), At("link"));

  EXPECT_TRUE(files_->RemoveAll(At("link")).ok());
  EXPECT_TRUE(files_->Exists(At("tree/a")));
  EXPECT_TRUE(files_->RemoveAll(At("tree")).ok());
  EXPECT_TRUE(files_->RemoveAll(At("tree")).ok());
  EXPECT_THAT(*files_->ListDir(dir_), ElementsAre("outside"));
}

TEST_F(FileSystemTest, RemovesATreeDeeperThanAnyPathAndThanAnyLimitOnOpenFiles) {
  ASSERT_EQ(mkdir(At("deep").c_str(), 0755), 0);
  int at = open(At("deep").c_str(), O_PATH | O_DIRECTORY);
  for (int depth = 0; depth < 600; ++depth) {
    ASSERT_EQ(mkdirat(at, "deeper", 0755), 0);
    const int below = openat(at, "deeper", O_PATH | O_DIRECTORY);
    close(at);
    at = below;
  }
  close(at);
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit few{64, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);

  EXPECT_TRUE(files_->RemoveAll(At("deep")).ok());
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_FALSE(files_->Exists(At("deep")));
}

TEST_F(FileSystemTest, RenamesAndTellsTheRoomThatIsLeft) {
  Write("file", "new");
  Write("other", "old");

  EXPECT_TRUE(files_->Rename(At("file"), At("other")).ok());
  EXPECT_EQ(*files_->ReadFile(At("other"), 10), "new");
  EXPECT_THAT(Message(files_->Rename(At("file"), At("x"))), HasSubstr(At("file")));
  EXPECT_GT(*files_->FreeBytes(dir_), 0);
  EXPECT_TRUE(absl::IsNotFound(files_->FreeBytes(At("none")).status()));
}

using FileTailTest = OsTest;

constexpr Duration kPatience{30'000};

TEST_F(FileTailTest, HearsOfEachGrowthOfAFileThatItMade) {
  const auto tail = files_->Tail(At("log"), 0);
  ASSERT_TRUE(tail.ok()) << tail.status();
  EXPECT_EQ(*(*tail)->Read(100), "");
  std::jthread writer([&] {
    for (int i = 0; i < 50; ++i) Write("log", "line " + std::to_string(i) + "\n");
  });

  std::string all;
  while (all.find("line 49\n") == std::string::npos) {
    const std::string bytes = *(*tail)->Read(7);
    all += bytes;
    if (bytes.empty()) (*tail)->Wait(kPatience);
  }

  EXPECT_THAT(all, StartsWith("line 0\nline 1\n"));
  EXPECT_EQ(*(*tail)->Read(100), "");
}

TEST_F(FileTailTest, BeginsWhereItIsTold) {
  Write("log", "0123456789");

  const auto tail = files_->Tail(At("log"), 4);

  EXPECT_EQ(*(*tail)->Read(3), "456");
  EXPECT_EQ(*(*tail)->Read(100), "789");
  EXPECT_FALSE(files_->Tail(At("none/log"), 0).ok());
}

TEST_F(FileTailTest, IsWokenFromAnyThreadAlsoBeforeItWaits) {
  const auto tail = files_->Tail(At("log"), 0);
  const auto clock = MakeClock();
  const Duration begin = clock->Steady();

  (*tail)->Wake();
  (*tail)->Wait(kPatience);
  std::jthread other([&] { (*tail)->Wake(); });
  (*tail)->Wait(kPatience);

  EXPECT_LT(clock->Steady() - begin, kPatience);
}

class LogStoreTest : public OsTest {
 protected:
  void SetUp() override {
    OsTest::SetUp();
    logs_ = MakeLogStore(At("logs"), 100);
  }
  std::string All(const std::string& id) { return *logs_->Read(id, 0, 1'000'000); }

  const std::string id_ = "used-car-price/12/train/1";
  std::unique_ptr<LogStore> logs_;
};

TEST_F(LogStoreTest, AppendsAndReadsByPlace) {
  EXPECT_EQ(*logs_->Append(id_, 0, "hello "), 6);
  EXPECT_EQ(*logs_->Append(id_, 6, "world"), 11);

  EXPECT_EQ(All(id_), "hello world");
  EXPECT_EQ(*logs_->Read(id_, 4, 3), "o w");
  EXPECT_EQ(*logs_->Read(id_, 11, 10), "");
  EXPECT_EQ(*logs_->Read(id_, 1000, 10), "");
  EXPECT_EQ(*logs_->Size(id_), 11);
}

TEST_F(LogStoreTest, SendingTwiceDoesNoHarm) {
  ASSERT_TRUE(logs_->Append(id_, 0, "hello").ok());

  EXPECT_EQ(*logs_->Append(id_, 0, "hello"), 5);
  EXPECT_EQ(*logs_->Append(id_, 2, "l"), 5);
  EXPECT_EQ(*logs_->Append(id_, 3, "lo world"), 11);

  EXPECT_EQ(All(id_), "hello world");
}

TEST_F(LogStoreTest, AGapIsRefusedAndTellsTheSize) {
  ASSERT_TRUE(logs_->Append(id_, 0, "hello").ok());

  const absl::Status status = logs_->Append(id_, 6, "world").status();

  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(Message(status), HasSubstr("has 5 bytes"));
  EXPECT_TRUE(absl::IsFailedPrecondition(logs_->Append("p/1/s/1", 1, "x").status()));
}

TEST_F(LogStoreTest, ALogIsCutOffWithOneLineThatSaysSo) {
  EXPECT_EQ(*logs_->Append(id_, 0, std::string(90, 'a')), 90);
  EXPECT_EQ(*logs_->Append(id_, 90, std::string(20, 'b')), 110);
  const std::string cut = All(id_);
  EXPECT_EQ(*logs_->Append(id_, 110, "more"), 114);
  EXPECT_EQ(*logs_->Append(id_, 5000, "more"), 5004);

  EXPECT_THAT(cut, StartsWith(std::string(90, 'a') + std::string(10, 'b') + "\n[cd4ml: "));
  EXPECT_THAT(cut, EndsWith("100 B]\n"));
  EXPECT_EQ(All(id_), cut);
}

TEST_F(LogStoreTest, ALogMayBeFull) {
  EXPECT_EQ(*logs_->Append(id_, 0, std::string(100, 'a')), 100);

  EXPECT_EQ(All(id_), std::string(100, 'a'));
}

TEST_F(LogStoreTest, WhatIsNotThereIsEmpty) {
  EXPECT_EQ(*logs_->Size(id_), 0);
  EXPECT_EQ(All(id_), "");
}

TEST_F(LogStoreTest, RefusesIdsThatWouldLeaveItsFolder) {
  for (const std::string& id :
       {std::string(), std::string("."), std::string(".."), std::string("/"), std::string("/etc"),
        std::string("a/../b"), std::string("a//b"), std::string("a/"), std::string("a/.hidden"),
        std::string("a\0b", 3), std::string("a b"), std::string("a\nb"), std::string(300, 'a'),
        std::string("1/2/3/4/5/6/7/8/9"), std::string("\xc3\xa4")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(logs_->Append(id, 0, "x").status())) << id;
    EXPECT_TRUE(absl::IsInvalidArgument(logs_->Read(id, 0, 1).status())) << id;
    EXPECT_TRUE(absl::IsInvalidArgument(logs_->Size(id).status())) << id;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(logs_->Append(id_, -1, "x").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(logs_->Read(id_, -1, 1).status()));
  EXPECT_FALSE(files_->Exists(At("logs")));
}

TEST_F(LogStoreTest, ManySendersOfTheSameBytesMakeOneLog) {
  logs_ = MakeLogStore(At("logs"));
  const std::string text = "0123456789abcdef";
  {
    std::vector<std::jthread> senders;
    for (int sender = 0; sender < 4; ++sender) {
      senders.emplace_back([&] {
        for (int64_t i = 0; i < 200; ++i) {
          EXPECT_TRUE(logs_->Append(id_, i * 16, text).ok());
        }
      });
    }
  }

  std::string expected;
  for (int i = 0; i < 200; ++i) expected += text;
  EXPECT_EQ(All(id_), expected);
}

using ProgramTest = OsTest;

TEST_F(ProgramTest, AStopSignalIsHeardAndBrokenPipesDoNotKill) {
  // In a process of its own: it changes the signals of the whole process.
  const pid_t child = fork();
  if (child == 0) {
    StopSignal stop;
    int ends[2];
    if (pipe(ends) != 0) _exit(1);
    close(ends[0]);
    if (write(ends[1], "x", 1) != -1) _exit(2);
    if (stop.Wait(Duration(0)) != 0) _exit(3);
    std::thread([] { kill(getpid(), SIGTERM); }).join();
    if (stop.Wait(kPatience) != SIGTERM) _exit(4);
    if (stop.Wait(Duration(0)) != 0) _exit(5);
    _exit(42);
  }
  int status = 0;
  waitpid(child, &status, 0);

  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST_F(ProgramTest, ALockedFolderNamesItsHolder) {
  {
    const auto lock = LockDir(dir_);
    ASSERT_TRUE(lock.ok()) << lock.status();

    const absl::Status second = LockDir(dir_).status();

    EXPECT_TRUE(absl::IsUnavailable(second));
    EXPECT_THAT(Message(second), HasSubstr("pid " + std::to_string(getpid()) + " uses the folder"));
  }
  EXPECT_TRUE(LockDir(dir_).ok());
  EXPECT_TRUE(absl::IsNotFound(LockDir(At("none")).status()));
}

TEST_F(ProgramTest, AFreePortCanBeListenedOn) {
  const auto port = FreePort();
  ASSERT_TRUE(port.ok()) << port.status();
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(*port));

  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  close(fd);
}

TEST_F(ProgramTest, RandomTextHasTheLengthAskedForAndNeverRepeats) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) seen.insert(RandomHex(16));

  EXPECT_THAT(seen, SizeIs(100));
  for (const std::string& hex : seen) {
    EXPECT_THAT(hex, SizeIs(32));
    EXPECT_EQ(hex.find_first_not_of("0123456789abcdef"), std::string::npos);
  }
  EXPECT_THAT(RandomHex(0), IsEmpty());
}

TEST_F(ProgramTest, TheFactsOfTheHostAreFilledIn) {
  const Value facts = HostFacts();

  EXPECT_FALSE(facts.Find("os")->string().empty());
  EXPECT_FALSE(facts.Find("kernel")->string().empty());
  EXPECT_FALSE(facts.Find("machine")->string().empty());
  EXPECT_GT(facts.Find("cpus")->number(), 0);
  EXPECT_GT(facts.Find("memory_bytes")->number(), 1e6);
  EXPECT_EQ(facts.Find("python")->string().empty(), !fs::exists("/usr/bin/python3"));
  EXPECT_FALSE(HostName().empty());
}

using ResourcesTest = OsTest;

TEST_F(ResourcesTest, TheLowestQuotaOfAllGroupsAboveCounts) {
  const core::Resources machine{8'000, int64_t{64} << 30, 0};
  const auto put = [this](const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(At(name)).parent_path());
    Write(name, text);
  };
  EXPECT_EQ(WithinCgroups(machine, dir_), machine);

  put("proc/self/cgroup", "0::/ci/agent\n");
  put("sys/fs/cgroup/ci/cpu.max", "250000 100000\n");
  put("sys/fs/cgroup/ci/memory.max", "8589934592\n");
  put("sys/fs/cgroup/ci/agent/cpu.max", "max 100000\n");
  put("sys/fs/cgroup/ci/agent/memory.max", "17179869184\n");

  EXPECT_EQ(WithinCgroups(machine, dir_), (core::Resources{2'500, int64_t{8} << 30, 0}));
}

TEST_F(ResourcesTest, GroupsOfVersionOneCountTooAndSoDoTheRootsInsideOfAContainer) {
  const core::Resources machine{8'000, int64_t{64} << 30, 0};
  fs::create_directories(At("proc/self"));
  Write("proc/self/cgroup", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n");
  fs::create_directories(At("sys/fs/cgroup/memory"));
  fs::create_directories(At("sys/fs/cgroup/cpu,cpuacct/docker/abc"));
  // Of the host's path the container sees nothing; its own group is the topmost folder.
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "150000\n");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");

  EXPECT_EQ(WithinCgroups(machine, dir_), (core::Resources{1'500, int64_t{2} << 30, 0}));
}

TEST_F(ResourcesTest, ThisMachineHasSome) {
  EXPECT_GE(HostResources().cpu_millis, 100);
  EXPECT_GT(HostResources().memory_bytes, 1'000'000);
}

TEST_F(ProgramTest, TheClocksGoForward) {
  const auto clock = MakeClock();
  const Duration begin = clock->Steady();
  const auto tail = files_->Tail(At("log"), 0);
  (*tail)->Wait(Duration(2));

  EXPECT_GE(clock->Steady() - begin, Duration(1));
  EXPECT_GT(clock->Now(), UtcTime{1'700'000'000'000});
}

}  // namespace
}  // namespace cd4ml::os
