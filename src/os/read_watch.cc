// Opened files by inotify, which needs no privilege: one watch for each folder that holds a file of interest, at any depth.
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

namespace fs = std::filesystem;

// What happens to files and folders below a watched folder. A file that is written before anything is read of it is not
// read; files that nobody asked about are told of too, and passed over.
constexpr uint32_t kEvents = IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE | IN_MODIFY | IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO |
                             IN_DELETE | IN_ONLYDIR | IN_DONT_FOLLOW;
constexpr int kRestMs = 2;   // Between two looks, so that the kernel counts equal events as one.

class InotifyWatch final : public ReadWatch {
 public:
  InotifyWatch(std::string dir, std::set<std::string> files) : dir_(std::move(dir)), files_(std::move(files)) {}
  ~InotifyWatch() override { End(); }

  absl::Status Begin() {
    events_ = Fd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    end_ = Fd(eventfd(0, EFD_CLOEXEC));
    if (!events_.is_open() || !end_.is_open()) return SystemError("cannot make an inotify instance");
    FindMixedFolders();   // Before anything is watched, as it looks into all of them.
    std::set<std::string> folders;
    for (const std::string& file : files_) {
      links_[file] = LinksOf(file);
      AddFoldersOf(file, folders);
    }
    for (const std::string& folder : folders) {
      const std::string path = folder.empty() ? dir_ : dir_ + '/' + folder;
      const int watch = inotify_add_watch(events_.get(), path.c_str(), kEvents);
      if (watch < 0) return SystemError("cannot watch \"" + path + "\" (fs.inotify.max_user_watches may be too small)");
      folders_[watch] = folder.empty() ? "" : folder + '/';
    }
    reader_ = std::thread([this] { Listen(); });
    return absl::OkStatus();
  }

  NoticedReads Finish() override {
    End();
    for (const std::string& file : begun_) {
      if (!own_.contains(file)) noticed_.opened.insert(file);
    }
    // A second name for a file tells nobody that it is read by it.
    for (const auto& [file, links] : links_) {
      if (LinksOf(file) > links && !own_.contains(file)) noticed_.opened.insert(file);
    }
    // Who reads files of a folder has mostly looked into it, and the files say more.
    for (auto at = noticed_.opened.begin(); at != noticed_.opened.end();) {
      const auto next = std::next(at);
      const bool is_said = at->ends_with('/') && next != noticed_.opened.end() && next->starts_with(*at);
      at = is_said ? noticed_.opened.erase(at) : next;
    }
    return std::move(noticed_);
  }

 private:
  void End() {
    if (!reader_.joinable()) return;
    const uint64_t one = 1;
    (void)!write(end_.get(), &one, sizeof one);
    reader_.join();
  }

  static void AddFoldersOf(const std::string& file, std::set<std::string>& folders) {
    for (size_t slash = file.rfind('/'); slash != std::string::npos && slash > 0; slash = file.rfind('/', slash - 1)) {
      folders.insert(file.substr(0, slash));
    }
    folders.insert("");
  }

  uint64_t LinksOf(const std::string& file) const {
    std::error_code gone;
    const auto links = fs::hard_link_count(dir_ + '/' + file, gone);
    return gone ? 0 : links;
  }

  // Finds the folders that hold other files too. These are looked into by whoever looks for the others.
  void FindMixedFolders() {
    std::error_code error;
    for (auto at = fs::recursive_directory_iterator(dir_, error); !error && at != fs::end(at); at.increment(error)) {
      std::error_code unknown;
      const std::string name = at->path().string().substr(dir_.size() + 1);
      if (!at->is_directory(unknown) && !files_.contains(name)) AddFoldersOf(name, mixed_);
    }
    mixed_.insert("");
  }

  // Keeps the kernel's queue short, so that none is lost.
  void Listen() {
    std::array<pollfd, 2> ready = {pollfd{events_.get(), POLLIN, 0}, pollfd{end_.get(), POLLIN, 0}};
    while (poll(ready.data(), ready.size(), -1) >= 0 || errno == EINTR) {
      Drain();
      if (ready[1].revents != 0) return Drain();   // What came before the end was asked for.
      poll(&ready[1], 1, kRestMs);
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
        if (folder != folders_.end()) Note(event->mask, folder->second, event->len == 0 ? "" : event->name);
      }
    }
  }

  // `folder` is "" or "folder/"; without a name it is about the folder itself.
  void Note(uint32_t mask, const std::string& folder, const std::string& name) {
    if ((mask & IN_ISDIR) != 0) {
      const std::string path = name.empty() ? folder : folder + name + '/';
      const bool is_listed = name.empty() && (mask & IN_OPEN) != 0 && !folder.empty() &&
                             !mixed_.contains(folder.substr(0, folder.size() - 1));
      if (is_listed || ((mask & IN_MOVED_FROM) != 0 && Holds(path))) noticed_.opened.insert(path);
      return;
    }
    std::string file = folder + name;
    if (name.empty() || !files_.contains(file) || own_.contains(file)) return;
    if ((mask & IN_OPEN) != 0) {
      begun_.insert(std::move(file));
    } else if ((mask & (IN_ACCESS | IN_CLOSE_NOWRITE | IN_MOVED_FROM)) != 0 || ((mask & IN_DELETE) != 0 && begun_.contains(file))) {
      noticed_.opened.insert(std::move(file));
    } else if (!noticed_.opened.contains(file)) {
      own_.insert(std::move(file));   // It was written, replaced or removed before anybody has looked into it.
    }
  }

  bool Holds(const std::string& folder) const {
    const auto first = files_.lower_bound(folder);
    return first != files_.end() && first->starts_with(folder);
  }

  const std::string dir_;
  const std::set<std::string> files_;
  std::map<std::string, uint64_t> links_;   // How many names each file had.
  std::set<std::string> mixed_;             // Folders that also hold files that nobody asked about.
  std::set<std::string> begun_;             // Files that were opened.
  std::set<std::string> own_;               // Files that are no longer what they were.
  Fd events_, end_;
  std::map<int, std::string> folders_;    // By watch: "" or "folder/".
  NoticedReads noticed_;
  std::thread reader_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ReadWatch>> WatchReads(const std::string& dir, std::set<std::string> files) {
  auto watch = std::make_unique<InotifyWatch>(dir, std::move(files));
  CD4ML_RETURN_IF_ERROR(watch->Begin());
  return watch;
}

}  // namespace cd4ml::os
