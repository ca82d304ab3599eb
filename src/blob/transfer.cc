// Chunks of blobs on their way: which there are, which are missing, and putting them together.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>

#include "blob/file_blob_store.h"
#include "cd4ml/base/check.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::blob {
namespace {

constexpr int64_t kListMax = 128 << 20;

// Chunks of whole blobs that are kept in mind: 32 GiB of them.
constexpr size_t kPlacesMax = 500'000;

absl::StatusOr<std::string> ReadPiece(int fd, int64_t offset, int64_t size) {
  std::string bytes(static_cast<size_t>(size), '\0');
  CD4ML_ASSIGN_OR_RETURN(const size_t count, ReadAt(fd, offset, bytes));
  bytes.resize(count);
  return bytes;
}

absl::Status PutAt(int fd, int64_t offset, std::string_view bytes) {
  if (lseek(fd, offset, SEEK_SET) < 0) return SystemError("seek");
  return WriteAll(fd, bytes);
}

// Some chunks of a blob, each verified before any of it is handed out.
class ChunkReader final : public BlobReader {
 public:
  // `whole` is not open when the blob is folded.
  ChunkReader(FileBlobStore& store, Digest digest, Fd whole, const std::vector<Chunk>& chunks,
              const std::vector<size_t>& wanted)
      : store_(store), digest_(std::move(digest)), whole_(std::move(whole)) {
    int64_t offset = 0;
    size_t at = 0;
    for (const size_t i : wanted) {
      for (; at < i; ++at) offset += chunks[at].size;
      wanted_.push_back({chunks[i], offset});
      size_ += chunks[i].size;
    }
  }

  absl::StatusOr<std::string> Read(size_t size_max) override {
    CD4ML_CHECK(size_max > 0, "a read of nothing cannot be told from the end");
    CD4ML_RETURN_IF_ERROR(failed_);
    while (bytes_.size() - taken_ < size_max && next_ < wanted_.size()) {
      failed_ = Fill();
      CD4ML_RETURN_IF_ERROR(failed_);
    }
    std::string piece = bytes_.substr(taken_, size_max);
    taken_ += piece.size();
    return piece;
  }

  int64_t size() const override { return size_; }

 private:
  struct Wanted {
    Chunk chunk;
    int64_t offset;
  };

  absl::Status Fill() {
    const Wanted& wanted = wanted_[next_++];
    bytes_.erase(0, std::exchange(taken_, 0));
    if (!whole_.is_open()) {
      const auto bytes = store_.ReadFoldedChunk(wanted.chunk);
      if (!bytes.ok()) return store_.DamagedFolded(digest_);
      bytes_ += *bytes;
      return absl::OkStatus();
    }
    const auto bytes = ReadPiece(whole_.get(), wanted.offset, wanted.chunk.size);
    if (bytes.ok() && Sha256(*bytes) == wanted.chunk.digest) {
      bytes_ += *bytes;
      return absl::OkStatus();
    }
    const auto all = HashFile(whole_.get(), {});
    if (!all.ok() || *all != digest_) return store_.Damaged(digest_, whole_.get());
    store_.Forget(digest_);
    return absl::UnavailableError("blob sha256:" + digest_.hex() +
                                  " is cut otherwise than was noted; try again");
  }

  FileBlobStore& store_;
  const Digest digest_;
  const Fd whole_;
  std::vector<Wanted> wanted_;
  int64_t size_ = 0;
  size_t next_ = 0;  // Of wanted_.
  std::string bytes_;
  size_t taken_ = 0;  // Of bytes_.
  absl::Status failed_;
};

// A blob that is being put together in a file below partial/, which the next assembly of the same
// blob finds when this one is cut off. The file's lock says that somebody is at it.
class FileAssembly final : public BlobAssembly {
 public:
  FileAssembly(FileBlobStore& store, Digest digest, Temp file, const std::vector<Chunk>& chunks)
      : store_(store),
        digest_(std::move(digest)),
        file_(std::move(file)),
        chunks_(chunks),
        size_(SizeOf(chunks)) {}
  ~FileAssembly() override {
    if (file_) file_->Keep();
  }

  // Puts in place what is there already, in the file or elsewhere in the store.
  absl::Status Gather(const std::stop_token& stop) {
    CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(file_->fd()));
    int64_t offset = 0;
    int64_t size_missing = 0;
    for (size_t i = 0; i < chunks_.size(); offset += chunks_[i++].size) {
      if (stop.stop_requested()) return absl::CancelledError("cancelled while chunks were sought");
      if (offset < facts.st_size) {
        const auto kept = ReadPiece(file_->fd(), offset, chunks_[i].size);
        if (kept.ok() && Sha256(*kept) == chunks_[i].digest) continue;
      }
      if (const auto bytes = store_.FindChunk(chunks_[i])) {
        CD4ML_RETURN_IF_ERROR(store_.Admit(size_));
        CD4ML_RETURN_IF_ERROR(PutAt(file_->fd(), offset, *bytes));
        continue;
      }
      missing_.push_back(i);
      offsets_.push_back(offset);
      size_missing += chunks_[i].size;
    }
    return store_.Admit(size_missing);
  }

  const std::vector<size_t>& missing() const override { return missing_; }

  absl::Status Append(std::string_view bytes) override {
    CD4ML_CHECK(file_.has_value(), "append after commit");
    while (!bytes.empty()) {
      if (at_ == missing_.size()) {
        return absl::InvalidArgumentError("more bytes came than blob sha256:" + digest_.hex() +
                                          " was missing");
      }
      const int64_t position = offsets_[at_] + filled_;
      const auto taken = std::min<int64_t>(static_cast<int64_t>(bytes.size()),
                                           chunks_[missing_[at_]].size - filled_);
      CD4ML_RETURN_IF_ERROR(HashTo(position));
      CD4ML_RETURN_IF_ERROR(
          PutAt(file_->fd(), position, bytes.substr(0, static_cast<size_t>(taken))));
      hasher_.Update(bytes.substr(0, static_cast<size_t>(taken)));
      hashed_ += taken;
      bytes.remove_prefix(static_cast<size_t>(taken));
      filled_ += taken;
      if (filled_ < chunks_[missing_[at_]].size) continue;
      filled_ = 0;
      ++at_;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Digest> Commit(const Digest& expected) override {
    CD4ML_CHECK(file_.has_value(), "commit after commit");
    CD4ML_CHECK(expected == digest_, "an assembly knows its blob");
    if (at_ < missing_.size()) {
      return absl::InvalidArgumentError("blob sha256:" + digest_.hex() + " still misses " +
                                        std::to_string(missing_.size() - at_) + " chunks");
    }
    CD4ML_RETURN_IF_ERROR(HashTo(size_));
    const Digest found = hasher_.Finish();
    if (found != digest_) {
      file_.reset();
      return absl::DataLossError("the chunks that came for blob sha256:" + digest_.hex() +
                                 " hash to sha256:" + found.hex() + "; send them again");
    }
    if (ftruncate(file_->fd(), size_) != 0) return SystemError("cut the file");
    CD4ML_RETURN_IF_ERROR(store_.PublishOne(std::exchange(file_, std::nullopt), digest_));
    store_.Remember(digest_, chunks_);
    return digest_;
  }

 private:
  // Hashes what stands in the file before `end`.
  absl::Status HashTo(int64_t end) {
    while (hashed_ < end) {
      CD4ML_ASSIGN_OR_RETURN(
          const std::string piece,
          ReadPiece(file_->fd(), hashed_, std::min<int64_t>(kPieceSize, end - hashed_)));
      if (piece.empty()) return absl::InternalError("a partial blob has shrunk");
      hasher_.Update(piece);
      hashed_ += static_cast<int64_t>(piece.size());
    }
    return absl::OkStatus();
  }

  FileBlobStore& store_;
  const Digest digest_;
  std::optional<Temp> file_;
  const std::vector<Chunk> chunks_;
  const int64_t size_;
  std::vector<size_t> missing_;
  std::vector<int64_t> offsets_;  // Of the missing ones.
  size_t at_ = 0;                 // Of missing_: the chunk that comes.
  int64_t filled_ = 0;            // Of that chunk.
  Hasher hasher_;
  int64_t hashed_ = 0;
};

}  // namespace

// Cuts a whole blob, and verifies it meanwhile.
absl::StatusOr<std::vector<Chunk>> FileBlobStore::Cut(const Digest& digest, int fd,
                                                      const std::stop_token& stop) {
  auto all = std::async(std::launch::async, [&] { return HashFile(fd, stop); });
  std::vector<Chunk> chunks;
  Chunker chunker;
  const auto take = [&](std::string_view bytes) {
    chunks.push_back({Sha256(bytes), static_cast<int64_t>(bytes.size())});
  };
  std::string piece(1 << 20, '\0');
  for (int64_t offset = 0;;) {
    CD4ML_ASSIGN_OR_RETURN(const size_t count, ReadAt(fd, offset, piece));
    if (count == 0 || stop.stop_requested()) break;
    chunker.Append(std::string_view(piece).substr(0, count), take);
    offset += static_cast<int64_t>(count);
  }
  chunker.Finish(take);
  const auto found = all.get();
  if (absl::IsCancelled(found.status())) return found.status();
  if (!found.ok() || *found != digest) return Damaged(digest, fd);
  return chunks;
}

absl::StatusOr<std::vector<Chunk>> FileBlobStore::Chunks(const Digest& digest,
                                                         const std::stop_token& stop) {
  const auto whole = objects_.OpenFile(digest);
  if (absl::IsNotFound(whole.status())) {
    auto chunks = folded_.Recipe(digest);
    if (absl::IsNotFound(chunks.status())) return NotThere(digest);
    return chunks.ok() ? chunks : DamagedFolded(digest);
  }
  if (!whole.ok()) return whole.status();
  if (const auto list = index_.OpenFile(digest); list.ok()) {
    const auto text = ReadPiece(list->get(), 0, Stat(list->get())->st_size);
    if (text.ok()) {
      auto chunks = ParseList(*text);
      if (chunks.ok()) return chunks;
    }
  }
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Chunk> chunks, Cut(digest, whole->get(), stop));
  Remember(digest, chunks);
  return chunks;
}

absl::StatusOr<std::unique_ptr<BlobReader>> FileBlobStore::OpenChunks(
    const Digest& digest, const std::vector<Chunk>& chunks, const std::vector<size_t>& wanted) {
  auto whole = objects_.OpenFile(digest);
  if (!whole.ok() && !absl::IsNotFound(whole.status())) return whole.status();
  if (!whole.ok() && !folded_.HasRecipe(digest)) return NotThere(digest);
  return std::make_unique<ChunkReader>(*this, digest, whole.ok() ? *std::move(whole) : Fd(), chunks,
                                       wanted);
}

absl::StatusOr<std::unique_ptr<BlobAssembly>> FileBlobStore::Assemble(
    const Digest& digest, const std::vector<Chunk>& chunks, const std::stop_token& stop) {
  const bool is_wrong = std::any_of(chunks.begin(), chunks.end(), [](const Chunk& chunk) {
    return chunk.size < 1 || chunk.size > static_cast<int64_t>(kChunkMax) || !chunk.digest.is_set();
  });
  if (is_wrong || chunks.size() > kChunksMax) {
    return absl::InvalidArgumentError("blob sha256:" + digest.hex() + " cannot be cut like that");
  }
  while (true) {
    Fd fd(openat(partial_.get(), digest.hex().c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
                 0600));
    // Sealed by one that was killed before it got its name.
    if (!fd.is_open() && errno == EACCES &&
        fchmodat(partial_.get(), digest.hex().c_str(), 0600, 0) == 0) {
      continue;
    }
    if (!fd.is_open()) return SystemError("make a file below \"" + dir_ + "/partial\"");
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      return absl::UnavailableError("blob sha256:" + digest.hex() +
                                    " is just being transferred by somebody else; try again");
    }
    CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(fd.get()));
    // The one before may have ended just now and taken the file away.
    if (facts.st_nlink == 0) continue;
    auto assembly = std::make_unique<FileAssembly>(
        *this, digest, Temp(partial_.get(), digest.hex(), std::move(fd)), chunks);
    CD4ML_RETURN_IF_ERROR(assembly->Gather(stop));
    return assembly;
  }
}

void FileBlobStore::Remember(const Digest& digest, const std::vector<Chunk>& chunks) {
  if (SizeOf(chunks) < kChunkedMin || index_.IsThere(digest)) return;
  auto temp = tmp_.New();
  if (!temp.ok() || !WriteAll(temp->fd(), FormatList(chunks)).ok()) return;
  std::vector<Staged> batch;
  batch.push_back({*std::move(temp), digest});
  std::set<std::string> folders;
  if (!index_.Publish(std::move(batch), folders).ok()) return;
  const std::lock_guard lock(places_mutex_);
  int64_t offset = 0;
  for (const Chunk& chunk : chunks) {
    if (places_.size() < kPlacesMax) places_[chunk.digest.hex()] = {digest, offset};
    offset += chunk.size;
  }
}

void FileBlobStore::LoadPlaces() {
  if (std::exchange(are_places_loaded_, true)) return;
  index_.ForEach([this](const Digest& digest, const struct stat& facts) {
    const auto list = index_.OpenFile(digest);
    if (!list.ok() || facts.st_size > kListMax || places_.size() >= kPlacesMax) return;
    const auto text = ReadPiece(list->get(), 0, facts.st_size);
    if (!text.ok()) return;
    const auto chunks = ParseList(*text);
    if (!chunks.ok()) return;
    int64_t offset = 0;
    for (const Chunk& chunk : *chunks) {
      places_[chunk.digest.hex()] = {digest, offset};
      offset += chunk.size;
    }
  });
}

std::optional<std::string> FileBlobStore::FindChunk(const Chunk& chunk) {
  if (auto bytes = folded_.ReadChunk(chunk); bytes.ok()) return *std::move(bytes);
  std::optional<ChunkPlace> place;
  {
    const std::lock_guard lock(places_mutex_);
    LoadPlaces();
    const auto found = places_.find(chunk.digest.hex());
    if (found == places_.end()) return std::nullopt;
    place = found->second;
  }
  const auto whole = objects_.OpenFile(place->blob);
  if (!whole.ok()) return std::nullopt;
  auto bytes = ReadPiece(whole->get(), place->offset, chunk.size);
  if (bytes.ok() && Sha256(*bytes) == chunk.digest) return *std::move(bytes);
  return std::nullopt;
}

}  // namespace cd4ml::blob
