// Whole blobs: put, read, link, copy; folded ones are read through their recipe.
//
// Where bytes are read anyway they are hashed; where they are not (hard links), an intact seal stands
// for the hash that was taken before sealing.
#include "blob/file_blob_store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "cd4ml/base/check.h"
#include "cd4ml/base/status.h"
#include "cd4ml/blob/open_blob_store.h"

namespace cd4ml::blob {
namespace {

bool IsUnchanged(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
         a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
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

// Files staged at a time; each keeps a descriptor open meanwhile.
constexpr size_t kBatchMax = 128;

class FileBlobWriter final : public BlobWriter {
 public:
  FileBlobWriter(FileBlobStore& store, Temp temp) : store_(store), temp_(std::move(temp)) {}

  absl::Status Append(std::string_view bytes) override {
    CD4ML_CHECK(temp_.has_value(), "append after commit");
    CD4ML_RETURN_IF_ERROR(failed_);
    hasher_.Update(bytes);
    size_ += static_cast<int64_t>(bytes.size());
    failed_ = store_.Admit(size_);
    if (failed_.ok()) failed_ = WriteAll(temp_->fd(), bytes);
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
    CD4ML_RETURN_IF_ERROR(store_.PublishOne(std::exchange(temp_, std::nullopt), digest));
    return digest;
  }

 private:
  FileBlobStore& store_;
  std::optional<Temp> temp_;
  Hasher hasher_;
  int64_t size_ = 0;
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

// A folded blob. Each chunk is verified before it is handed out, and all of them together.
class FoldedReader final : public BlobReader {
 public:
  FoldedReader(FileBlobStore& store, Digest digest, std::vector<Chunk> chunks)
      : store_(store),
        digest_(std::move(digest)),
        chunks_(std::move(chunks)),
        size_(SizeOf(chunks_)) {}

  // Reads up to `offset`. Of an empty blob there is no last piece that could tell.
  absl::Status SkipTo(int64_t offset) {
    if (size_ == 0) return CheckHash();
    for (int64_t left = offset; left > 0;) {
      CD4ML_ASSIGN_OR_RETURN(const std::string piece, Read(static_cast<size_t>(left)));
      left -= static_cast<int64_t>(piece.size());
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Read(size_t size_max) override {
    CD4ML_CHECK(size_max > 0, "a read of nothing cannot be told from the end");
    CD4ML_RETURN_IF_ERROR(failed_);
    if (taken_ == chunk_.size()) {
      if (next_ == chunks_.size()) return std::string();
      failed_ = Fill();
      if (failed_.ok() && next_ == chunks_.size()) failed_ = CheckHash();
      CD4ML_RETURN_IF_ERROR(failed_);
    }
    std::string piece = chunk_.substr(taken_, size_max);
    taken_ += piece.size();
    return piece;
  }

  int64_t size() const override { return size_; }

 private:
  absl::Status Fill() {
    auto chunk = store_.ReadFoldedChunk(chunks_[next_++]);
    if (!chunk.ok()) return store_.DamagedFolded(digest_);
    chunk_ = *std::move(chunk);
    taken_ = 0;
    hasher_.Update(chunk_);
    return absl::OkStatus();
  }

  absl::Status CheckHash() {
    return hasher_.Finish() == digest_ ? absl::OkStatus() : store_.DamagedFolded(digest_);
  }

  FileBlobStore& store_;
  const Digest digest_;
  const std::vector<Chunk> chunks_;
  const int64_t size_;
  size_t next_ = 0;   // Of chunks_.
  std::string chunk_;
  size_t taken_ = 0;  // Of chunk_.
  Hasher hasher_;
  absl::Status failed_;
};

absl::Status DamageFound(const Digest& digest, const std::string& hint) {
  return absl::DataLossError("blob sha256:" + digest.hex() +
                             " is damaged, its bytes are not those that were stored; " + hint +
                             "; run the stage that made it again or restore the file");
}

absl::Status CheckOffset(int64_t offset, int64_t size, const Digest& digest) {
  if (offset >= 0 && offset <= size) return absl::OkStatus();
  return absl::OutOfRangeError("offset " + std::to_string(offset) + " is outside of blob sha256:" +
                               digest.hex() + ", which has " + std::to_string(size) + " bytes");
}

}  // namespace

absl::StatusOr<std::unique_ptr<KeptBlobStore>> FileBlobStore::Open(const std::string& dir,
                                                                   OnLostWrites on_lost_writes) {
  auto store = std::make_unique<FileBlobStore>();
  store->dir_ = dir;
  CD4ML_RETURN_IF_ERROR(
      Annotate(store->MakeFolders(on_lost_writes), "cannot open the blob store \"" + dir + '"'));
  struct statvfs facts = {};
  store->is_read_only_ = fstatvfs(store->root_.get(), &facts) == 0 && (facts.f_flag & ST_RDONLY) != 0;
  if (store->is_read_only_) return store;
  store->tmp_.RemoveLeftovers();
  CD4ML_ASSIGN_OR_RETURN(const Temp a, store->tmp_.New());
  CD4ML_ASSIGN_OR_RETURN(const Temp b, store->tmp_.New());
  store->can_clone_ = Clone(a.fd(), b.fd());
  return store;
}

absl::Status FileBlobStore::MakeFolders(const OnLostWrites& on_lost_writes) {
  std::error_code error;
  std::filesystem::create_directories(dir_, error);
  root_ = Fd(open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root_.is_open()) return SystemError("open the folder");
  const int root = root_.get();
  CD4ML_RETURN_IF_ERROR(usage_.Open(root));
  CD4ML_RETURN_IF_ERROR(objects_.Open(root, dir_, "objects", usage_, on_lost_writes));
  CD4ML_RETURN_IF_ERROR(index_.Open(root, dir_, "index", usage_, on_lost_writes));
  CD4ML_RETURN_IF_ERROR(folded_.Open(root, dir_, usage_, on_lost_writes));
  CD4ML_RETURN_IF_ERROR(tmp_.Open(root, dir_));
  CD4ML_ASSIGN_OR_RETURN(partial_, OpenFolder(root, "partial"));
  CD4ML_ASSIGN_OR_RETURN(quarantine_, OpenFolder(root, "quarantine"));
  if (fsync(root) == 0) return absl::OkStatus();
  const bool is_lost = errno == EIO;
  absl::Status status = SystemError("sync the folder");
  if (is_lost && on_lost_writes) on_lost_writes(status);
  return status;
}

Fd FileBlobStore::LockUse(bool alone) const {
  // Opened anew each time, because such a lock belongs to what was opened.
  Fd fd(openat(root_.get(), "use.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  while (flock(fd.get(), alone ? LOCK_EX : LOCK_SH) != 0 && errno == EINTR) continue;
  return fd;
}

bool FileBlobStore::Use(const Digest& digest) {
  const Fd lock = LockUse(/*alone=*/false);
  if (objects_.IsThere(digest)) return objects_.Touch(digest);
  return folded_.IsThere(digest) && folded_.Touch(digest);
}

absl::StatusOr<std::unique_ptr<BlobWriter>> FileBlobStore::Create() {
  CD4ML_ASSIGN_OR_RETURN(Temp temp, tmp_.New());
  return std::make_unique<FileBlobWriter>(*this, std::move(temp));
}

absl::Status FileBlobStore::NotThere(const Digest& digest) const {
  return absl::NotFoundError("there is no blob sha256:" + digest.hex() + " in \"" + dir_ + '"');
}

absl::StatusOr<std::unique_ptr<BlobReader>> FileBlobStore::Open(const Digest& digest,
                                                                int64_t offset) {
  auto fd = objects_.OpenFile(digest);
  if (absl::IsNotFound(fd.status())) {
    auto chunks = folded_.Recipe(digest);
    if (absl::IsNotFound(chunks.status())) return NotThere(digest);
    if (!chunks.ok()) return DamagedFolded(digest);
    CD4ML_RETURN_IF_ERROR(CheckOffset(offset, SizeOf(*chunks), digest));
    auto reader = std::make_unique<FoldedReader>(*this, digest, *std::move(chunks));
    CD4ML_RETURN_IF_ERROR(reader->SkipTo(offset));
    return reader;
  }
  if (!fd.ok()) return fd.status();
  CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(fd->get()));
  CD4ML_RETURN_IF_ERROR(CheckOffset(offset, facts.st_size, digest));
  auto reader = std::make_unique<FileBlobReader>(*this, digest, *std::move(fd), facts.st_size);
  CD4ML_RETURN_IF_ERROR(reader->SkipTo(offset));
  return reader;
}

absl::StatusOr<int64_t> FileBlobStore::Size(const Digest& digest) {
  const Fd lock = LockUse(/*alone=*/false);
  const auto fd = objects_.OpenFile(digest);
  if (fd.ok()) {
    CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(fd->get()));
    objects_.Touch(digest);
    return facts.st_size;
  }
  if (!absl::IsNotFound(fd.status())) return fd.status();
  const auto size = folded_.Size(digest);
  if (absl::IsNotFound(size.status())) return NotThere(digest);
  if (!size.ok()) return DamagedFolded(digest);
  folded_.Touch(digest);
  return size;
}

absl::Status FileBlobStore::Remove(const Digest& digest) {
  Forget(digest);
  CD4ML_RETURN_IF_ERROR(folded_.Remove(digest));
  return objects_.Remove(digest);
}

absl::StatusOr<Digest> FileBlobStore::PutFile(const std::string& path, bool may_link,
                                              const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(std::vector<Digest> digests, PutFiles({path}, may_link, stop));
  return std::move(digests.front());
}

absl::StatusOr<std::vector<Digest>> FileBlobStore::PutFiles(const std::vector<std::string>& paths,
                                                            bool may_link,
                                                            const std::stop_token& stop) {
  if (paths.size() > 1) CD4ML_RETURN_IF_ERROR(Annotate(AdmitFiles(paths, stop), "cannot store files"));
  std::vector<Digest> digests;
  std::set<std::string> folders;
  while (digests.size() < paths.size()) {
    Usage::Hold hold(usage_);
    std::vector<Staged> batch;
    while (digests.size() < paths.size() && batch.size() < kBatchMax) {
      const std::string& path = paths[digests.size()];
      auto staged = Stage(path, may_link, batch, hold, stop);
      if (!staged.ok()) return Annotate(staged.status(), "cannot store \"" + path + '"');
      digests.push_back(staged->digest);
      batch.push_back(*std::move(staged));
    }
    CD4ML_RETURN_IF_ERROR(Annotate(objects_.Publish(std::move(batch), folders), "cannot store files"));
  }
  CD4ML_RETURN_IF_ERROR(objects_.SyncFolders(folders));
  return digests;
}

absl::Status FileBlobStore::AdmitFiles(const std::vector<std::string>& paths, const std::stop_token& stop) {
  int64_t all = 0;
  for (const std::string& path : paths) {
    struct stat facts;
    if (lstat(path.c_str(), &facts) == 0) all += facts.st_size;
  }
  if (usage_.Admit(all).ok()) return absl::OkStatus();
  // Some may be there already, which only their hashes tell.
  std::set<Digest> missing;
  int64_t size = 0;
  for (const std::string& path : paths) {
    const Fd source(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    const auto facts = source.is_open() ? Stat(source.get()) : SystemError("open it");
    if (!facts.ok() || !S_ISREG(facts->st_mode)) continue;  // Whoever stores it says so.
    CD4ML_ASSIGN_OR_RETURN(const Digest digest, HashFile(source.get(), stop));
    if (!Use(digest) && missing.insert(digest).second) size += facts->st_size;
  }
  return usage_.Admit(size);
}

// Hashes the file and, unless the store has those bytes, brings it below tmp/.
absl::StatusOr<Staged> FileBlobStore::Stage(const std::string& path, bool may_link, const std::vector<Staged>& batch,
                                            Usage::Hold& hold, const std::stop_token& stop) {
  const Fd source(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!source.is_open()) return SystemError("open it");
  CD4ML_ASSIGN_OR_RETURN(const struct stat before, Stat(source.get()));
  if (!S_ISREG(before.st_mode)) return absl::InvalidArgumentError("it is not a regular file");
  const bool can_link = may_link && !can_clone_ && IsLinkable(before) && HasNoWriter(source.get());
  CD4ML_ASSIGN_OR_RETURN(Digest digest, HashFile(source.get(), stop));
  const bool is_staged =
      std::any_of(batch.begin(), batch.end(), [&](const Staged& other) { return other.digest == digest; });
  if (is_staged || Use(digest)) return Staged{std::nullopt, std::move(digest)};
  CD4ML_RETURN_IF_ERROR(hold.Take(before.st_size));
  if (can_link) {
    std::optional<Temp> temp = tmp_.Link(path, source.get());
    CD4ML_ASSIGN_OR_RETURN(const struct stat after, Stat(source.get()));
    if (temp && IsUnchanged(before, after)) return Staged{std::move(temp), std::move(digest)};
    fchmod(source.get(), before.st_mode & 07777);
  }
  // A copy is nobody else's, so its hash holds whatever happens to the source meanwhile.
  CD4ML_ASSIGN_OR_RETURN(Temp temp, CopyTemp(source.get(), stop));
  CD4ML_ASSIGN_OR_RETURN(digest, HashFile(temp.fd(), stop));
  return Staged{std::move(temp), std::move(digest)};
}

absl::StatusOr<Temp> FileBlobStore::CopyTemp(int source, const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(Temp temp, tmp_.New());
  if (!can_clone_ || !Clone(source, temp.fd())) CD4ML_RETURN_IF_ERROR(Copy(source, temp.fd(), stop));
  return temp;
}

absl::Status FileBlobStore::PublishOne(std::optional<Temp> temp, const Digest& digest) {
  std::vector<Staged> batch;
  batch.push_back({std::move(temp), digest});
  if (Use(digest)) batch.front().temp.reset();
  std::set<std::string> folders;
  CD4ML_RETURN_IF_ERROR(objects_.Publish(std::move(batch), folders));
  return objects_.SyncFolders(folders);
}

absl::Status FileBlobStore::Damaged(const Digest& digest, int fd) {
  if (is_read_only_) return DamageFound(digest, "nothing can be written in \"" + dir_ + '"');
  const std::string aside = digest.hex() + '.' + tmp_.NextName();
  return DamageFound(digest, objects_.MoveAside(digest, fd, quarantine_.get(), aside)
                                 ? "it was moved to \"" + dir_ + "/quarantine/" + aside + '"'
                                 : "it is gone by now");
}

absl::Status FileBlobStore::DamagedFolded(const Digest& digest) {
  if (is_read_only_) return DamageFound(digest, "nothing can be written in \"" + dir_ + '"');
  const std::string aside = digest.hex() + ".recipe." + tmp_.NextName();
  return DamageFound(digest, folded_.MoveAside(digest, quarantine_.get(), aside)
                                 ? "its recipe was moved to \"" + dir_ + "/quarantine/" + aside + '"'
                                 : "it is gone by now");
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

// Makes a folded blob whole, so that it can be linked to.
absl::Status FileBlobStore::Unfold(const Digest& digest, const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(const int64_t size, folded_.Size(digest));
  CD4ML_RETURN_IF_ERROR(Admit(size));
  CD4ML_ASSIGN_OR_RETURN(Temp temp, tmp_.New());
  CD4ML_RETURN_IF_ERROR(folded_.Write(digest, temp.fd(), stop));
  std::vector<Staged> batch;
  batch.push_back({std::move(temp), digest});
  std::set<std::string> folders;
  return objects_.Publish(std::move(batch), folders);
}

absl::Status FileBlobStore::Materialize(const Digest& digest, const std::string& path,
                                        bool executable, bool may_link,
                                        const std::stop_token& stop) {
  const bool can_link = may_link && !executable && !can_clone_;
  auto whole = objects_.OpenFile(digest);
  if (absl::IsNotFound(whole.status()) && can_link && folded_.HasRecipe(digest)) {
    const absl::Status unfolded = Unfold(digest, stop);
    if (absl::IsDataLoss(unfolded)) return DamagedFolded(digest);
    if (absl::IsCancelled(unfolded)) return unfolded;
    // Where it does not fit twice, it is written to its place alone.
    whole = objects_.OpenFile(digest);
  }
  if (!whole.ok() && !absl::IsNotFound(whole.status())) return whole.status();
  if (!whole.ok() && !folded_.HasRecipe(digest)) return NotThere(digest);
  if (whole.ok() && can_link) {
    CD4ML_RETURN_IF_ERROR(Verify(digest, whole->get(), stop));
    // Where it cannot be linked to, be it that it was folded just now, what is open is copied.
    if (objects_.LinkTo(digest, path)) return absl::OkStatus();
  }
  return Annotate(CopyOut(digest, whole.ok() ? std::optional(*std::move(whole)) : std::nullopt, path,
                          executable, stop),
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

absl::Status FileBlobStore::CopyOut(const Digest& digest, const std::optional<Fd>& whole,
                                    const std::string& path, bool executable,
                                    const std::stop_token& stop) {
  const Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.is_open()) return SystemError("create the file");
  absl::Status copied;
  if (!whole) {
    copied = folded_.Write(digest, file.get(), stop);
    if (absl::IsDataLoss(copied)) copied = DamagedFolded(digest);
  } else if (can_clone_ && Clone(whole->get(), file.get())) {
    copied = Verify(digest, whole->get(), stop);
  } else {
    copied = CopyVerified(digest, whole->get(), file.get(), stop);
  }
  if (copied.ok() && fchmod(file.get(), executable ? 0555 : 0444) != 0) {
    copied = SystemError("set the mode");
  }
  if (!copied.ok()) unlink(path.c_str());
  return copied;
}

}  // namespace cd4ml::blob

namespace cd4ml {

absl::StatusOr<std::unique_ptr<KeptBlobStore>> OpenBlobStore(
    const std::string& dir, std::function<void(const absl::Status&)> on_lost_writes) {
  return blob::FileBlobStore::Open(dir, std::move(on_lost_writes));
}

}  // namespace cd4ml
