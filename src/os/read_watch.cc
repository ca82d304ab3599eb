// Opened files by inotify, which needs no privilege: one watch for each folder that holds a file of interest.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <map>
#include <thread>

#include "cd4ml/base/status.h"
#include "cd4ml/os/os.h"
#include "os/fd.h"

namespace cd4ml::os {
namespace {

class InotifyWatch final : public ReadWatch {
 public:
  explicit InotifyWatch(std::set<std::string> files) : files_(std::move(files)) {}
  ~InotifyWatch() override { End(); }

  absl::Status Begin(const std::string& dir) {
    events_ = Fd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    end_ = Fd(eventfd(0, EFD_CLOEXEC));
    if (!events_.is_open() || !end_.is_open()) return SystemError("cannot make an inotify instance");
    std::set<std::string> folders;
    for (const std::string& file : files_) folders.insert(std::filesystem::path(file).parent_path().string());
    for (const std::string& folder : folders) {
      const std::string path = folder.empty() ? dir : dir + '/' + folder;
      const int watch = inotify_add_watch(events_.get(), path.c_str(), IN_OPEN | IN_ONLYDIR | IN_DONT_FOLLOW);
      if (watch < 0) return SystemError("cannot watch \"" + path + "\" (fs.inotify.max_user_watches may be too small)");
      folders_[watch] = folder.empty() ? "" : folder + '/';
    }
    reader_ = std::thread([this] { Listen(); });
    return absl::OkStatus();
  }

  NoticedReads Finish() override {
    End();
    return std::move(noticed_);
  }

 private:
  void End() {
    if (!reader_.joinable()) return;
    const uint64_t one = 1;
    (void)!write(end_.get(), &one, sizeof one);
    reader_.join();
  }

  // Keeps the kernel's queue short, so that none is lost.
  void Listen() {
    std::array<pollfd, 2> ready = {pollfd{events_.get(), POLLIN, 0}, pollfd{end_.get(), POLLIN, 0}};
    while (poll(ready.data(), ready.size(), -1) >= 0 || errno == EINTR) {
      Drain();
      if (ready[1].revents != 0) return Drain();   // What came before the end was asked for.
    }
  }

  void Drain() {
    alignas(inotify_event) std::array<char, 64 << 10> buffer;
    for (ssize_t size = 0; (size = read(events_.get(), buffer.data(), buffer.size())) > 0;) {
      for (const char* at = buffer.data(); at < buffer.data() + size;) {
        const auto* event = reinterpret_cast<const inotify_event*>(at);
        at += sizeof(inotify_event) + event->len;
        if ((event->mask & IN_Q_OVERFLOW) != 0) noticed_.is_complete = false;
        const auto folder = folders_.find(event->wd);
        if (folder == folders_.end() || event->len == 0 || (event->mask & IN_ISDIR) != 0) continue;
        std::string name = folder->second + event->name;
        if (files_.contains(name)) noticed_.opened.insert(std::move(name));
      }
    }
  }

  const std::set<std::string> files_;
  Fd events_, end_;
  std::map<int, std::string> folders_;    // By watch: "" or "folder/".
  NoticedReads noticed_;
  std::thread reader_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ReadWatch>> WatchReads(const std::string& dir, std::set<std::string> files) {
  auto watch = std::make_unique<InotifyWatch>(std::move(files));
  CD4ML_RETURN_IF_ERROR(watch->Begin(dir));
  return watch;
}

}  // namespace cd4ml::os
