// Binding and accepting; see listener.h.
#include "rpc/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::rpc {
namespace {

// File descriptors that connections must leave for the database, artifacts and logs.
constexpr int kReservedFiles = 64;
// How long to wait before the next try when not even that helps.
constexpr int kFullPauseMs = 50;

absl::Status SocketError(const std::string& what, const Address& address) {
  const std::string where = address.WithPort(address.port);
  if (errno == EADDRINUSE) {
    return absl::AlreadyExistsError(
        "cannot listen on " + where +
        ": another program listens there; stop it or choose another address");
  }
  return absl::ErrnoToStatus(errno, "cannot " + what + " " + where);
}

// Removes a socket file that a killed daemon left behind.
absl::Status ClearPath(const Address& address, const sockaddr_un& where) {
  struct stat facts = {};
  if (lstat(address.path.c_str(), &facts) != 0) return absl::OkStatus();
  if (!S_ISSOCK(facts.st_mode)) {
    return absl::AlreadyExistsError("cannot listen on " + address.path +
                                    ": a file that is no socket is there");
  }
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int answer = connect(probe, reinterpret_cast<const sockaddr*>(&where), sizeof where);
  const bool is_abandoned = answer != 0 && errno == ECONNREFUSED;
  close(probe);
  if (is_abandoned) unlink(address.path.c_str());
  return absl::OkStatus();  // Otherwise binding says what is wrong.
}

absl::Status BindUnix(int fd, const Address& address) {
  sockaddr_un where = {};
  where.sun_family = AF_UNIX;
  address.path.copy(where.sun_path, sizeof where.sun_path - 1);
  CD4ML_RETURN_IF_ERROR(ClearPath(address, where));
  fchmod(fd, 0600);  // Before binding, so that nobody else can connect at any time.
  if (bind(fd, reinterpret_cast<sockaddr*>(&where), sizeof where) != 0)
    return SocketError("listen on", address);
  return absl::OkStatus();
}

absl::Status BindTcp(int fd, const Address& address) {
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on,
             sizeof on);  // Restart at once; two listeners stay impossible.
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address.socket), address.socket_size) != 0) {
    return SocketError("listen on", address);
  }
  return absl::OkStatus();
}

int PortOf(int fd) {
  sockaddr_storage where = {};
  socklen_t size = sizeof where;
  getsockname(fd, reinterpret_cast<sockaddr*>(&where), &size);
  if (where.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in&>(where).sin_port);
  if (where.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6&>(where).sin6_port);
  return 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(const Address& address) {
  const bool is_unix = !address.path.empty();
  const int fd = socket(is_unix ? AF_UNIX : address.socket.ss_family,
                        SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return SocketError("open a socket for", address);
  absl::Status status = is_unix ? BindUnix(fd, address) : BindTcp(fd, address);
  if (status.ok() && listen(fd, SOMAXCONN) != 0) status = SocketError("listen on", address);
  if (!status.ok()) {
    close(fd);
    return status;
  }
  return std::unique_ptr<Listener>(new Listener(fd, address.path, PortOf(fd)));
}

Listener::Listener(int socket, std::string path, int port)
    : socket_(socket), wake_(eventfd(0, EFD_CLOEXEC)), path_(std::move(path)), port_(port) {}

Listener::~Listener() {
  Stop();
  close(wake_);
}

void Listener::Start(std::function<void(int, int)> take) {
  thread_ = std::thread([this, take = std::move(take)] { AcceptAll(take); });
}

void Listener::Stop() {
  if (stopped_) return;
  stopped_ = true;
  eventfd_write(wake_, 1);
  if (thread_.joinable()) thread_.join();
  if (!path_.empty()) unlink(path_.c_str());
  close(socket_);
}

void Listener::AcceptAll(const std::function<void(int, int)>& take) const {
  rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  const int fd_max = static_cast<int>(files.rlim_cur) - kReservedFiles;
  bool full = false;
  pollfd events[] = {{wake_, POLLIN, 0}, {socket_, POLLIN, 0}};
  while (true) {
    if (poll(events, 2, -1) < 0 && errno != EINTR) return LogError("cannot wait for connections");
    if (events[0].revents != 0) return;
    const int fd = accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        poll(events, 1, kFullPauseMs);
      continue;
    }
    // The kernel gives the lowest free number, so a high one means that as many are open.
    const bool was_full = std::exchange(full, fd >= fd_max);
    if (full != was_full) {
      LogWarn(full ? "too many files are open, new connections are closed"
                   : "connections are taken again",
              {{"limit", std::to_string(files.rlim_cur)}});
    }
    if (full) {
      close(fd);
      continue;
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof on);  // Fails on a Unix socket, which needs none.
    take(socket_, fd);
  }
}

}  // namespace cd4ml::rpc
