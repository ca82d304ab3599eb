// What a program of cd4ml needs of the system for itself: signals and the lock of its folder.
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "cd4ml/os/os.h"
#include "fd.h"

namespace cd4ml::os {
namespace {

sigset_t Signals(std::initializer_list<int> list) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : list) sigaddset(&signals, signal);
  return signals;
}

class FileLock final : public DirLock {
 public:
  explicit FileLock(Fd fd) : fd_(std::move(fd)) {}

 private:
  const Fd fd_;
};

}  // namespace

StopSignal::StopSignal() {
  std::signal(SIGPIPE, SIG_IGN);
  const sigset_t blocked = Signals({SIGTERM, SIGINT, SIGHUP, SIGCHLD});
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  const sigset_t awaited = Signals({SIGTERM, SIGINT, SIGHUP});
  fd_ = signalfd(-1, &awaited, SFD_CLOEXEC | SFD_NONBLOCK);
}

StopSignal::~StopSignal() { close(fd_); }

int StopSignal::Wait(Duration timeout) {
  pollfd polled{fd_, POLLIN, 0};
  poll(&polled, 1, static_cast<int>(std::clamp<int64_t>(timeout.count(), 0, 3'600'000)));
  signalfd_siginfo signal{};
  return read(fd_, &signal, sizeof signal) == sizeof signal ? static_cast<int>(signal.ssi_signo)
                                                            : 0;
}

absl::Status StartAnew(char* const* argv) {
  execv("/proc/self/exe", argv);
  return absl::InternalError(std::string("cannot start anew: ") + std::strerror(errno));
}

absl::Status SyncPath(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.is_open() && fsync(fd.get()) == 0) return absl::OkStatus();
  return SystemError("cannot sync \"" + path + "\"");
}

absl::StatusOr<std::unique_ptr<DirLock>> LockDir(const std::string& path) {
  const std::string file = path + "/lock";
  Fd fd(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  // Where nobody can write, nobody has to be kept out.
  if (!fd.is_open() && errno == EROFS) return std::make_unique<FileLock>(std::move(fd));
  if (!fd.is_open()) return SystemError("cannot open \"" + file + "\"");
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    char pid[16] = {};
    [[maybe_unused]] const ssize_t got = read(fd.get(), pid, sizeof pid - 1);
    return absl::UnavailableError("the process with pid " + std::string(pid) +
                                  " uses the folder \"" + path +
                                  "\"; stop it, or choose another folder");
  }
  const std::string pid = std::to_string(getpid());
  if (ftruncate(fd.get(), 0) != 0 || write(fd.get(), pid.data(), pid.size()) < 0) {
    return SystemError("cannot write \"" + file + "\"");
  }
  return std::make_unique<FileLock>(std::move(fd));
}

}  // namespace cd4ml::os
