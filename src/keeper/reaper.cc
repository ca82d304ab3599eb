// Waits for output and for children, until there are none, and for orders.
#include "reaper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "cd4ml/ports/keeper_wire.h"

namespace cd4ml::keeper {
namespace {

constexpr size_t kOrderMax = kKeeperMessageMax + (8 << 10);   // And where the command belongs.

// Opens the log, and the pipe through which it is written. It waits for nobody: a FIFO in the log's place must not stop
// the reaper.
Failure OpenOutput(const char* path, int& log, int (&output)[2]) {
  log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0644);
  struct stat facts;
  if (log < 0 || fstat(log, &facts) != 0) return {Failure::kLog, errno};
  if (!S_ISREG(facts.st_mode) && !S_ISCHR(facts.st_mode)) return {Failure::kLogKind, 0};
  fcntl(log, F_SETFL, O_APPEND);
  if (pipe2(output, O_CLOEXEC) != 0) return {Failure::kPipe, errno};
  fcntl(output[0], F_SETFL, O_NONBLOCK);
  return {Failure::kNone, 0};
}

class Reaper {
 public:
  explicit Reaper(int ended) : ended_(ended) {
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    signals_ = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  }

  // Returns when nothing of the command is left: whether nothing was when it ended.
  bool Serve(const Order& order, CommandStarter start, int born) {
    int output[2] = {-1, -1};
    const Failure no_output = OpenOutput(order.spec.log.c_str(), log_, output);
    output_ = output[0];
    command_ = start(order, output[1], born);
    if (command_.pid < 0) (void)!write(born, &command_, sizeof command_);
    close(output[1]);
    close(born);
    if (command_.pid > 0) {
      if (no_output.step != Failure::kNone) command_.failure = no_output;
      has_ended_ = has_told_ = false;
      lost_ = 0;
      Wait();
    }
    close(output_);
    close(log_);
    return command_.pid < 0 || ended_as_.is_all;
  }

 private:
  void Wait() {
    while (TakeChildren()) {
      pollfd polled[] = {{signals_, POLLIN, 0}, {output_, POLLIN, 0}};  // -1, once nobody can write any more: left out.
      poll(polled, 2, -1);
      signalfd_siginfo signal;
      while (read(signals_, &signal, sizeof signal) > 0) continue;
      if (polled[1].revents != 0) CopyOutput();
    }
  }

  // Returns whether a child is left.
  bool TakeChildren() {
    int status = 0;
    rusage usage{};
    pid_t pid;
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
      if (pid != command_.pid) continue;
      has_ended_ = true;
      ended_as_ = {getpid(), command_.failure, status, usage, false};
    }
    const bool is_all = pid < 0;
    if (has_ended_ && !has_told_) {
      CopyOutput();  // What it printed is in the log when its end is known.
      ended_as_.is_all = is_all;
      (void)!write(ended_, &ended_as_, sizeof ended_as_);  // A keeper that is gone hears nothing.
      has_told_ = true;
    } else if (is_all) {
      CopyOutput();
    }
    return !is_all;
  }

  // Copies what the pipe can hold at most: all that was printed before the call, and no end of what is printed meanwhile.
  void CopyOutput() {
    if (output_ < 0) return;
    for (int left = fcntl(output_, F_GETPIPE_SZ); left > 0;) {
      const ssize_t got = read(output_, buffer_, sizeof buffer_);
      if (got < 0 && errno == EINTR) continue;
      if (got == 0) {
        close(output_);
        output_ = -1;
      }
      if (got <= 0) return;
      Write(static_cast<size_t>(got));
      left -= static_cast<int>(got);
    }
  }

  // A log that cannot be written must not stop the command: what is lost is counted, and said once there is room.
  void Write(size_t size) {
    if (lost_ > 0) {
      char line[100];
      const int length = snprintf(line, sizeof line, "\n[cd4ml: %lld bytes of output are lost: %s]\n",
                                  static_cast<long long>(lost_), strerror(why_lost_));
      if (write(log_, line, static_cast<size_t>(length)) == length) lost_ = 0;
    }
    for (size_t at = 0; at < size;) {
      const ssize_t put = lost_ > 0 ? -1 : write(log_, buffer_ + at, size - at);
      if (put < 0 && lost_ == 0 && errno == EINTR) continue;
      if (put < 0) {
        if (lost_ == 0) why_lost_ = errno;
        lost_ += static_cast<int64_t>(size - at);
        return;
      }
      at += static_cast<size_t>(put);
    }
  }

  const int ended_;
  int output_ = -1;
  int log_ = -1;
  Born command_{};
  int signals_;
  bool has_ended_ = false, has_told_ = false;
  Ended ended_as_{};
  int64_t lost_ = 0;
  int why_lost_ = 0;
  char buffer_[64 << 10];
};

// Waits for an order and for the pipe that came with it; false when there will be none.
bool TakeOrder(int orders, Order& order, int& born) {
  static char bytes[kOrderMax];
  iovec part{bytes, sizeof bytes};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof born)];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  ssize_t got;
  while ((got = recvmsg(orders, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) continue;
  const cmsghdr* const beside = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (beside == nullptr) return false;
  std::memcpy(&born, CMSG_DATA(beside), sizeof born);
  WireReader reader(std::string_view(bytes, static_cast<size_t>(got)));
  order.spec = ReadSpec(reader);
  order.marker = reader.Text();
  order.cgroup = reader.Text();
  return reader.ok();
}

}  // namespace

bool SendOrder(int orders, const Order& order, int born) {
  WireWriter writer;
  Write(writer, order.spec);
  writer.Text(order.marker).Text(order.cgroup);
  if (writer.bytes().size() > kOrderMax) return false;
  iovec part{const_cast<char*>(writer.bytes().data()), writer.bytes().size()};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof born)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  cmsghdr* const beside = CMSG_FIRSTHDR(&message);
  beside->cmsg_level = SOL_SOCKET;
  beside->cmsg_type = SCM_RIGHTS;
  beside->cmsg_len = CMSG_LEN(sizeof born);
  std::memcpy(CMSG_DATA(beside), &born, sizeof born);
  return sendmsg(orders, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

void RunReaper(int orders, CommandStarter start, int ended) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_NAME, "cd4ml-reaper");
  // Nothing else of the keeper stays open: its lock and its connections end with it.
  const unsigned low = static_cast<unsigned>(std::min(orders, ended)), high = static_cast<unsigned>(std::max(orders, ended));
  if (low > 3) close_range(3, low - 1, 0);
  if (high - low > 1) close_range(low + 1, high - 1, 0);
  close_range(high + 1, ~0U, 0);

  static Reaper reaper(ended);
  Order order;
  int born = -1;
  while (TakeOrder(orders, order, born) && reaper.Serve(order, start, born)) continue;
  _exit(0);
}

}  // namespace cd4ml::keeper
