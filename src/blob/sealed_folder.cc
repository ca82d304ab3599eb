// Names, seals and syncs: what makes a file below a folder a fact.
#include "blob/sealed_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "cd4ml/base/check.h"
#include "cd4ml/base/status.h"

namespace cd4ml::blob {
namespace {

// From this many on, one sync of the whole file system is faster than one for each file.
constexpr size_t kSyncAllMin = 16;

// A moment between 2000 and 2008: later than 1980, before which zip files cannot tell the time.
timespec SealOf(const Digest& digest) {
  const uint64_t bits = std::stoull(digest.hex().substr(0, 15), nullptr, 16);
  return {.tv_sec = static_cast<time_t>(946'684'800 + (bits >> 32)),
          .tv_nsec = static_cast<long>((bits & 0xFFFF'FFFF) % 1'000'000'000)};
}

std::string NameOf(const Digest& digest) {
  CD4ML_CHECK(digest.is_set(), "a blob has a digest");
  return digest.hex().substr(0, 2) + '/' + digest.hex().substr(2);
}

bool IsSameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool MakeFolder(int parent, const std::string& name) {
  return mkdirat(parent, name.c_str(), 0777) == 0 || errno == EEXIST;
}

}  // namespace

absl::StatusOr<Fd> OpenFolder(int root, const std::string& name) {
  if (!MakeFolder(root, name)) return SystemError("make the folder " + name);
  Fd fd(openat(root, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) return SystemError("open the folder " + name);
  return fd;
}

bool IsSealed(const struct stat& facts, const Digest& digest) {
  const timespec seal = SealOf(digest);
  return S_ISREG(facts.st_mode) && (facts.st_mode & 0222) == 0 &&
         facts.st_mtim.tv_sec == seal.tv_sec && facts.st_mtim.tv_nsec == seal.tv_nsec;
}

absl::Status Seal(int fd, const Digest& digest) {
  const std::array<timespec, 2> times = {timespec{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                                         SealOf(digest)};
  if (fchmod(fd, 0444) != 0 || futimens(fd, times.data()) != 0) return SystemError("seal the file");
  return absl::OkStatus();
}

Temp::~Temp() {
  if (!name_.empty()) unlinkat(dir_, name_.c_str(), 0);
}

bool Temp::RenameTo(int dir, const std::string& name) {
  if (renameat(dir_, name_.c_str(), dir, name.c_str()) != 0) return false;
  name_.clear();
  return true;
}

absl::Status TempFolder::Open(int root, const std::string& root_path) {
  path_ = root_path + "/tmp";
  CD4ML_ASSIGN_OR_RETURN(fd_, OpenFolder(root, "tmp"));
  return absl::OkStatus();
}

void TempFolder::RemoveLeftovers() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
    const std::string name = entry.path().filename().string();
    const Fd fd(openat(fd_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd.is_open() && flock(fd.get(), LOCK_EX | LOCK_NB) == 0)
      unlinkat(fd_.get(), name.c_str(), 0);
  }
}

std::string TempFolder::NextName() {
  return std::to_string(getpid()) + '-' + std::to_string(next_.fetch_add(1));
}

absl::StatusOr<Temp> TempFolder::New() {
  while (true) {
    std::string name = NextName();
    Fd fd(openat(fd_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd.is_open() && errno == EEXIST) continue;
    if (!fd.is_open() && errno == ENOSPC) return WriteError(fd_.get(), 0);
    if (!fd.is_open()) return SystemError("make a file below \"" + path_ + '"');
    flock(fd.get(), LOCK_EX);
    // A process that opened the store just now may have taken the file for a leftover.
    CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(fd.get()));
    if (facts.st_nlink > 0) return Temp(fd_.get(), std::move(name), std::move(fd));
  }
}

std::optional<Temp> TempFolder::Link(const std::string& path, int source) {
  if (flock(source, LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  std::string name = NextName();
  if (linkat(AT_FDCWD, path.c_str(), fd_.get(), name.c_str(), 0) != 0) return std::nullopt;
  Temp temp(fd_.get(), name, Fd(fcntl(source, F_DUPFD_CLOEXEC, 0)));
  struct stat opened, linked;
  if (fstat(source, &opened) != 0 ||
      fstatat(fd_.get(), name.c_str(), &linked, AT_SYMLINK_NOFOLLOW) != 0 ||
      !IsSameFile(opened, linked) || fchmod(source, 0444) != 0) {
    return std::nullopt;
  }
  return temp;
}

absl::Status SealedFolder::Open(int root, const std::string& root_path, const std::string& name,
                                Usage& usage, OnLostWrites on_lost_writes) {
  path_ = root_path + '/' + name;
  usage_ = &usage;
  on_lost_writes_ = std::move(on_lost_writes);
  CD4ML_ASSIGN_OR_RETURN(fd_, OpenFolder(root, name));
  return absl::OkStatus();
}

absl::Status SealedFolder::SyncError(std::string_view what) const {
  const bool is_lost = errno == EIO;
  absl::Status status = SystemError("sync " + std::string(what));
  if (is_lost && on_lost_writes_) on_lost_writes_(status);
  return status;
}

absl::StatusOr<Fd> SealedFolder::OpenFile(const Digest& digest) const {
  Fd fd(openat(fd_.get(), NameOf(digest).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (fd.is_open()) return fd;
  return SystemError("open sha256:" + digest.hex() + " in \"" + path_ + '"');
}

std::optional<struct stat> SealedFolder::Find(const Digest& digest) const {
  struct stat facts;
  const bool is_there =
      fstatat(fd_.get(), NameOf(digest).c_str(), &facts, AT_SYMLINK_NOFOLLOW) == 0 &&
      IsSealed(facts, digest);
  return is_there ? std::optional(facts) : std::nullopt;
}

bool SealedFolder::Touch(const Digest& digest) const {
  // Only the time of access, so that a broken seal stays broken.
  const std::array<timespec, 2> times = {timespec{.tv_sec = 0, .tv_nsec = UTIME_NOW},
                                         timespec{.tv_sec = 0, .tv_nsec = UTIME_OMIT}};
  return utimensat(fd_.get(), NameOf(digest).c_str(), times.data(), AT_SYMLINK_NOFOLLOW) == 0;
}

absl::Status SealedFolder::Publish(std::vector<Staged> batch, std::set<std::string>& folders) {
  for (const Staged& staged : batch) folders.insert(staged.digest.hex().substr(0, 2));
  std::erase_if(batch,
                [this](const Staged& staged) { return !staged.temp || IsThere(staged.digest); });
  for (const auto& [temp, digest] : batch) CD4ML_RETURN_IF_ERROR(Seal(temp->fd(), digest));
  if (batch.size() >= kSyncAllMin) {
    if (syncfs(fd_.get()) != 0) return SyncError("the file system");
  } else {
    for (const auto& [temp, digest] : batch) {
      if (fdatasync(temp->fd()) == 0) continue;
      if (errno != ENOSPC) return SyncError("a blob");
      return WriteError(temp->fd(), lseek(temp->fd(), 0, SEEK_END));
    }
  }
  for (auto& [temp, digest] : batch) CD4ML_RETURN_IF_ERROR(Name(*temp, digest));
  return absl::OkStatus();
}

absl::Status SealedFolder::SyncFolders(const std::set<std::string>& folders) const {
  if (folders.size() >= kSyncAllMin) {
    return syncfs(fd_.get()) == 0 ? absl::OkStatus() : SyncError("the file system");
  }
  for (const std::string& folder : folders) {
    const Fd fd(openat(fd_.get(), folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.is_open() && errno == ENOENT) continue;  // Nothing was put there.
    if (!fd.is_open() || fsync(fd.get()) != 0) return SyncError("a folder of blobs");
  }
  return absl::OkStatus();
}

absl::Status SealedFolder::Name(Temp& temp, const Digest& digest) const {
  const std::string name = NameOf(digest);
  CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(temp.fd()));
  usage_->Add(OnDisk(facts));
  if (temp.RenameTo(fd_.get(), name)) return absl::OkStatus();
  // The first one of its folder.
  const bool is_made = MakeFolder(fd_.get(), name.substr(0, 2));
  if (is_made && fsync(fd_.get()) != 0) return SyncError("the folder of all blobs");
  if (is_made && temp.RenameTo(fd_.get(), name)) return absl::OkStatus();
  usage_->Add(-OnDisk(facts));
  return SystemError("name the new blob sha256:" + digest.hex());
}

absl::Status SealedFolder::Remove(const Digest& digest) const {
  struct stat facts;
  const std::string name = NameOf(digest);
  if (fstatat(fd_.get(), name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) == 0 &&
      unlinkat(fd_.get(), name.c_str(), 0) == 0) {
    usage_->Add(-OnDisk(facts));
    return absl::OkStatus();
  }
  if (errno == ENOENT) return absl::OkStatus();
  return SystemError("remove blob sha256:" + digest.hex());
}

bool SealedFolder::MoveAside(const Digest& digest, int fd, int folder,
                             const std::string& name) const {
  struct stat there, opened;
  return fstatat(fd_.get(), NameOf(digest).c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
         fstat(fd, &opened) == 0 && IsSameFile(there, opened) &&
         renameat(fd_.get(), NameOf(digest).c_str(), folder, name.c_str()) == 0;
}

bool SealedFolder::LinkTo(const Digest& digest, const std::string& path) const {
  return linkat(fd_.get(), NameOf(digest).c_str(), AT_FDCWD, path.c_str(), 0) == 0;
}

void SealedFolder::ForEach(
    const std::function<void(const Digest&, const struct stat&)>& visit) const {
  std::error_code error;
  for (const auto& folder : std::filesystem::directory_iterator(path_, error)) {
    for (const auto& file : std::filesystem::directory_iterator(folder.path(), error)) {
      const std::string name = folder.path().filename().string() + file.path().filename().string();
      const auto digest = Digest::Parse(name);
      struct stat facts;
      if (digest.ok() && lstat(file.path().c_str(), &facts) == 0) visit(*digest, facts);
    }
  }
}

}  // namespace cd4ml::blob
