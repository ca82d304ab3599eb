// The keeper as a program: becoming a daemon, the socket, and the loop that waits for everything at
// once.
#include "cd4ml/keeper/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <list>

#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/ports/keeper_wire.h"
#include "cgroup.h"
#include "supervisor.h"

namespace cd4ml::keeper {
namespace {

constexpr int kIdleMs = 10'000;  // Without process and agent for so long, the keeper ends.
constexpr size_t kConnectionsMax = 64;
constexpr size_t kOutboxMax = 100'000;  // Messages to an agent that does not read.
constexpr size_t kListPage = 100;
constexpr const char* kReady = "ready";
constexpr int kLockTries = 1000;  // Of 5 ms each.

// Returns the socket's address. The folder is the working directory, because a path in an address
// holds no more than 107 bytes.
sockaddr_un SocketAddress() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  kKeeperSocket.copy(address.sun_path, kKeeperSocket.size());
  return address;
}

absl::Status SystemError(const std::string& what) {
  return absl::UnavailableError(what + ": " + std::strerror(errno));
}

// One agent, or a former one that has not noticed yet.
struct Connection {
  int fd = -1;
  bool watches = false;
  bool broken = false;
  std::deque<std::string> outbox;

  void Send(std::string message) {
    if (outbox.size() >= kOutboxMax) broken = true;
    if (!broken) outbox.push_back(std::move(message));
    Flush();
  }
  void Flush() {
    while (!broken && !outbox.empty()) {
      if (send(fd, outbox.front().data(), outbox.front().size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        broken = errno != EAGAIN && errno != EINTR;
        return;
      }
      outbox.pop_front();
    }
  }
};

class Server {
 public:
  Server(int listener, int signals, Supervisor& supervisor)
      : listener_(listener), signals_(signals), supervisor_(supervisor) {}

  // Returns when there is nothing more to do.
  void Run() {
    while (!(stopping_ && supervisor_.idle())) {
      const int due = supervisor_.MillisecondsLeft();
      const bool idle = supervisor_.idle() && connections_.empty();
      if (!Wait(idle ? kIdleMs : due) && idle) return;
      supervisor_.Tick();
      Announce();
      connections_.remove_if([](const Connection& connection) {
        if (connection.broken) close(connection.fd);
        return connection.broken;
      });
    }
  }

 private:
  // Waits for at most `timeout_ms` and serves what is there. Returns whether anything was.
  bool Wait(int timeout_ms) {
    std::vector<pollfd> polled = {{signals_, POLLIN, 0}, {listener_, POLLIN, 0}, {supervisor_.reports(), POLLIN, 0}};
    for (const Connection& connection : connections_) {
      const short events = connection.outbox.empty() ? POLLIN : POLLIN | POLLOUT;
      polled.push_back({connection.fd, events, 0});
    }
    if (poll(polled.data(), polled.size(), timeout_ms) <= 0) return false;
    if (polled[0].revents != 0) TakeSignal();
    if (polled[2].revents != 0) supervisor_.TakeReports();
    size_t next = 3;
    for (Connection& connection : connections_) {
      const short events = polled[next++].revents;
      if ((events & POLLOUT) != 0) connection.Flush();
      if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) Serve(connection);
    }
    if (polled[1].revents != 0) Accept();
    return true;
  }

  void TakeSignal() {
    signalfd_siginfo signal{};
    while (read(signals_, &signal, sizeof signal) == sizeof signal) {
      if (signal.ssi_signo == SIGCHLD) {
        supervisor_.Reap();
      } else if (!stopping_) {
        LogInfo("the keeper was told to end and ends its processes");
        stopping_ = true;
        supervisor_.KillAll();
      }
    }
  }

  void Accept() {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    ucred peer{};
    socklen_t size = sizeof peer;
    const bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
                       (peer.uid == geteuid() || peer.uid == 0);
    if (known && connections_.size() < kConnectionsMax) {
      connections_.emplace_back().fd = fd;
    } else {
      LogWarn("a connection was refused", {{"uid", std::to_string(peer.uid)}});
      close(fd);
    }
  }

  void Serve(Connection& connection) {
    static char buffer[kKeeperMessageMax];
    const ssize_t got = recv(connection.fd, buffer, sizeof buffer, MSG_TRUNC);
    if (got <= 0) {
      connection.broken = got == 0 || (errno != EAGAIN && errno != EINTR);
      return;
    }
    const bool watched = connection.watches;
    WireWriter reply;
    if (static_cast<size_t>(got) > sizeof buffer) {
      WriteStatus(reply, absl::InvalidArgumentError("the message is too large"));
    } else {
      WireReader request(std::string_view(buffer, static_cast<size_t>(got)));
      Answer(connection, request, reply);
    }
    connection.Send(reply.bytes());
    if (connection.watches && !watched) {
      for (const auto& [id, record] : supervisor_.ended()) SendStatus(connection, record.status);
    }
  }

  void Answer(Connection& connection, WireReader& request, WireWriter& reply) {
    const auto call = static_cast<KeeperCall>(request.Number());
    const ProcessSpec spec = call == KeeperCall::kStart ? ReadSpec(request) : ProcessSpec{};
    const bool has_id = call != KeeperCall::kStart && call != KeeperCall::kWatch;
    const std::string id = has_id ? request.Text() : "";
    if (!request.ok() || !request.rest().empty() || connection.watches) {
      return WriteStatus(reply, absl::InvalidArgumentError("the message is no request"));
    }
    switch (call) {
      case KeeperCall::kStart:
        return WriteStatus(reply, stopping_ ? absl::UnavailableError("the keeper is ending")
                                            : supervisor_.Start(spec));
      case KeeperCall::kStatus: {
        const auto status = supervisor_.Status(id);
        WriteStatus(reply, status.status());
        if (status.ok()) Write(reply, *status);
        return;
      }
      case KeeperCall::kList: {
        const auto list = supervisor_.List(id, kListPage);
        WriteStatus(reply, absl::OkStatus());
        reply.Number(static_cast<int64_t>(list.size()));
        for (const ProcessStatus& status : list) Write(reply, status);
        return;
      }
      case KeeperCall::kKill:
        return WriteStatus(reply, supervisor_.Kill(id));
      case KeeperCall::kForget:
        return WriteStatus(reply, supervisor_.Forget(id));
      case KeeperCall::kMemory: {
        const auto memory = supervisor_.Memory(id);
        WriteStatus(reply, memory.status());
        if (memory.ok()) reply.Number(memory->bytes).Number(memory->peak_of_one);
        return;
      }
      case KeeperCall::kWatch:
        connection.watches = true;
        return WriteStatus(reply, absl::OkStatus());
    }
    WriteStatus(reply, absl::InvalidArgumentError("the message is no request"));
  }

  void Announce() {
    for (const ProcessStatus& status : supervisor_.TakeEnded()) {
      for (Connection& connection : connections_) {
        if (connection.watches) SendStatus(connection, status);
      }
    }
  }

  static void WriteStatus(WireWriter& writer, const absl::Status& status) {
    writer.Number(static_cast<int64_t>(status.code())).Text(Message(status));
  }
  static void SendStatus(Connection& connection, const ProcessStatus& status) {
    WireWriter writer;
    Write(writer, status);
    connection.Send(writer.bytes());
  }

  const int listener_;
  const int signals_;
  Supervisor& supervisor_;
  std::list<Connection> connections_;
  bool stopping_ = false;
};

// Returns whether a keeper serves the working directory.
bool IsServed() {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  const sockaddr_un address = SocketAddress();
  const bool served = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return served;
}

// Takes the lock of the folder, or returns -1 when another keeper serves it already.
absl::StatusOr<int> Lock() {
  const int fd = open("keeper.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return SystemError("cannot open keeper.lock");
  for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; ++tries) {
    if (IsServed()) {
      close(fd);
      return -1;
    }
    if (tries == kLockTries) {
      char pid[16] = {};
      [[maybe_unused]] const ssize_t got = read(fd, pid, sizeof pid - 1);
      close(fd);
      return absl::UnavailableError("the keeper with pid " + std::string(pid) +
                                    " holds this folder but does not answer");
    }
    const timespec pause{0, 5'000'000};  // The other one is starting or ending.
    nanosleep(&pause, nullptr);
  }
  return fd;
}

absl::StatusOr<int> Listen() {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const sockaddr_un address = SocketAddress();
  unlink(address.sun_path);
  if (fd < 0 || fchmod(fd, 0600) != 0 ||  // Before bind, so that it is never open to others.
      bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, 16) != 0) {
    return SystemError("cannot listen at keeper.sock");
  }
  return fd;
}

int BlockSignals() {
  for (int signal = 1; signal < NSIG; ++signal) std::signal(signal, SIG_DFL);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  sigprocmask(SIG_SETMASK, &signals, nullptr);
  sigdelset(&signals,
            SIGHUP);  // Blocked for good: the terminal of whoever started the agent is not ours.
  return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

// Makes descriptors 0, 1 and 2 /dev/null: those that are closed, or all.
void OpenStandardFiles(bool all) {
  int null = 0;
  while ((null = open("/dev/null", O_RDWR)) >= 0 && null < 3) continue;
  for (int fd = 0; all && fd < 3; ++fd) dup2(null, fd);
  close(null);
}

// The life of the background process. Writes to `ready` once it serves: kReady, or why it cannot.
int Serve(const std::string& folder, CgroupUse use, int lock, int ready) {
  const auto fail = [&](const absl::Status& status) {
    dprintf(ready, "%s", Message(status).c_str());
    return 1;
  };
  setsid();
  const int signals = BlockSignals();
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return fail(SystemError("cannot become a subreaper"));
  if (access(("/proc/self/task/" + std::to_string(getpid()) + "/children").c_str(), R_OK) != 0) {
    return fail(
        absl::UnavailableError("/proc/PID/task/TID/children is not there: the kernel needs "
                               "CONFIG_PROC_CHILDREN, and /proc be mounted"));
  }
  struct stat facts {};
  if (stat(".", &facts) != 0) return fail(SystemError("cannot read the folder"));
  const std::string name =
      "cd4ml-keeper-" + std::to_string(facts.st_dev) + "-" + std::to_string(facts.st_ino);
  const std::string cgroup = MakeCgroupRoot(name, use);
  const std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(lock, 0) != 0 || pwrite(lock, pid.data(), pid.size(), 0) < 0) {
    return fail(SystemError("cannot write keeper.lock"));
  }
  const auto listener = Listen();
  if (!listener.ok()) return fail(listener.status());
  OpenLog("cd4ml-keeper", LogLevel::kInfo, folder + "/keeper.log");
  LogInfo("the keeper serves", {{"folder", folder}, {"cgroup", cgroup.empty() ? "none" : cgroup}});
  Supervisor supervisor(folder, cgroup);
  const absl::Status loaded = supervisor.Load();
  if (!loaded.ok()) return fail(loaded);
  OpenStandardFiles(/*all=*/true);
  dprintf(ready, "%s", kReady);
  close(ready);

  Server(*listener, signals, supervisor).Run();
  unlink(SocketAddress().sun_path);
  RemoveCgroup(cgroup);
  LogInfo("the keeper ends");
  return 0;
}

// Starts the background process and waits until it serves or has said why it cannot.
int StartServing(const std::string& folder, CgroupUse use, int lock) {
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) return 1;
  const pid_t child = fork();
  if (child == 0) {
    close(ready[0]);
    _exit(Serve(folder, use, lock, ready[1]));
  }
  close(ready[1]);
  const std::string where = "cannot serve \"" + folder + "\": ";
  if (child < 0) {
    std::fprintf(stderr, "%s%s\n", where.c_str(), std::strerror(errno));
    return 1;
  }
  char answer[500] = "the keeper has ended at once";
  const ssize_t got = read(ready[0], answer, sizeof answer - 1);
  if (got > 0) answer[got] = '\0';
  if (std::strcmp(answer, kReady) == 0) return 0;
  std::fprintf(stderr, "%s%s\n", where.c_str(), answer);
  return 1;
}

}  // namespace

int Main(int argc, char** argv) {
  const std::string_view flag = argc == 3 ? argv[2] : "";
  const CgroupUse use = flag == "--without-cgroup"    ? CgroupUse::kNone
                        : flag == "--without-cgroup2" ? CgroupUse::kFreezer
                                                      : CgroupUse::kBest;
  if (argc < 2 || argc > 3 || (argc == 3 && use == CgroupUse::kBest)) {
    std::fprintf(stderr, "usage: cd4ml-keeper STATE_DIR [--without-cgroup|--without-cgroup2]\n");
    return 2;
  }
  if (chdir(argv[1]) != 0) {
    std::fprintf(stderr, "cannot enter the state folder \"%s\": %s\n", argv[1],
                 std::strerror(errno));
    return 1;
  }
  OpenStandardFiles(/*all=*/false);
  close_range(3, ~0U, 0);
  char* const path = realpath(".", nullptr);
  const std::string folder = path;
  std::free(path);
  const auto lock = Lock();
  if (!lock.ok()) {
    std::fprintf(stderr, "cannot serve \"%s\": %s\n", folder.c_str(),
                 Message(lock.status()).c_str());
    return 1;
  }
  return *lock < 0 ? 0 : StartServing(folder, use, *lock);
}

}  // namespace cd4ml::keeper
