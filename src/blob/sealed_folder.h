// Folders of read-only files named by a digest, and the folder where such files are prepared.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "blob/file.h"
#include "blob/usage.h"
#include "cd4ml/base/digest.h"

namespace cd4ml::blob {

using OnLostWrites = std::function<void(const absl::Status&)>;

// Makes the folder below `root` when it is missing.
absl::StatusOr<Fd> OpenFolder(int root, const std::string& name);

// Returns how much of the disk the file takes.
inline int64_t OnDisk(const struct stat& facts) { return int64_t{facts.st_blocks} * 512; }

// Returns whether the file is read-only and still has the modification time that Seal gave it.
bool IsSealed(const struct stat& facts, const Digest& digest);
absl::Status Seal(int fd, const Digest& digest);

// A file below tmp/ on its way to get its name; unlinked unless it got there. The lock on it says
// that its process lives, also to processes in other pid namespaces.
class Temp {
 public:
  Temp(int dir, std::string name, Fd fd) : dir_(dir), name_(std::move(name)), fd_(std::move(fd)) {}
  Temp(Temp&& other) noexcept
      : dir_(other.dir_), name_(std::exchange(other.name_, "")), fd_(std::move(other.fd_)) {}
  Temp& operator=(Temp&& other) noexcept {
    std::swap(dir_, other.dir_);
    std::swap(name_, other.name_);
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Temp();

  int fd() const { return fd_.get(); }
  bool RenameTo(int dir, const std::string& name);
  // Leaves the file where it is, for somebody to go on with.
  void Keep() { name_.clear(); }

 private:
  int dir_;
  std::string name_;
  Fd fd_;
};

// A file below tmp/, none when the store has its bytes already, and the digest that names it.
struct Staged {
  std::optional<Temp> temp;
  Digest digest;
};

// The folder tmp/.
class TempFolder {
 public:
  absl::Status Open(int root, const std::string& root_path);
  // Removes what dead processes left.
  void RemoveLeftovers();
  absl::StatusOr<Temp> New();
  // Gives the file at `path`, open as `source`, a read-only second name here.
  std::optional<Temp> Link(const std::string& path, int source);
  // Returns a name that nobody else uses, below any folder.
  std::string NextName();
  int fd() const { return fd_.get(); }

 private:
  std::string path_;
  Fd fd_;
  std::atomic<uint64_t> next_ = 0;
};

// Files ab/cdef… named by a digest and sealed with it. Whatever has a name here was complete once:
// it was written below tmp/, made durable, sealed and renamed. The seal is the file's modification
// time, a number made from the digest: writing to the file, through whichever of its hard links, or
// swapping it with another breaks it.
class SealedFolder {
 public:
  // `usage` counts what is named and removed here, and outlives this.
  absl::Status Open(int root, const std::string& root_path, const std::string& name, Usage& usage,
                    OnLostWrites on_lost_writes);

  // NOT_FOUND when there is none.
  absl::StatusOr<Fd> OpenFile(const Digest& digest) const;
  // Returns the facts of the file unless it is missing or its seal is broken.
  std::optional<struct stat> Find(const Digest& digest) const;
  bool IsThere(const Digest& digest) const { return Find(digest).has_value(); }
  // Says that the file is wanted: its status-change time becomes now. False when it is not there.
  bool Touch(const Digest& digest) const;
  // Makes the staged files durable and names them; the names are durable after SyncFolders, which is
  // why the folder of what was there already is among `folders`: another thread may have put it there
  // just now. What is there with a broken seal is replaced.
  absl::Status Publish(std::vector<Staged> batch, std::set<std::string>& folders);
  absl::Status SyncFolders(const std::set<std::string>& folders) const;
  absl::Status Remove(const Digest& digest) const;
  // Moves the file to `folder`/`name` if it is still the one open as `fd`.
  bool MoveAside(const Digest& digest, int fd, int folder, const std::string& name) const;
  // Gives the file another name.
  bool LinkTo(const Digest& digest, const std::string& path) const;
  // Calls `visit(digest, facts)` with each file, in no order.
  void ForEach(const std::function<void(const Digest&, const struct stat&)>& visit) const;

 private:
  // Returns what the sync that has just failed said.
  absl::Status SyncError(std::string_view what) const;
  absl::Status Name(Temp& temp, const Digest& digest) const;

  std::string path_;
  Usage* usage_ = nullptr;
  OnLostWrites on_lost_writes_;
  Fd fd_;
};

}  // namespace cd4ml::blob
