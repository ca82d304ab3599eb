// The agent's side of the keeper: one connection for calls, and one with a thread that hears of
// ends.
//
// A call is sent and answered on the thread that makes it, so that starting a process costs no
// change of thread.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "capture.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/os/os.h"
#include "cd4ml/ports/keeper_wire.h"
#include "fd.h"

namespace cd4ml::os {
namespace {

constexpr timeval kAnswerTimeout{30, 0};
constexpr int kImpatienceMs = 1'000;
constexpr int kRetryMs = 50;  // Between attempts to reach a keeper that has died or does not start.

// Makes one attempt to reach a keeper that runs.
absl::StatusOr<Fd> Connect(const std::string& state_dir) {
  // Through a descriptor of the folder, because an address holds no path of more than 107 bytes.
  const Fd folder(open(state_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder.is_open()) return SystemError("cannot open the state folder \"" + state_dir + "\"");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder.get(),
                kKeeperSocket.data());
  Fd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return SystemError("cannot make a socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return SystemError("no keeper answers in \"" + state_dir + "\"");
  }
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof kAnswerTimeout);
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kAnswerTimeout, sizeof kAnswerTimeout);
  return fd;
}

// Runs the keeper's program, which returns as soon as a keeper serves the folder.
absl::Status StartKeeper(const std::string& state_dir, const std::string& binary) {
  CD4ML_ASSIGN_OR_RETURN(const Captured captured, Capture({binary, state_dir}));
  if (captured.exit_code == 0) return absl::OkStatus();
  return absl::UnavailableError("the keeper \"" + binary + "\" did not start: " +
                                (captured.output.empty() ? "it gave no reason" : captured.output));
}

absl::Status Send(const Fd& fd, const std::string& message) {
  if (send(fd.get(), message.data(), message.size(), MSG_NOSIGNAL) >= 0) return absl::OkStatus();
  return SystemError("cannot write to the keeper");
}

// A stage that stops its keeper would freeze the agent with it.
void Wake(const Fd& fd) {
  ucred keeper{};
  socklen_t size = sizeof keeper;
  if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &keeper, &size) == 0) kill(keeper.pid, SIGCONT);
}

absl::StatusOr<std::string> Receive(const Fd& fd) {
  pollfd answer{fd.get(), POLLIN, 0};
  if (poll(&answer, 1, kImpatienceMs) == 0) Wake(fd);
  // Kept, because clearing so much memory costs more than the call.
  thread_local const auto buffer = std::make_unique_for_overwrite<char[]>(kKeeperMessageMax);
  const ssize_t got = recv(fd.get(), buffer.get(), kKeeperMessageMax, 0);
  if (got < 0) return SystemError("the keeper does not answer");
  if (got == 0) return absl::UnavailableError("the keeper has closed the connection");
  return std::string(buffer.get(), static_cast<size_t>(got));
}

absl::Status ReadReplyStatus(WireReader& reply) {
  const auto code = static_cast<absl::StatusCode>(reply.Number());
  return absl::Status(code, reply.Text());
}

class KeeperClient final : public ProcessRunner {
 public:
  KeeperClient(std::string state_dir, std::string binary)
      : state_dir_(std::move(state_dir)),
        binary_(std::move(binary)),
        stop_(eventfd(0, EFD_CLOEXEC)) {}

  ~KeeperClient() override {
    eventfd_write(stop_.get(), 1);
    if (watcher_.joinable()) watcher_.join();
  }

  absl::Status Start(const ProcessSpec& spec) override {
    WireWriter request = Request(KeeperCall::kStart);
    Write(request, spec);
    if (request.bytes().size() > kKeeperMessageMax) {
      return absl::InvalidArgumentError(
          "process \"" + spec.id + "\" has a command and environment of " +
          std::to_string(request.bytes().size()) + " bytes; pass large values in files");
    }
    return Call(request).status();
  }

  absl::StatusOr<ProcessStatus> Status(const std::string& id) override {
    CD4ML_ASSIGN_OR_RETURN(const std::string reply, Call(Request(KeeperCall::kStatus).Text(id)));
    WireReader reader(reply);
    return ReadStatus(reader);
  }

  absl::StatusOr<std::vector<ProcessStatus>> List() override {
    std::vector<ProcessStatus> list;
    while (true) {
      const std::string last = list.empty() ? "" : list.back().id;
      CD4ML_ASSIGN_OR_RETURN(const std::string reply, Call(Request(KeeperCall::kList).Text(last)));
      WireReader reader(reply);
      int64_t left = reader.Number();
      if (left <= 0) return list;
      for (; left > 0 && reader.ok(); --left) list.push_back(ReadStatus(reader));
    }
  }

  absl::StatusOr<ProcessMemory> Memory(const std::string& id) override {
    const absl::StatusOr<std::string> reply = Call(Request(KeeperCall::kMemory).Text(id));
    if (!reply.ok()) return reply.status();
    WireReader reader(*reply);
    ProcessMemory memory;
    memory.bytes = reader.Number();
    memory.peak_of_one = reader.Number();
    return memory;
  }

  absl::Status Kill(const std::string& id) override {
    return Call(Request(KeeperCall::kKill).Text(id)).status();
  }

  absl::Status Forget(const std::string& id) override {
    CD4ML_RETURN_IF_ERROR(Call(Request(KeeperCall::kForget).Text(id)).status());
    const std::lock_guard lock(told_mutex_);
    told_.erase(id);
    return absl::OkStatus();
  }

  void OnExit(std::function<void(const ProcessStatus&)> listener) override {
    listener_ = std::move(listener);
    watcher_ = std::thread([this] { Watch(); });
  }

  // Reaches the keeper, starting one when there is none.
  absl::StatusOr<Fd> Dial() const {
    auto fd = Connect(state_dir_);
    if (fd.ok()) return fd;
    CD4ML_RETURN_IF_ERROR(StartKeeper(state_dir_, binary_));
    return Connect(state_dir_);
  }

 private:
  static WireWriter Request(KeeperCall call) {
    return WireWriter().Number(static_cast<int64_t>(call));
  }

  // Returns what follows the status in the reply. Repeats the call once when the connection breaks:
  // each call is harmless when it is done twice, as the second Start of an id is refused.
  absl::StatusOr<std::string> Call(const WireWriter& request) {
    const std::lock_guard lock(call_mutex_);
    const bool fresh = !calls_.is_open();
    auto reply = Exchange(request.bytes());
    if (!reply.ok() && !fresh) reply = Exchange(request.bytes());
    if (!reply.ok()) return absl::UnavailableError(Message(reply.status()));
    WireReader reader(*reply);
    CD4ML_RETURN_IF_ERROR(ReadReplyStatus(reader));
    return std::string(reader.rest());
  }

  absl::StatusOr<std::string> Exchange(const std::string& request) {
    if (!calls_.is_open()) {
      CD4ML_ASSIGN_OR_RETURN(calls_, Dial());
    }
    const absl::Status sent = Send(calls_, request);
    auto reply = sent.ok() ? Receive(calls_) : absl::StatusOr<std::string>(sent);
    if (!reply.ok()) calls_ = Fd();
    return reply;
  }

  // The thread that hears of ends: for as long as the runner lives, through the deaths of keepers.
  void Watch() {
    bool warned = false;
    while (true) {
      const absl::Status status = WatchOneKeeper(warned);
      if (status.ok()) return;
      if (!warned) LogWarn("the keeper is not there; trying again", {{"error", Message(status)}});
      warned = true;
      if (IsStopped(kRetryMs)) return;
    }
  }

  // Returns OK when the runner is being destroyed.
  absl::Status WatchOneKeeper(bool& warned) {
    CD4ML_ASSIGN_OR_RETURN(const Fd fd, Dial());
    CD4ML_RETURN_IF_ERROR(Send(fd, Request(KeeperCall::kWatch).bytes()));
    CD4ML_ASSIGN_OR_RETURN(const std::string reply, Receive(fd));
    warned = false;
    while (true) {
      pollfd polled[] = {{fd.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
      const int ready = poll(polled, 2, kImpatienceMs);
      if (ready == 0) Wake(fd);  // It may have been stopped, and would end nothing that takes too long.
      if (ready <= 0) continue;
      if (polled[1].revents != 0) return absl::OkStatus();
      CD4ML_ASSIGN_OR_RETURN(const std::string message, Receive(fd));
      WireReader reader(message);
      Tell(ReadStatus(reader));
    }
  }

  void Tell(const ProcessStatus& status) {
    {
      const std::lock_guard lock(told_mutex_);
      if (!told_.insert(status.id).second) return;
    }
    listener_(status);
  }

  bool IsStopped(int timeout_ms) const {
    pollfd polled{stop_.get(), POLLIN, 0};
    return poll(&polled, 1, timeout_ms) > 0;
  }

  const std::string state_dir_;
  const std::string binary_;
  const Fd stop_;

  std::mutex call_mutex_;
  Fd calls_;  // Guarded by call_mutex_.

  std::mutex told_mutex_;
  std::set<std::string> told_;  // Guarded by told_mutex_: ends that the listener has heard of.

  std::function<void(const ProcessStatus&)> listener_;  // Set before watcher_ starts.
  std::thread watcher_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessRunner>> ConnectKeeper(const std::string& state_dir,
                                                             const std::string& keeper_binary) {
  auto client = std::make_unique<KeeperClient>(state_dir, keeper_binary);
  CD4ML_RETURN_IF_ERROR(client->List().status());
  return client;
}

}  // namespace cd4ml::os
