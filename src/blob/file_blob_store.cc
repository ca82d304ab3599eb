// Blobs as read-only files named by their digest. See open_blob_store.h.
//
// A blob is written below tmp/, made durable, *sealed* and renamed into objects/; so whatever has a
// name there was complete once. The seal is the file's modification time, a number made from the
// digest: writing to the file, through whichever of its hard links, or swapping it with another
// breaks the seal. Where bytes are read anyway they are hashed; where they are not (hard links), an
// intact seal stands for the hash that was taken before sealing.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <vector>

#include "blob/file.h"
#include "cd4ml/base/check.h"
#include "cd4ml/base/status.h"
#include "cd4ml/blob/open_blob_store.h"

namespace cd4ml::blob {
namespace {

// A moment between 2000 and 2008: later than 1980, before which zip files cannot tell the time.
timespec SealOf(const Digest& digest) {
  const uint64_t bits = std::stoull(digest.hex().substr(0, 15), nullptr, 16);
  return {.tv_sec = static_cast<time_t>(946'684'800 + (bits >> 32)),
          .tv_nsec = static_cast<long>((bits & 0xFFFF'FFFF) % 1'000'000'000)};
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

std::string ObjectName(const Digest& digest) {
  return digest.hex().substr(0, 2) + '/' + digest.hex().substr(2);
}

bool IsSameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool IsUnchanged(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
         a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

bool MakeFolder(int parent, const char* name) {
  return mkdirat(parent, name, 0777) == 0 || errno == EEXIST;
}

// Returns whether a hard link in the store harms nobody: the file is ours, has this name alone, and
// is not run as a program, which a read-only file without the executable bit could not be.
bool IsLinkable(const struct stat& facts) {
  return facts.st_uid == geteuid() && facts.st_nlink == 1 && (facts.st_mode & 0111) == 0;
}

// Returns whether no process has the file open for writing: only then is a read lease granted.
bool HasNoWriter(int fd) {
  // Whoever opens the file while we hold the lease makes the kernel send this signal, which is
  // ignored by default; the default SIGIO would end the process.
  fcntl(fd, F_SETSIG, SIGURG);
  if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0) return false;
  fcntl(fd, F_SETLEASE, F_UNLCK);
  return true;
}

// A file below tmp/ on its way to become an object; unlinked unless it got there. The lock on it
// says that its process lives, also to processes in other pid namespaces.
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
  ~Temp() {
    if (!name_.empty()) unlinkat(dir_, name_.c_str(), 0);
  }

  int fd() const { return fd_.get(); }

  bool RenameTo(int dir, const std::string& name) {
    if (renameat(dir_, name_.c_str(), dir, name.c_str()) != 0) return false;
    name_.clear();
    return true;
  }

 private:
  int dir_;
  std::string name_;
  Fd fd_;
};

// A file below tmp/, none when the store has its bytes already, and what they hash to.
struct Staged {
  std::optional<Temp> temp;
  Digest digest;
};

// Files staged at a time; each keeps a descriptor open meanwhile.
constexpr size_t kBatchMax = 128;

// From this many on, one sync of the whole file system is faster than one for each file.
constexpr size_t kSyncAllMin = 16;

class FileBlobStore final : public BlobStore {
 public:
  using OnLostWrites = std::function<void(const absl::Status&)>;
  static absl::StatusOr<std::unique_ptr<BlobStore>> Open(const std::string& dir,
                                                         OnLostWrites on_lost_writes);

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override;
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest& digest, int64_t offset) override;
  absl::StatusOr<int64_t> Size(const Digest& digest) override;
  absl::Status Remove(const Digest& digest) override;
  absl::StatusOr<Digest> PutFile(const std::string& path, bool may_link,
                                 const std::stop_token& stop) override;
  absl::StatusOr<std::vector<Digest>> PutFiles(const std::vector<std::string>& paths,
                                               bool may_link,
                                               const std::stop_token& stop) override;
  absl::Status Materialize(const Digest& digest, const std::string& path, bool executable,
                           bool may_link, const std::stop_token& stop) override;

  absl::Status Publish(std::vector<Staged> batch, std::set<std::string>& folders);
  absl::Status SyncFolders(const std::set<std::string>& folders);
  // Moves the file open as `fd` away from the name of `digest`, and returns DATA_LOSS.
  absl::Status Damaged(const Digest& digest, int fd);

 private:
  // Returns what the sync that has just failed said.
  absl::Status SyncError(std::string_view what);
  absl::Status MakeFolders();
  void RemoveLeftovers();
  absl::StatusOr<Temp> NewTemp();
  std::optional<Temp> LinkTemp(const std::string& path, int source);
  absl::StatusOr<Temp> CopyTemp(int source, const std::stop_token& stop);
  absl::StatusOr<Staged> Stage(const std::string& path, bool may_link, const std::stop_token& stop);
  absl::Status Name(Temp& temp, const Digest& digest);
  std::string NextName() {
    return std::to_string(getpid()) + '-' + std::to_string(next_.fetch_add(1));
  }
  absl::StatusOr<Fd> OpenObject(const Digest& digest);
  bool IsThere(const Digest& digest);
  absl::Status Verify(const Digest& digest, int fd, const std::stop_token& stop);
  absl::Status CopyOut(const Digest& digest, int object, const std::string& path, bool executable,
                       const std::stop_token& stop);
  absl::Status CopyVerified(const Digest& digest, int object, int file,
                            const std::stop_token& stop);

  std::string dir_;
  OnLostWrites on_lost_writes_;
  Fd objects_, tmp_, quarantine_;
  bool can_clone_ = false;
  std::atomic<uint64_t> next_ = 0;
};

class FileBlobWriter final : public BlobWriter {
 public:
  FileBlobWriter(FileBlobStore& store, Temp temp) : store_(store), temp_(std::move(temp)) {}

  absl::Status Append(std::string_view bytes) override {
    CD4ML_CHECK(temp_.has_value(), "append after commit");
    hasher_.Update(bytes);
    const absl::Status written = WriteAll(temp_->fd(), bytes);
    if (!written.ok()) failed_ = written;
    return failed_;
  }

  absl::StatusOr<Digest> Commit(const Digest& expected) override {
    CD4ML_CHECK(temp_.has_value(), "commit after commit");
    CD4ML_RETURN_IF_ERROR(failed_);
    Digest digest = hasher_.Finish();
    if (expected.is_set() && digest != expected) {
      return absl::DataLossError("the bytes that came for blob sha256:" + expected.hex() +
                                 " hash to sha256:" + digest.hex() + "; send them again");
    }
    std::vector<Staged> batch;
    batch.push_back({*std::move(temp_), digest});
    temp_.reset();
    std::set<std::string> folders;
    CD4ML_RETURN_IF_ERROR(store_.Publish(std::move(batch), folders));
    CD4ML_RETURN_IF_ERROR(store_.SyncFolders(folders));
    return digest;
  }

 private:
  FileBlobStore& store_;
  std::optional<Temp> temp_;
  Hasher hasher_;
  absl::Status failed_;  // A piece is missing since then.
};

class FileBlobReader final : public BlobReader {
 public:
  FileBlobReader(FileBlobStore& store, Digest digest, Fd fd, int64_t size)
      : store_(store), digest_(std::move(digest)), fd_(std::move(fd)), size_(size) {}

  absl::Status SkipTo(int64_t offset) {
    std::string piece(kPieceSize, '\0');
    while (position_ < offset) {
      piece.resize(std::min<size_t>(kPieceSize, static_cast<size_t>(offset - position_)));
      CD4ML_RETURN_IF_ERROR(Fill(piece));
    }
    return position_ == size_ ? CheckHash() : absl::OkStatus();
  }

  absl::StatusOr<std::string> Read(size_t size_max) override {
    CD4ML_CHECK(size_max > 0, "a read of nothing cannot be told from the end");
    CD4ML_RETURN_IF_ERROR(failed_);
    std::string piece(std::min<uint64_t>(size_max, static_cast<uint64_t>(size_ - position_)), '\0');
    if (piece.empty()) return piece;
    failed_ = Fill(piece);
    if (failed_.ok() && position_ == size_) failed_ = CheckHash();
    if (!failed_.ok()) return failed_;
    return piece;
  }

  int64_t size() const override { return size_; }

 private:
  absl::Status Fill(std::string& piece) {
    const auto count = ReadAt(fd_.get(), position_, piece);
    if (!count.ok() || *count < piece.size()) return store_.Damaged(digest_, fd_.get());
    hasher_.Update(piece);
    position_ += static_cast<int64_t>(piece.size());
    return absl::OkStatus();
  }

  absl::Status CheckHash() {
    return hasher_.Finish() == digest_ ? absl::OkStatus() : store_.Damaged(digest_, fd_.get());
  }

  FileBlobStore& store_;
  const Digest digest_;
  Fd fd_;
  const int64_t size_;
  int64_t position_ = 0;
  Hasher hasher_;
  absl::Status failed_;
};

absl::StatusOr<std::unique_ptr<BlobStore>> FileBlobStore::Open(const std::string& dir,
                                                               OnLostWrites on_lost_writes) {
  auto store = std::make_unique<FileBlobStore>();
  store->dir_ = dir;
  store->on_lost_writes_ = std::move(on_lost_writes);
  CD4ML_RETURN_IF_ERROR(
      Annotate(store->MakeFolders(), "cannot open the blob store \"" + dir + '"'));
  store->RemoveLeftovers();
  CD4ML_ASSIGN_OR_RETURN(const Temp a, store->NewTemp());
  CD4ML_ASSIGN_OR_RETURN(const Temp b, store->NewTemp());
  store->can_clone_ = Clone(a.fd(), b.fd());
  return store;
}

absl::Status FileBlobStore::SyncError(std::string_view what) {
  const bool is_lost = errno == EIO;
  absl::Status status = SystemError("sync " + std::string(what));
  if (is_lost && on_lost_writes_) on_lost_writes_(status);
  return status;
}

absl::Status FileBlobStore::MakeFolders() {
  std::error_code error;
  std::filesystem::create_directories(dir_, error);
  const Fd root(open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root.is_open()) return SystemError("open the folder");
  for (auto [fd, name] :
       {std::pair(&objects_, "objects"), {&tmp_, "tmp"}, {&quarantine_, "quarantine"}}) {
    if (!MakeFolder(root.get(), name)) return SystemError("make the folder " + std::string(name));
    *fd = Fd(openat(root.get(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd->is_open()) return SystemError("open the folder " + std::string(name));
  }
  if (fsync(root.get()) != 0) return SyncError("the folder");
  return absl::OkStatus();
}

// Removes what dead processes left below tmp/.
void FileBlobStore::RemoveLeftovers() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir_ + "/tmp", error)) {
    const std::string name = entry.path().filename().string();
    const Fd fd(openat(tmp_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd.is_open() && flock(fd.get(), LOCK_EX | LOCK_NB) == 0)
      unlinkat(tmp_.get(), name.c_str(), 0);
  }
}

absl::StatusOr<Temp> FileBlobStore::NewTemp() {
  while (true) {
    std::string name = NextName();
    Fd fd(openat(tmp_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd.is_open() && errno == EEXIST) continue;
    if (!fd.is_open() && errno == ENOSPC) return WriteError(tmp_.get(), 0);
    if (!fd.is_open()) return SystemError("make a file below \"" + dir_ + "/tmp\"");
    flock(fd.get(), LOCK_EX);
    // A process that opened the store just now may have taken the file for a leftover.
    CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(fd.get()));
    if (facts.st_nlink > 0) return Temp(tmp_.get(), std::move(name), std::move(fd));
  }
}

absl::StatusOr<std::unique_ptr<BlobWriter>> FileBlobStore::Create() {
  CD4ML_ASSIGN_OR_RETURN(Temp temp, NewTemp());
  return std::make_unique<FileBlobWriter>(*this, std::move(temp));
}

absl::StatusOr<Fd> FileBlobStore::OpenObject(const Digest& digest) {
  CD4ML_CHECK(digest.is_set(), "a blob has a digest");
  Fd fd(openat(objects_.get(), ObjectName(digest).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (fd.is_open()) return fd;
  if (errno == ENOENT) {
    return absl::NotFoundError("there is no blob sha256:" + digest.hex() + " in \"" + dir_ + '"');
  }
  return SystemError("open blob sha256:" + digest.hex() + " in \"" + dir_ + '"');
}

absl::StatusOr<std::unique_ptr<BlobReader>> FileBlobStore::Open(const Digest& digest,
                                                                int64_t offset) {
  CD4ML_ASSIGN_OR_RETURN(Fd fd, OpenObject(digest));
  CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(fd.get()));
  if (offset < 0 || offset > facts.st_size) {
    return absl::OutOfRangeError("offset " + std::to_string(offset) +
                                 " is outside of blob sha256:" + digest.hex() + ", which has " +
                                 std::to_string(facts.st_size) + " bytes");
  }
  auto reader = std::make_unique<FileBlobReader>(*this, digest, std::move(fd), facts.st_size);
  CD4ML_RETURN_IF_ERROR(reader->SkipTo(offset));
  return reader;
}

absl::StatusOr<int64_t> FileBlobStore::Size(const Digest& digest) {
  CD4ML_ASSIGN_OR_RETURN(const Fd fd, OpenObject(digest));
  CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(fd.get()));
  return facts.st_size;
}

absl::Status FileBlobStore::Remove(const Digest& digest) {
  if (unlinkat(objects_.get(), ObjectName(digest).c_str(), 0) == 0 || errno == ENOENT) {
    return absl::OkStatus();
  }
  return SystemError("remove blob sha256:" + digest.hex());
}

absl::StatusOr<Digest> FileBlobStore::PutFile(const std::string& path, bool may_link,
                                              const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(std::vector<Digest> digests, PutFiles({path}, may_link, stop));
  return std::move(digests.front());
}

absl::StatusOr<std::vector<Digest>> FileBlobStore::PutFiles(const std::vector<std::string>& paths,
                                                            bool may_link,
                                                            const std::stop_token& stop) {
  std::vector<Digest> digests;
  std::set<std::string> folders;
  while (digests.size() < paths.size()) {
    std::vector<Staged> batch;
    while (digests.size() < paths.size() && batch.size() < kBatchMax) {
      const std::string& path = paths[digests.size()];
      auto staged = Stage(path, may_link, stop);
      if (!staged.ok()) return Annotate(staged.status(), "cannot store \"" + path + '"');
      digests.push_back(staged->digest);
      batch.push_back(*std::move(staged));
    }
    CD4ML_RETURN_IF_ERROR(Annotate(Publish(std::move(batch), folders), "cannot store files"));
  }
  CD4ML_RETURN_IF_ERROR(SyncFolders(folders));
  return digests;
}

// Hashes the file and, unless the store has those bytes, brings it below tmp/.
absl::StatusOr<Staged> FileBlobStore::Stage(const std::string& path, bool may_link,
                                            const std::stop_token& stop) {
  const Fd source(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!source.is_open()) return SystemError("open it");
  CD4ML_ASSIGN_OR_RETURN(const struct stat before, Stat(source.get()));
  if (!S_ISREG(before.st_mode)) return absl::InvalidArgumentError("it is not a regular file");
  const bool can_link = may_link && !can_clone_ && IsLinkable(before) && HasNoWriter(source.get());
  CD4ML_ASSIGN_OR_RETURN(Digest digest, HashFile(source.get(), stop));
  if (IsThere(digest)) return Staged{std::nullopt, std::move(digest)};
  if (can_link) {
    std::optional<Temp> temp = LinkTemp(path, source.get());
    CD4ML_ASSIGN_OR_RETURN(const struct stat after, Stat(source.get()));
    if (temp && IsUnchanged(before, after)) return Staged{std::move(temp), std::move(digest)};
    fchmod(source.get(), before.st_mode & 07777);
  }
  // A copy is nobody else's, so its hash holds whatever happens to the source meanwhile.
  CD4ML_ASSIGN_OR_RETURN(Temp temp, CopyTemp(source.get(), stop));
  CD4ML_ASSIGN_OR_RETURN(digest, HashFile(temp.fd(), stop));
  return Staged{std::move(temp), std::move(digest)};
}

// Gives the file at `path`, open as `source`, a read-only second name below tmp/.
std::optional<Temp> FileBlobStore::LinkTemp(const std::string& path, int source) {
  if (flock(source, LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  std::string name = NextName();
  if (linkat(AT_FDCWD, path.c_str(), tmp_.get(), name.c_str(), 0) != 0) return std::nullopt;
  Temp temp(tmp_.get(), name, Fd(fcntl(source, F_DUPFD_CLOEXEC, 0)));
  struct stat opened, linked;
  if (fstat(source, &opened) != 0 ||
      fstatat(tmp_.get(), name.c_str(), &linked, AT_SYMLINK_NOFOLLOW) != 0 ||
      !IsSameFile(opened, linked) || fchmod(source, 0444) != 0) {
    return std::nullopt;
  }
  return temp;
}

absl::StatusOr<Temp> FileBlobStore::CopyTemp(int source, const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(Temp temp, NewTemp());
  if (!can_clone_ || !Clone(source, temp.fd())) CD4ML_RETURN_IF_ERROR(Copy(source, temp.fd(), stop));
  return temp;
}

bool FileBlobStore::IsThere(const Digest& digest) {
  struct stat facts;
  return fstatat(objects_.get(), ObjectName(digest).c_str(), &facts, AT_SYMLINK_NOFOLLOW) == 0 &&
         IsSealed(facts, digest);
}

// Makes the staged files blobs whose bytes are durable; their names are so only after SyncFolders,
// which is why the folder of a blob that was there already is among those to be synced: another
// thread may have put it there just now. A damaged blob is replaced.
absl::Status FileBlobStore::Publish(std::vector<Staged> batch, std::set<std::string>& folders) {
  for (const Staged& staged : batch) folders.insert(staged.digest.hex().substr(0, 2));
  std::erase_if(batch,
                [this](const Staged& staged) { return !staged.temp || IsThere(staged.digest); });
  for (const auto& [temp, digest] : batch) CD4ML_RETURN_IF_ERROR(Seal(temp->fd(), digest));
  if (batch.size() >= kSyncAllMin) {
    if (syncfs(tmp_.get()) != 0) return SyncError("the file system");
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

absl::Status FileBlobStore::SyncFolders(const std::set<std::string>& folders) {
  if (folders.size() >= kSyncAllMin) {
    return syncfs(objects_.get()) == 0 ? absl::OkStatus() : SyncError("the file system");
  }
  for (const std::string& folder : folders) {
    const Fd fd(openat(objects_.get(), folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.is_open() || fsync(fd.get()) != 0) return SyncError("a folder of blobs");
  }
  return absl::OkStatus();
}

absl::Status FileBlobStore::Name(Temp& temp, const Digest& digest) {
  const std::string name = ObjectName(digest);
  if (temp.RenameTo(objects_.get(), name)) return absl::OkStatus();
  // The first blob of its folder.
  const bool is_made = MakeFolder(objects_.get(), name.substr(0, 2).c_str());
  if (is_made && fsync(objects_.get()) != 0) return SyncError("the folder of all blobs");
  if (is_made && temp.RenameTo(objects_.get(), name)) return absl::OkStatus();
  return SystemError("name the new blob sha256:" + digest.hex());
}

absl::Status FileBlobStore::Damaged(const Digest& digest, int fd) {
  const std::string name = ObjectName(digest);
  struct stat there, opened;
  std::string hint = "it is gone by now";
  // Another process may have put a good one there since.
  if (fstatat(objects_.get(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
      fstat(fd, &opened) == 0 && IsSameFile(there, opened)) {
    const std::string aside = digest.hex() + '.' + NextName();
    hint = renameat(objects_.get(), name.c_str(), quarantine_.get(), aside.c_str()) == 0
               ? "it was moved to \"" + dir_ + "/quarantine/" + aside + '"'
               : "it could not be moved aside";
  }
  return absl::DataLossError("blob sha256:" + digest.hex() +
                             " is damaged, its bytes are not those that were stored; " + hint +
                             "; run the stage that made it again or restore the file");
}

// Returns OK when the object open as `fd` holds the bytes of `digest`.
absl::Status FileBlobStore::Verify(const Digest& digest, int fd, const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(fd));
  if (IsSealed(facts, digest)) return absl::OkStatus();
  const auto actual = HashFile(fd, stop);
  if (absl::IsCancelled(actual.status())) return actual.status();
  if (!actual.ok() || *actual != digest) return Damaged(digest, fd);
  // Nothing is lost when it cannot be sealed, say on a file system without such fine times.
  Seal(fd, digest).IgnoreError();
  return absl::OkStatus();
}

absl::Status FileBlobStore::Materialize(const Digest& digest, const std::string& path,
                                        bool executable, bool may_link,
                                        const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(const Fd object, OpenObject(digest));
  if (may_link && !executable && !can_clone_) {
    CD4ML_RETURN_IF_ERROR(Verify(digest, object.get(), stop));
    if (linkat(objects_.get(), ObjectName(digest).c_str(), AT_FDCWD, path.c_str(), 0) == 0) {
      return absl::OkStatus();
    }
    if (errno == EEXIST || errno == ENOENT) return SystemError("make \"" + path + '"');
  }
  return Annotate(CopyOut(digest, object.get(), path, executable, stop),
                  "cannot make \"" + path + '"');
}

absl::Status FileBlobStore::CopyVerified(const Digest& digest, int object, int file,
                                         const std::stop_token& stop) {
  CD4ML_RETURN_IF_ERROR(Copy(object, file, stop));
  const auto actual = HashFile(file, stop);
  if (absl::IsCancelled(actual.status())) return actual.status();
  if (actual.ok() && *actual == digest) return absl::OkStatus();
  const auto stored = HashFile(object, stop);
  if (absl::IsCancelled(stored.status())) return stored.status();
  return stored.ok() && *stored == digest
             ? absl::InternalError("the copy reads back different; check that disk")
             : Damaged(digest, object);
}

absl::Status FileBlobStore::CopyOut(const Digest& digest, int object, const std::string& path,
                                    bool executable, const std::stop_token& stop) {
  const Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.is_open()) return SystemError("create the file");
  absl::Status copied;
  if (can_clone_ && Clone(object, file.get())) {
    copied = Verify(digest, object, stop);
  } else {
    copied = CopyVerified(digest, object, file.get(), stop);
  }
  if (copied.ok() && fchmod(file.get(), executable ? 0555 : 0444) != 0) {
    copied = SystemError("set the mode");
  }
  if (!copied.ok()) unlink(path.c_str());
  return copied;
}

}  // namespace
}  // namespace cd4ml::blob

namespace cd4ml {

absl::StatusOr<std::unique_ptr<BlobStore>> OpenBlobStore(
    const std::string& dir, std::function<void(const absl::Status&)> on_lost_writes) {
  return blob::FileBlobStore::Open(dir, std::move(on_lost_writes));
}

}  // namespace cd4ml
