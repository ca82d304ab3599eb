// inotify tells of growth at once; without one (there are 128 per user) the file is looked at now
// and then.
#include "file_tail.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include <algorithm>

#include "fd.h"

namespace cd4ml::os {
namespace {

constexpr int64_t kLookMs = 50;  // Without inotify.
constexpr int64_t kWaitMaxMs = 3'600'000;

class InotifyTail final : public FileTail {
 public:
  InotifyTail(std::string path, Fd file, Fd inotify, int64_t offset)
      : path_(std::move(path)),
        file_(std::move(file)),
        inotify_(std::move(inotify)),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        offset_(offset) {}

  absl::StatusOr<std::string> Read(size_t size_max) override {
    char events[4096];  // Taken before reading: a later event is about bytes that this may miss.
    while (inotify_.is_open() && read(inotify_.get(), events, sizeof events) > 0) continue;
    std::string bytes(size_max, '\0');
    const ssize_t got = pread(file_.get(), bytes.data(), bytes.size(), offset_);
    if (got < 0) return SystemError("cannot read \"" + path_ + "\"");
    bytes.resize(static_cast<size_t>(got));
    offset_ += got;
    return bytes;
  }

  void Wait(Duration timeout) override {
    const int64_t longest = inotify_.is_open() ? kWaitMaxMs : kLookMs;
    pollfd polled[] = {{wake_.get(), POLLIN, 0}, {inotify_.get(), POLLIN, 0}};
    poll(polled, 2, static_cast<int>(std::clamp<int64_t>(timeout.count(), 0, longest)));
    eventfd_t count = 0;
    eventfd_read(wake_.get(), &count);
  }

  void Wake() override { eventfd_write(wake_.get(), 1); }

 private:
  const std::string path_;
  const Fd file_;
  const Fd inotify_;  // Not open when none is to be had.
  const Fd wake_;
  int64_t offset_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<FileTail>> OpenFileTail(const std::string& path, int64_t offset) {
  Fd file(open(path.c_str(), O_RDONLY | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0644));
  if (!file.is_open()) return SystemError("cannot open \"" + path + "\"");
  Fd inotify(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (inotify.is_open() && inotify_add_watch(inotify.get(), path.c_str(), IN_MODIFY) < 0) {
    inotify = Fd();
  }
  return std::make_unique<InotifyTail>(path, std::move(file), std::move(inotify), offset);
}

}  // namespace cd4ml::os
