// The keeper with real processes, through the agent's side of it; once with every way that it has of
// keeping them together.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "cd4ml/base/status.h"
#include "cd4ml/os/os.h"
#include "cd4ml/ports/keeper_wire.h"

namespace cd4ml {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;

namespace fs = std::filesystem;

constexpr auto kPatience = std::chrono::seconds(30);

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A runner with a memory of what has ended.
class Agent {
 public:
  Agent(const std::string& state, const std::string& binary) {
    auto runner = os::ConnectKeeper(state, binary);
    EXPECT_TRUE(runner.ok()) << runner.status();
    if (!runner.ok()) return;
    runner_ = std::move(*runner);
    runner_->OnExit([this](const ProcessStatus& status) {
      const std::lock_guard lock(mutex_);
      EXPECT_FALSE(ended_.contains(status.id)) << status.id << " ended twice";
      ended_[status.id] = status;
      changed_.notify_all();
    });
  }

  ProcessRunner& runner() { return *runner_; }

  // Drops the record of an ended process, whose id may then be that of another one.
  absl::Status Forget(const std::string& id) {
    const absl::Status status = runner_->Forget(id);
    const std::lock_guard lock(mutex_);
    if (status.ok()) ended_.erase(id);
    return status;
  }

  // Returns how `id` ended, as the listener heard it.
  ProcessStatus Await(const std::string& id) {
    std::unique_lock lock(mutex_);
    const bool heard = changed_.wait_for(lock, kPatience, [&] { return ended_.contains(id); });
    EXPECT_TRUE(heard) << id << " has not ended";
    return ended_[id];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, ProcessStatus> ended_;
  std::unique_ptr<ProcessRunner> runner_;  // Last: its thread uses the others.
};

// A named pipe by which scripts say how far they are.
class Signpost {
 public:
  explicit Signpost(const std::string& path) {
    mkfifo(path.c_str(), 0600);
    fd_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
  }
  ~Signpost() { close(fd_); }

  // Returns the next line.
  std::string Next() {
    std::string line;
    pollfd polled{fd_, POLLIN, 0};
    for (char c = 0; c != '\n'; line.push_back(c)) {
      if (poll(&polled, 1, 30'000) <= 0 || read(fd_, &c, 1) != 1) return "nothing came";
    }
    line.pop_back();
    return line;
  }

 private:
  int fd_;
};

// What the keeper can make use of.
enum class World { kCgroup2, kDeniedClone3, kFreezer, kNoCgroup };

class KeeperTest : public testing::TestWithParam<World> {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/cd4ml_keeper_XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    dir_ = folder;
    state_ = dir_ + "/state";
    fs::create_directory(state_);
    binary_ = CD4ML_KEEPER;
    if (GetParam() == World::kCgroup2) return;
    binary_ = dir_ + "/keeper";
    const std::map<World, std::string> commands = {
        {World::kDeniedClone3, CD4ML_DENY_CLONE3 " " CD4ML_KEEPER " \"$@\""},
        {World::kFreezer, CD4ML_KEEPER " \"$@\" --without-cgroup2"},
        {World::kNoCgroup, CD4ML_KEEPER " \"$@\" --without-cgroup"}};
    WriteFile(binary_, "#!/bin/sh\nexec " + commands.at(GetParam()) + "\n");
    chmod(binary_.c_str(), 0755);
  }

  void TearDown() override {
    agent_.reset();
    StopKeeper(SIGTERM);
    EXPECT_THAT(Survivors(), IsEmpty());
    fs::remove_all(dir_);
  }

  Agent& agent() {
    if (!agent_) agent_ = std::make_unique<Agent>(state_, binary_);
    return *agent_;
  }
  ProcessRunner& runner() { return agent().runner(); }

  // A shell script as a process that carries a mark which Survivors finds.
  ProcessSpec Script(const std::string& id, const std::string& script) const {
    ProcessSpec spec;
    spec.id = id;
    spec.argv = {"/bin/sh", "-c", script};
    spec.env = {{"PATH", "/usr/bin:/bin"}, {"DIR", dir_}, {"MARK", dir_}};
    spec.dir = dir_;
    spec.log = dir_ + "/" + id.substr(0, 100) + ".log";
    spec.grace = Duration(100);
    return spec;
  }

  ProcessStatus Run(const ProcessSpec& spec) {
    const absl::Status started = runner().Start(spec);
    EXPECT_TRUE(started.ok()) << started;
    return started.ok() ? agent().Await(spec.id) : ProcessStatus{};
  }
  ProcessStatus Run(const std::string& id, const std::string& script) {
    return Run(Script(id, script));
  }
  std::string Log(const std::string& id) const { return ReadFile(dir_ + "/" + id + ".log"); }

  pid_t KeeperPid() const { return std::atoi(ReadFile(state_ + "/keeper.lock").c_str()); }

  // Returns whether the keeper puts processes into control groups: it was allowed to, and could.
  bool HasCgroup() const {
    return ReadFile(state_ + "/keeper.log").find("cgroup=none") == std::string::npos;
  }

  // Sends the keeper a signal and waits until it is gone.
  void StopKeeper(int signal) const {
    const pid_t pid = KeeperPid();
    const int fd = pid <= 0 ? -1 : static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0) return;
    kill(pid, signal);
    pollfd polled{fd, POLLIN, 0};
    EXPECT_EQ(poll(&polled, 1, 30'000), 1) << "the keeper has not ended";
    close(fd);
  }

  // Returns the ids and commands of all processes that carry the mark of this test.
  std::vector<std::string> Survivors() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string environment = ReadFile(entry.path() / "environ");
      if (environment.find("MARK=" + dir_ + '\0') == std::string::npos) continue;
      found.push_back(entry.path().filename().string() + " " + ReadFile(entry.path() / "comm"));
    }
    return found;
  }

  std::string dir_;
  std::string state_;
  std::string binary_;
  std::unique_ptr<Agent> agent_;
};

std::string NameOf(const testing::TestParamInfo<World>& instance) {
  const char* const names[] = {"WithCgroup2", "WithoutClone3", "WithFreezer", "WithoutCgroup"};
  return names[static_cast<int>(instance.param)];
}

INSTANTIATE_TEST_SUITE_P(, KeeperTest,
                         testing::Values(World::kCgroup2, World::kDeniedClone3, World::kFreezer,
                                         World::kNoCgroup),
                         NameOf);

TEST_P(KeeperTest, ReportsTheExitCode) {
  for (const int code : {0, 3, 255}) {
    const ProcessStatus status = Run("exit" + std::to_string(code), "exit " + std::to_string(code));

    EXPECT_EQ(status.state, ProcessState::kExited);
    EXPECT_EQ(status.exit_code, code);
    EXPECT_EQ(status.signal, 0);
    EXPECT_FALSE(status.killed || status.timed_out || status.lost);
    EXPECT_GE(status.ended, status.started);
    EXPECT_GT(status.max_rss_bytes, 100'000);
  }
}

TEST_P(KeeperTest, ReportsTheSignalThatEndedACommand) {
  const ProcessStatus status = Run("suicide", "kill -SEGV $$");

  EXPECT_EQ(status.exit_code, 128 + SIGSEGV);
  EXPECT_EQ(status.signal, SIGSEGV);
  EXPECT_FALSE(status.killed);
}

TEST_P(KeeperTest, ACommandThatCannotRunEndsWith127AndSaysWhy) {
  ProcessSpec missing = Script("missing", "");
  missing.argv = {"no-such-command"};
  ProcessSpec folder = Script("folder", "true");
  folder.dir = dir_ + "/nowhere";
  ProcessSpec log = Script("log", "true");
  log.log = dir_ + "/nowhere/log";
  ProcessSpec fifo = Script("fifo", "true");
  fifo.log = dir_ + "/fifo";
  Signpost signpost(fifo.log);

  for (const auto& [spec, message] :
       {std::pair(missing, "cannot execute \"no-such-command\": No such file or directory"),
        std::pair(folder, "/nowhere\": No such file or directory"),
        std::pair(log, "cannot open the log \""), std::pair(fifo, "is not a regular file")}) {
    const ProcessStatus status = Run(spec);
    EXPECT_EQ(status.exit_code, 127) << spec.id;
    EXPECT_THAT(status.message, HasSubstr(message));
  }
}

TEST_P(KeeperTest, AFileWithoutInterpreterLineRunsAsAShellScript) {
  WriteFile(dir_ + "/plain", "echo ran");
  chmod((dir_ + "/plain").c_str(), 0755);
  ProcessSpec spec = Script("plain", "");
  spec.argv = {"./plain"};

  EXPECT_EQ(Run(spec).exit_code, 0);
  EXPECT_EQ(Log("plain"), "ran\n");
}

TEST_P(KeeperTest, AppendsOutputAndErrorsToTheLog) {
  WriteFile(dir_ + "/both.log", "before\n");

  Run("both", "echo out; echo err >&2; echo out again");

  EXPECT_EQ(Log("both"), "before\nout\nerr\nout again\n");
}

TEST_P(KeeperTest, WhoeverOpensItsOutputAnewCutsNothingOff) {
  Run("anew", R"sh(echo one
echo two > /dev/stderr
echo three | tee /dev/stderr > /dev/null
python3 -c "open('/dev/stderr', 'w').write('four\n')"
echo five >&2)sh");

  EXPECT_EQ(Log("anew"), "one\ntwo\nthree\nfour\nfive\n");
}

TEST_P(KeeperTest, ALongOutputIsWholeAndInOrder) {
  Run("long", "seq 1 200000; seq 200001 200010 >&2");

  std::istringstream lines(Log("long"));
  int64_t expected = 0;
  for (std::string line; std::getline(lines, line);) ASSERT_EQ(line, std::to_string(++expected));
  EXPECT_EQ(expected, 200'010);
}

TEST_P(KeeperTest, ALogThatCannotBeWrittenDoesNotStopTheCommand) {
  ProcessSpec spec = Script("full", "head -c 1000000 /dev/zero && exit 4");
  spec.log = "/dev/full";

  EXPECT_EQ(Run(spec).exit_code, 4);
}

TEST_P(KeeperTest, TheEnvironmentIsTheGivenOneAndTheMark) {
  ProcessSpec spec = Script("env", "");
  spec.argv = {"env"};
  spec.env = {{"PATH", "/usr/bin:/bin"}, {"MULTI", "two\nlines"}, {"EMPTY", ""}};
  spec.env["UMLAUT"] = "\xc3\xa4=b";

  Run(spec);

  EXPECT_EQ(Log("env"),
            "CD4ML_PROCESS=" + state_ +
                "/env\nEMPTY=\nMULTI=two\nlines\nPATH=/usr/bin:/bin\nUMLAUT=\xc3\xa4=b\n");
}

TEST_P(KeeperTest, APathInTheEnvironmentFindsTheCommand) {
  fs::create_directory(dir_ + "/bin");
  WriteFile(dir_ + "/bin/mine", "#!/bin/sh\necho mine $1\n");
  chmod((dir_ + "/bin/mine").c_str(), 0755);
  ProcessSpec spec = Script("path", "");
  spec.env["PATH"] = dir_ + "/bin:/usr/bin:/bin";
  spec.argv = {"mine", "a b"};

  Run(spec);

  EXPECT_EQ(Log("path"), "mine a b\n");
}

TEST_P(KeeperTest, StandardInputIsEmptyAndNothingElseIsOpen) {
  Run("files", "cat; ls -1 /proc/self/fd; readlink /proc/self/fd/0");

  EXPECT_EQ(Log("files"), "0\n1\n2\n3\n/dev/null\n");  // 3 is the folder that ls reads.
}

TEST_P(KeeperTest, NoSignalIsBlockedOrIgnoredAndTheSessionIsOwn) {
  Run("signals",
      "grep -E 'SigBlk|SigIgn' /proc/self/status; test $(ps -o sid= -p $$) = $$ && echo own "
      "session; pwd");

  // The C library keeps signals 32 and 33 to itself.
  EXPECT_THAT(
      Log("signals"),
      MatchesRegex("SigBlk:\t0{16}\nSigIgn:\t0{7}[01][08]0{7}\nown session\n" + dir_ + "\n"));
}

TEST_P(KeeperTest, ACommandThatRunsTooLongIsEnded) {
  ProcessSpec spec = Script("slow", "sleep 1000");
  spec.timeout = Duration(100);

  const ProcessStatus status = Run(spec);

  EXPECT_TRUE(status.timed_out);
  EXPECT_FALSE(status.killed);
  EXPECT_EQ(status.signal, SIGTERM);
}

TEST_P(KeeperTest, ACommandThatSaysNothingForTooLongIsEnded) {
  ProcessSpec spec = Script("silent", "echo one; sleep 0.2; echo two; sleep 1000");
  spec.silence = Duration(400);
  spec.timeout = Duration(600'000);

  const ProcessStatus status = Run(spec);

  EXPECT_TRUE(status.silent);
  EXPECT_FALSE(status.timed_out);
  EXPECT_FALSE(status.killed);
  EXPECT_EQ(status.signal, SIGTERM);
  EXPECT_EQ(Log("silent"), "one\ntwo\n");
  EXPECT_GE(status.ended.ms - status.started.ms, 600);
}

TEST_P(KeeperTest, ACommandThatKeepsTalkingIsNotEndedHoweverLongItTakes) {
  ProcessSpec spec = Script("talks", "for i in 1 2 3 4 5 6 7 8; do printf .; sleep 0.1; done");
  spec.silence = Duration(500);

  const ProcessStatus status = Run(spec);

  EXPECT_FALSE(status.silent);
  EXPECT_EQ(status.exit_code, 0);
}

TEST_P(KeeperTest, TheSilenceIsCountedWhileNoAgentIsThere) {
  ProcessSpec spec = Script("silent", "sleep 1000");
  spec.silence = Duration(200);
  ASSERT_TRUE(runner().Start(spec).ok());

  agent_.reset();

  EXPECT_TRUE(agent().Await("silent").silent);
}

TEST_P(KeeperTest, ACommandMayEndItselfInItsGrace) {
  Signpost signpost(dir_ + "/signpost");
  ProcessSpec spec = Script(
      "polite", "trap 'echo saved; exit 7' TERM; echo up > signpost; while :; do sleep 0.01; done");
  spec.grace = Duration(30'000);
  ASSERT_TRUE(runner().Start(spec).ok());
  signpost.Next();

  ASSERT_TRUE(runner().Kill("polite").ok());

  const ProcessStatus status = agent().Await("polite");
  EXPECT_TRUE(status.killed);
  EXPECT_EQ(status.exit_code, 7);
  EXPECT_THAT(Log("polite"), HasSubstr("saved\n"));
}

TEST_P(KeeperTest, AStoppedCommandCanBeEnded) {
  Signpost signpost(dir_ + "/signpost");
  ProcessSpec spec = Script("stopped", "echo up > signpost; kill -STOP $$; echo woke");
  spec.grace = Duration(30'000);
  ASSERT_TRUE(runner().Start(spec).ok());
  signpost.Next();

  ASSERT_TRUE(runner().Kill("stopped").ok());

  EXPECT_EQ(agent().Await("stopped").signal, SIGTERM);
}

// Each script starts something that tries to stay, and writes "up" when it is there.
const std::map<std::string, std::string>& HostileScripts() {
  static const std::map<std::string, std::string> scripts = {
      {"plain", "sleep 1000 & echo up > signpost; wait"},
      {"session", "setsid sleep 1000 & echo up > signpost; wait"},
      {"hangup", "nohup sleep 1000 & echo up > signpost; wait"},
      {"double-fork",
       "(setsid sh -c 'sleep 1000 & sleep 1000 & echo up > signpost' &); sleep 1000"},
      {"deaf",
       "trap '' TERM HUP INT; (setsid sleep 1000 &); echo up > signpost; while :; do sleep 1; "
       "done"},
      {"no-environment",
       "env -i MARK=$MARK sleep 1000 & env -i MARK=$MARK setsid sleep 1000 & "
       "echo up > signpost; wait"},
      {"traceless-orphan",
       "(env -i MARK=$MARK setsid sh -c '(sleep 1000 &) ; sleep 1000 & echo up > "
       "signpost' &); sleep 1000"},
      {"stopped", "(setsid sh -c 'kill -STOP $$; sleep 1000' &); echo up > signpost; sleep 1000"},
      {"bomb",
       "bomb() { test $1 = 0 || { bomb $(($1 - 1)) & bomb $(($1 - 1)) & }; sleep 1000; }; "
       "bomb 6 & echo up > signpost; wait"},
      {"parentless",
       "kill -KILL $PPID; (env -i MARK=$MARK setsid sh -c '(sleep 1000 &) ; sleep 1000 & echo up > "
       "signpost' &); sleep 1000"},
      {"parent-stopped", "kill -STOP $PPID; setsid sleep 1000 & echo up > signpost; wait"},
      {"hopping",
       "echo '#!/bin/sh\nsetsid \"$0\" & exit' > hop; chmod 755 hop; ./hop; "
       "echo up > signpost; sleep 1000"},
  };
  return scripts;
}

TEST_P(KeeperTest, KillLeavesNothingOfHostileScripts) {
  Signpost signpost(dir_ + "/signpost");
  ProcessSpec bystander = Script("bystander", "sleep 1000");
  bystander.env.erase("MARK");
  ASSERT_TRUE(runner().Start(bystander).ok());
  for (const auto& [id, script] : HostileScripts()) {
    ASSERT_TRUE(runner().Start(Script(id, script)).ok());
    ASSERT_EQ(signpost.Next(), "up") << id;

    ASSERT_TRUE(runner().Kill(id).ok());

    EXPECT_TRUE(agent().Await(id).killed) << id;
    EXPECT_THAT(Survivors(), IsEmpty()) << id;
    EXPECT_EQ(runner().Status("bystander")->state, ProcessState::kRunning) << id;
  }
}

TEST_P(KeeperTest, ACommandThatAsksItsParentToEndChangesNothing) {
  for (const std::string signal : {"TERM", "INT", "HUP"}) {
    EXPECT_EQ(Run("asks-" + signal, "kill -" + signal + " $PPID; exit 6").exit_code, 6);
  }
}

TEST_P(KeeperTest, ACommandThatStopsItsParentIsEndedInTime) {
  ProcessSpec spec = Script("stops", "kill -STOP $PPID; exit 6");
  spec.timeout = Duration(300);

  EXPECT_TRUE(Run(spec).timed_out);
}

TEST_P(KeeperTest, KillOfOneProcessSparesTheOthers) {
  Signpost signpost(dir_ + "/signpost");
  ASSERT_EQ(mkfifo((dir_ + "/never").c_str(), 0600), 0);
  // What is up has executed its last program: in the middle of an exec a process shows no mark.
  const std::string two = "setsid sh -c 'echo up > signpost; read x < never' & wait";
  ASSERT_TRUE(runner().Start(Script("other", two)).ok());
  signpost.Next();
  ASSERT_TRUE(runner().Start(Script("this", two)).ok());
  signpost.Next();
  EXPECT_EQ(Survivors().size(), 4U);

  ASSERT_TRUE(runner().Kill("this").ok());
  agent().Await("this");

  EXPECT_EQ(Survivors().size(), 2U);
  EXPECT_EQ(runner().Status("other")->state, ProcessState::kRunning);
}

TEST_P(KeeperTest, AKeeperThatIsStoppedIsWokenByWhoeverNeedsIt) {
  ASSERT_TRUE(runner().Start(Script("one", "sleep 1000")).ok());
  ASSERT_EQ(kill(KeeperPid(), SIGSTOP), 0);

  EXPECT_TRUE(runner().Kill("one").ok());
  EXPECT_TRUE(agent().Await("one").killed);
}

TEST_P(KeeperTest, AKeeperThatIsStoppedIsWokenToEndWhatTakesTooLong) {
  ProcessSpec spec = Script("slow", "sleep 1000");
  spec.timeout = Duration(100);
  ASSERT_TRUE(runner().Start(spec).ok());
  ASSERT_EQ(kill(KeeperPid(), SIGSTOP), 0);

  EXPECT_TRUE(agent().Await("slow").timed_out);
}

TEST_P(KeeperTest, WhatACommandLeavesBehindEndsWithIt) {
  Signpost signpost(dir_ + "/signpost");
  for (const std::string start :
       {"sleep 1000 &", "(setsid nohup sleep 1000 &)", "(trap '' TERM; sleep 1000) &",
        "(env -i MARK=$MARK setsid sleep 1000 &)"}) {
    const std::string id = "leaves" + std::to_string(start.size());

    const ProcessStatus status = Run(id, start + "\nexit 4");

    EXPECT_EQ(status.exit_code, 4);
    EXPECT_FALSE(status.killed);
    EXPECT_THAT(Survivors(), IsEmpty()) << start;
  }
}

TEST_P(KeeperTest, AReaperServesTheNextCommandWhichFindsNothingOfTheOneBefore) {
  ProcessSpec first = Script("first", "echo $PPID; echo secret >&2; exit 3");
  first.env["SECRET"] = "1";
  EXPECT_EQ(Run(first).exit_code, 3);

  const ProcessStatus second = Run("second", "echo $PPID; ls -1 /proc/self/fd; env | grep -c SECRET; exit 4");

  EXPECT_EQ(second.exit_code, 4);
  const std::string reaper = Log("first").substr(0, Log("first").find('\n') + 1);
  EXPECT_EQ(Log("first"), reaper + "secret\n");
  EXPECT_EQ(Log("second"), reaper + "0\n1\n2\n3\n0\n");
}

TEST_P(KeeperTest, AReaperWhoseCommandLeftSomethingServesNoOther) {
  Run("first", "echo $PPID; sleep 1000 &");
  Run("second", "echo $PPID");

  EXPECT_NE(Log("first"), Log("second"));
}

TEST_P(KeeperTest, AReaperThatWasStoppedOrKilledWhileItWaitedIsInNobodysWay) {
  Run("first", "echo $PPID");
  const pid_t reaper = std::atoi(Log("first").c_str());
  ASSERT_GT(reaper, 0);

  ASSERT_EQ(kill(reaper, SIGSTOP), 0);
  EXPECT_EQ(Run("second", "echo $PPID; exit 5").exit_code, 5);
  EXPECT_EQ(Log("second"), Log("first"));

  ASSERT_EQ(kill(reaper, SIGKILL), 0);
  EXPECT_EQ(Run("third", "echo $PPID; exit 6").exit_code, 6);
  EXPECT_NE(Log("third"), Log("first"));
}

TEST_P(KeeperTest, ACommandThatCannotBeStartedLeavesItsReaperForTheNext) {
  ProcessSpec spec = Script("large", "echo $PPID");
  spec.env["LARGE"] = std::string(150'000, 'x');   // More than a program may be given in one variable.
  EXPECT_EQ(Run(spec).exit_code, 127);

  EXPECT_EQ(Run("next", "exit 7").exit_code, 7);
}

TEST_P(KeeperTest, RunsTwoHundredQuickCommandsAtOnce) {
  for (int i = 0; i < 200; ++i) {
    ProcessSpec spec = Script("quick-" + std::to_string(i), "");
    spec.argv = {i % 2 == 0 ? "true" : "false"};
    spec.log = "/dev/null";
    ASSERT_TRUE(runner().Start(spec).ok());
  }

  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(agent().Await("quick-" + std::to_string(i)).exit_code, i % 2);
  }
  EXPECT_EQ(runner().List()->size(), 200U);
}

TEST_P(KeeperTest, AServiceIsStartedAgainUntilItIsKilled) {
  Signpost signpost(dir_ + "/signpost");
  ProcessSpec spec = Script("service", "echo $$ > signpost; mkdir ran && exit 1; sleep 1000");
  spec.keep_alive = true;
  ASSERT_TRUE(runner().Start(spec).ok());
  const std::string first = signpost.Next();
  const int second = std::atoi(signpost.Next().c_str());
  ASSERT_GT(second, 0);
  kill(second, SIGKILL);
  const std::string last = signpost.Next();

  const auto running = runner().Status("service");
  EXPECT_NE(first, last);
  EXPECT_EQ(running->state, ProcessState::kRunning);
  EXPECT_EQ(std::to_string(running->pid), last);
  EXPECT_GE(running->restarts, 2);

  ASSERT_TRUE(runner().Kill("service").ok());
  const ProcessStatus status = agent().Await("service");
  EXPECT_TRUE(status.killed);
  EXPECT_EQ(status.restarts, running->restarts);
}

TEST_P(KeeperTest, AServiceThatCannotRunSaysSoAndCanBeKilled) {
  ProcessSpec spec = Script("broken", "");
  spec.argv = {"/no/such/service"};
  spec.keep_alive = true;
  ASSERT_TRUE(runner().Start(spec).ok());
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (runner().Status("broken")->message.empty() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }

  ASSERT_TRUE(runner().Kill("broken").ok());

  EXPECT_THAT(agent().Await("broken").message, HasSubstr("cannot execute \"/no/such/service\""));
}

TEST_P(KeeperTest, AnIdIsTakenUntilItIsForgotten) {
  Signpost signpost(dir_ + "/signpost");
  ASSERT_TRUE(runner().Start(Script("one", "sleep 1000")).ok());

  EXPECT_TRUE(absl::IsAlreadyExists(runner().Start(Script("one", "true"))));
  EXPECT_TRUE(absl::IsFailedPrecondition(runner().Forget("one")));
  ASSERT_TRUE(runner().Kill("one").ok());
  agent().Await("one");
  EXPECT_TRUE(absl::IsAlreadyExists(runner().Start(Script("one", "true"))));
  EXPECT_TRUE(runner().Kill("one").ok());  // What has ended may be killed.
  EXPECT_TRUE(agent().Forget("one").ok());
  EXPECT_TRUE(absl::IsNotFound(runner().Forget("one")));
  EXPECT_TRUE(absl::IsNotFound(runner().Status("one").status()));
  EXPECT_TRUE(absl::IsNotFound(runner().Kill("one")));
  ASSERT_TRUE(runner().Start(Script("one", "true")).ok());
  EXPECT_EQ(agent().Await("one").exit_code, 0);
}

TEST_P(KeeperTest, RefusesHostileSpecs) {
  std::vector<ProcessSpec> hostile;
  for (const std::string& id :
       {std::string(), std::string("."), std::string(".."), std::string("../x"), std::string("a/b"),
        std::string("-x"), std::string("a b"), std::string("a\0b", 3), std::string("\xff"),
        std::string(201, 'a')}) {
    hostile.push_back(Script("", "true"));
    hostile.back().id = id;
  }
  const auto add = [&](auto change) {
    hostile.push_back(Script("fine", "true"));
    change(hostile.back());
  };
  add([](ProcessSpec& spec) { spec.argv.clear(); });
  add([](ProcessSpec& spec) { spec.argv = {""}; });
  add([](ProcessSpec& spec) { spec.argv = {std::string("tr\0ue", 5)}; });
  add([](ProcessSpec& spec) { spec.dir = "relative"; });
  add([](ProcessSpec& spec) { spec.log = "relative"; });
  add([](ProcessSpec& spec) { spec.log = ""; });
  add([](ProcessSpec& spec) { spec.env["A=B"] = "x"; });
  add([](ProcessSpec& spec) { spec.env[""] = "x"; });
  add([](ProcessSpec& spec) { spec.env["A"] = std::string("x\0y", 3); });
  add([](ProcessSpec& spec) { spec.timeout = Duration(-1); });
  add([](ProcessSpec& spec) { spec.grace = Duration::max(); });
  add([](ProcessSpec& spec) { spec.argv.push_back(std::string(300'000, 'x')); });

  for (const ProcessSpec& spec : hostile) {
    EXPECT_TRUE(absl::IsInvalidArgument(runner().Start(spec))) << spec.id;
  }
  EXPECT_THAT(*runner().List(), IsEmpty());
}

TEST_P(KeeperTest, IdsThatLookLikeFilesOfTheKernelAreIdsLikeAnyOther) {
  for (const std::string& id : std::vector<std::string>{"cgroup.procs", "cgroup.kill", "processes",
                                                        "a..b", std::string(200, 'z')}) {
    EXPECT_EQ(Run(id, "exit 6").exit_code, 6) << id;
  }
}

// Connects to the keeper's socket as an agent that has gone mad would.
int RawConnection(const std::string& state) {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (state + "/keeper.sock").copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return fd;
}

TEST_P(KeeperTest, GarbageIsAnsweredWithAnErrorAndHurtsNobody) {
  ASSERT_TRUE(runner().Start(Script("bystander", "sleep 1000")).ok());
  WireWriter start;
  start.Number(static_cast<int64_t>(KeeperCall::kStart));
  Write(start, Script("cut", "true"));
  std::vector<std::string> messages = {
      "x",
      std::string(8, '\0'),
      std::string(100'000, '\xff'),
      WireWriter().Number(1).Number(int64_t{1} << 62).bytes(),
      WireWriter().Number(99).Text("bystander").bytes(),
      WireWriter().Number(4).Text("bystander").Text("more").bytes()};
  for (size_t size = 8; size < start.bytes().size(); size += 7) {
    messages.push_back(start.bytes().substr(0, size));
  }

  const int fd = RawConnection(state_);
  for (const std::string& message : messages) {
    ASSERT_EQ(send(fd, message.data(), message.size(), 0), static_cast<ssize_t>(message.size()));
    char reply[1000];
    const ssize_t got = recv(fd, reply, sizeof reply, 0);
    ASSERT_GT(got, 0);
    WireReader reader({reply, static_cast<size_t>(got)});
    EXPECT_EQ(reader.Number(), static_cast<int64_t>(absl::StatusCode::kInvalidArgument));
  }
  close(fd);

  EXPECT_EQ(runner().Status("bystander")->state, ProcessState::kRunning);
  EXPECT_EQ(runner().List()->size(), 1U);
}

TEST_P(KeeperTest, NobodyElseMayTalkToTheKeeperOrReadItsRecords) {
  ASSERT_TRUE(runner().List().ok());

  for (const char* const file : {"keeper.sock", "keeper.lock", "processes"}) {
    struct stat facts {};
    ASSERT_EQ(stat((state_ + "/" + file).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0600U) << file;
  }
}

TEST_P(KeeperTest, AnAgentThatNeverReadsDoesNotStopTheOthers) {
  ASSERT_TRUE(runner().List().ok());
  const int fd = RawConnection(state_);
  const std::string request = WireWriter().Number(3).Text("").bytes();
  for (int i = 0; i < 20'000; ++i) {
    if (send(fd, request.data(), request.size(), MSG_DONTWAIT) < 0) break;
  }

  EXPECT_EQ(Run("after", "exit 2").exit_code, 2);
  close(fd);
}

TEST_P(KeeperTest, AKilledAgentFindsItsProcessesAndResultsAgain) {
  Signpost signpost(dir_ + "/signpost");
  Signpost gate(dir_ + "/gate");
  const pid_t former_agent = fork();
  if (former_agent == 0) {
    auto mine = os::ConnectKeeper(state_, binary_);
    const bool started =
        mine.ok() && (*mine)->Start(Script("done", "echo done > signpost; exit 9")).ok() &&
        (*mine)->Start(Script("running", "echo running > signpost; read x < gate; exit 8")).ok();
    if (!started) _exit(1);
    while (true) pause();
  }
  const std::string lines = signpost.Next() + signpost.Next();
  EXPECT_THAT(lines, AllOf(HasSubstr("done"), HasSubstr("running")));
  kill(former_agent, SIGKILL);
  waitpid(former_agent, nullptr, 0);

  EXPECT_EQ(agent().Await("done").exit_code, 9);
  EXPECT_EQ(runner().Status("running")->state, ProcessState::kRunning);
  WriteFile(dir_ + "/gate", "go\n");
  EXPECT_EQ(agent().Await("running").exit_code, 8);
}

TEST_P(KeeperTest, AKilledKeeperLosesItsProcessesAndSaysSo) {
  Signpost signpost(dir_ + "/signpost");
  EXPECT_EQ(Run("before", "exit 3").exit_code, 3);
  std::vector<std::string> lost;
  for (const auto& [id, script] : HostileScripts()) {
    // Without keeper and reaper, only a cgroup knows what has no trace.
    if (id == "parentless" && !HasCgroup()) continue;
    lost.push_back(id);
    ASSERT_TRUE(runner().Start(Script(id, script)).ok());
    ASSERT_EQ(signpost.Next(), "up") << id;
  }
  const pid_t former = KeeperPid();

  StopKeeper(SIGKILL);

  for (const std::string& id : lost) {
    const ProcessStatus ended = agent().Await(id);
    EXPECT_TRUE(ended.lost) << id;
    EXPECT_EQ(ended.exit_code, -1) << id;
  }
  EXPECT_NE(KeeperPid(), former);
  EXPECT_THAT(Survivors(), IsEmpty());
  EXPECT_EQ(runner().Status("before")->exit_code, 3);
}

TEST_P(KeeperTest, ResultsOutliveTheKeeper) {
  EXPECT_EQ(Run("kept", "exit 3").exit_code, 3);
  Run("dropped", "true");
  ASSERT_TRUE(runner().Forget("dropped").ok());

  StopKeeper(SIGTERM);

  const auto kept = runner().Status("kept");
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->exit_code, 3);
  EXPECT_FALSE(kept->lost);
  EXPECT_TRUE(absl::IsNotFound(runner().Status("dropped").status()));
}

TEST_P(KeeperTest, ToldToEndTheKeeperEndsItsProcesses) {
  Signpost signpost(dir_ + "/signpost");
  ASSERT_TRUE(runner().Start(Script("stage", "setsid sleep 1000 & echo up > signpost; wait")).ok());
  ProcessSpec service = Script("service", "sleep 1000");
  service.keep_alive = true;
  ASSERT_TRUE(runner().Start(service).ok());
  signpost.Next();

  StopKeeper(SIGTERM);

  EXPECT_THAT(Survivors(), IsEmpty());
  EXPECT_TRUE(agent().Await("stage").killed);
  EXPECT_TRUE(agent().Await("service").killed);
}

TEST_P(KeeperTest, DamagedRecordsEndWhatNobodyKnowsAnyMore) {
  Signpost signpost(dir_ + "/signpost");
  ASSERT_TRUE(runner().Start(Script("known", "sleep 1000 & echo up > signpost; wait")).ok());
  signpost.Next();
  agent_.reset();
  StopKeeper(SIGKILL);
  for (const std::string& damage :
       {std::string("garbage"), std::string(100, '\xff'), std::string(8, '\0')}) {
    WriteFile(state_ + "/processes", damage);

    agent_.reset();
    ASSERT_TRUE(runner().List().ok());

    EXPECT_EQ(Run("fresh", "exit 1").exit_code, 1);
    EXPECT_THAT(Survivors(), IsEmpty());
    agent_.reset();
    StopKeeper(SIGTERM);
  }
}

TEST_P(KeeperTest, TheRecordsDoNotGrowForEver) {
  for (int i = 0; i < 60; ++i) {
    ProcessSpec spec = Script("large" + std::to_string(i), "true");
    spec.env["LARGE"] = std::string(100'000, 'x');
    Run(spec);
    ASSERT_TRUE(runner().Forget(spec.id).ok());
  }

  EXPECT_LT(fs::file_size(state_ + "/processes"), 5'000'000U);
}

TEST_P(KeeperTest, MemoryIsThatOfAllThatWasStartedAndSharedPagesCountOnce) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  Signpost signpost(dir_ + "/up");
  WriteFile(dir_ + "/eat.py", R"py(
import os, sys
def say():
    with open("up", "w") as up: up.write("up\n")
mine = bytearray(os.urandom(1) * (60 << 20))
if os.fork() == 0:             # A child of its own, and one that has left its session and its parent.
    more = bytearray(b"x" * (40 << 20))
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            most = bytearray(b"y" * (50 << 20))
            say()
        else:
            os._exit(0)
import time
time.sleep(600)
)py");
  ProcessSpec spec = Script("eat", "");
  spec.argv = {"/usr/bin/python3", "eat.py"};
  ASSERT_TRUE(runner().Start(spec).ok());
  ASSERT_EQ(signpost.Next(), "up");

  const absl::StatusOr<ProcessMemory> memory = runner().Memory("eat");
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_GE(memory->bytes, 150 * kMiB);
  EXPECT_LE(memory->bytes, 190 * kMiB) << "60 MiB are shared by three, 40 MiB by two";
  EXPECT_GE(memory->peak_of_one, 150 * kMiB);

  EXPECT_TRUE(runner().Kill("eat").ok());
  agent().Await("eat");
  EXPECT_EQ(runner().Memory("eat")->bytes, 0);
  EXPECT_TRUE(absl::IsNotFound(runner().Memory("nobody").status()));
}

TEST_P(KeeperTest, OneKeeperServesAllAgentsOfAFolder) {
  std::vector<std::thread> threads;
  std::vector<absl::Status> results(8);
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      auto mine = os::ConnectKeeper(state_, binary_);
      results[i] =
          mine.ok() ? (*mine)->Start(Script("by" + std::to_string(i), "true")) : mine.status();
    });
  }
  for (std::thread& thread : threads) thread.join();

  for (const absl::Status& result : results) EXPECT_TRUE(result.ok()) << result;
  EXPECT_EQ(runner().List()->size(), results.size());
}

TEST_P(KeeperTest, AFolderWithALongPathWorks) {
  state_ = dir_ + "/" + std::string(200, 'l') + "/" + std::string(200, 'o') + "ng";
  fs::create_directories(state_);

  EXPECT_EQ(Run("far", "exit 1").exit_code, 1);
}

TEST_P(KeeperTest, AKeeperThatCannotStartSaysWhy) {
  const auto no_folder = os::ConnectKeeper(dir_ + "/nowhere", binary_);
  EXPECT_THAT(Message(no_folder.status()), HasSubstr("nowhere\": No such file or directory"));

  const auto no_binary = os::ConnectKeeper(state_, dir_ + "/no-keeper");
  EXPECT_THAT(Message(no_binary.status()), HasSubstr("no-keeper\": No such file or directory"));

  const auto no_keeper = os::ConnectKeeper(state_, "/bin/false");
  EXPECT_THAT(Message(no_keeper.status()), HasSubstr("\"/bin/false\" did not start"));

  fs::create_directory(state_ + "/keeper.lock");
  const auto no_lock = os::ConnectKeeper(state_, binary_);
  EXPECT_THAT(Message(no_lock.status()), HasSubstr("cannot open keeper.lock: Is a directory"));
  fs::remove(state_ + "/keeper.lock");
}

}  // namespace
}  // namespace cd4ml
