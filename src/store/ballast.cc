// Space that is really allocated: a file with holes would hold nothing back.
#include "ballast.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "cd4ml/base/time.h"
#include "migrate.h"

namespace cd4ml::store {
namespace {

constexpr int64_t kPartOfDisk = 16;

}  // namespace

Ballast::Ballast(std::string path, int64_t size) : path_(std::move(path)) {
  struct statvfs disk {};
  if (statvfs(FolderOf(path_).c_str(), &disk) != 0) return;
  size_ = std::min(size, static_cast<int64_t>(disk.f_blocks * disk.f_frsize) / kPartOfDisk);
}

bool Ballast::Release() { return !path_.empty() && unlink(path_.c_str()) == 0; }

absl::Status Ballast::Restore() {
  if (size_ <= 0) return absl::OkStatus();
  struct stat facts {};
  if (stat(path_.c_str(), &facts) == 0 && facts.st_size == size_) return absl::OkStatus();
  Release();  // Of another size: the settings have changed.
  struct statvfs disk {};
  const bool known = statvfs(FolderOf(path_).c_str(), &disk) == 0;
  const int64_t free = known ? static_cast<int64_t>(disk.f_bavail * disk.f_frsize) : 0;
  const int64_t needed = size_ + size_ / 4;  // So that it is not given up again at once.
  if (free >= needed) {
    const int file = open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    const bool taken = file >= 0 && posix_fallocate(file, 0, size_) == 0;
    if (file >= 0) close(file);
    if (taken) return absl::OkStatus();
    Release();
  }
  return absl::ResourceExhaustedError(
      "the disk of " + FolderOf(path_) + " is full: " + FormatSize(free) +
      " are free, it takes new work again when " + FormatSize(needed) +
      " are; free some space or move the folder to a larger disk");
}

}  // namespace cd4ml::store
