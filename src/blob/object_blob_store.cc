// Blobs as objects: put, read, copy out. Nothing is believed that was not hashed on its way.
#include "blob/object_blob_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "blob/chunks.h"
#include "blob/file.h"
#include "cd4ml/base/check.h"
#include "cd4ml/base/status.h"

namespace cd4ml::blob {
namespace {

constexpr size_t kRequestsAtOnce = 8;
constexpr size_t kChunksPerBatch = 32;
constexpr int64_t kRecipeMax = 128 << 20;
constexpr std::string_view kObjects = "objects/", kRecipes = "recipes/", kChunks = "chunks/";

std::string KeyOf(std::string_view folder, const Digest& digest) { return std::string(folder) + digest.hex(); }

absl::Status WrongBytesCame(const Digest& expected, const Digest& found) {
  return absl::DataLossError("the bytes that came for blob sha256:" + expected.hex() + " hash to sha256:" + found.hex() +
                             "; send them again");
}

absl::Status CheckObjectOffset(int64_t offset, int64_t size, const Digest& digest) {
  if (offset >= 0 && offset <= size) return absl::OkStatus();
  return absl::OutOfRangeError("offset " + std::to_string(offset) + " is outside of blob sha256:" + digest.hex() +
                               ", which has " + std::to_string(size) + " bytes");
}

// Chunks that are held until this goes.
class Hold {
 public:
  explicit Hold(HeldChunks& held) : held_(held) {}
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() {
    for (const Digest& digest : digests_) held_.Release(digest);
  }
  void Add(const Digest& digest) {
    held_.Hold(digest);
    digests_.push_back(digest);
  }

 private:
  HeldChunks& held_;
  std::vector<Digest> digests_;
};

class ObjectBlobWriter final : public BlobWriter {
 public:
  explicit ObjectBlobWriter(ObjectBlobStore& store) : store_(store), hold_(store.held()) {}

  absl::Status Append(std::string_view bytes) override {
    CD4ML_CHECK(!is_committed_, "append after commit");
    CD4ML_RETURN_IF_ERROR(failed_);
    hasher_.Update(bytes);
    size_ += static_cast<int64_t>(bytes.size());
    failed_ = store_.Admit(size_);
    if (failed_.ok()) failed_ = Take(bytes);
    return failed_;
  }

  absl::StatusOr<Digest> Commit(const Digest& expected) override {
    CD4ML_CHECK(!is_committed_, "commit after commit");
    CD4ML_RETURN_IF_ERROR(failed_);
    is_committed_ = true;
    const Digest digest = hasher_.Finish();
    if (expected.is_set() && digest != expected) return WrongBytesCame(expected, digest);
    if (size_ < kChunkedMin) {
      CD4ML_RETURN_IF_ERROR(store_.PutWhole(digest, whole_));
      return digest;
    }
    chunker_.Finish([this](std::string_view chunk) { Keep(chunk); });
    CD4ML_RETURN_IF_ERROR(Flush());
    CD4ML_RETURN_IF_ERROR(store_.PutRecipe(digest, chunks_));
    return digest;
  }

 private:
  // What turns out to be large is cut from its beginning.
  absl::Status Take(std::string_view bytes) {
    const auto keep = [this](std::string_view chunk) { Keep(chunk); };
    if (size_ < kChunkedMin) {
      whole_ += bytes;
      return absl::OkStatus();
    }
    chunker_.Append(std::exchange(whole_, ""), keep);
    chunker_.Append(bytes, keep);
    return batch_.size() < kChunksPerBatch ? absl::OkStatus() : Flush();
  }
  void Keep(std::string_view bytes) {
    chunks_.push_back({Sha256(bytes), static_cast<int64_t>(bytes.size())});
    hold_.Add(chunks_.back().digest);
    batch_.emplace_back(chunks_.back(), bytes);
  }
  absl::Status Flush() { return store_.PutChunks(std::exchange(batch_, {})); }

  ObjectBlobStore& store_;
  Hold hold_;
  std::string whole_;                // As long as it is small.
  std::vector<Chunk> chunks_;
  std::vector<std::pair<Chunk, std::string>> batch_;
  Chunker chunker_;
  Hasher hasher_;
  int64_t size_ = 0;
  bool is_committed_ = false;
  absl::Status failed_;              // A piece is missing since then.
};

// A small blob, which is verified by now.
class WholeReader final : public BlobReader {
 public:
  WholeReader(std::string bytes, int64_t offset) : bytes_(std::move(bytes)), taken_(static_cast<size_t>(offset)) {}
  absl::StatusOr<std::string> Read(size_t size_max) override {
    std::string piece = bytes_.substr(taken_, size_max);
    taken_ += piece.size();
    return piece;
  }
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }

 private:
  const std::string bytes_;
  size_t taken_;
};

// Chunks one after the other. With a `digest` they are all of that blob, which is verified as a whole too.
class ChunksReader final : public BlobReader {
 public:
  ChunksReader(ObjectBlobStore& store, const Digest& digest, const std::vector<Chunk>& chunks, bool is_whole)
      : store_(store), digest_(digest), is_whole_(is_whole), size_(SizeOf(chunks)), stream_(store, chunks) {}

  absl::Status SkipTo(int64_t offset) {
    for (int64_t left = offset; left > 0;) {
      CD4ML_ASSIGN_OR_RETURN(const std::string piece, Read(static_cast<size_t>(left)));
      left -= static_cast<int64_t>(piece.size());
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Read(size_t size_max) override {
    CD4ML_CHECK(size_max > 0, "a read of nothing cannot be told from the end");
    CD4ML_RETURN_IF_ERROR(failed_);
    if (taken_ == chunk_.size() && read_ < size_) failed_ = Fill();
    CD4ML_RETURN_IF_ERROR(failed_);
    std::string piece = chunk_.substr(taken_, size_max);
    taken_ += piece.size();
    return piece;
  }

  int64_t size() const override { return size_; }

 private:
  absl::Status Fill() {
    auto chunk = stream_.Next();
    if (absl::IsDataLoss(chunk.status())) {
      return Annotate(store_.DamagedObject(digest_, "recipes/"), Message(chunk.status()));
    }
    if (!chunk.ok()) return chunk.status();
    chunk_ = *std::move(chunk);
    taken_ = 0;
    read_ += static_cast<int64_t>(chunk_.size());
    hasher_.Update(chunk_);
    if (!is_whole_ || read_ < size_ || hasher_.Finish() == digest_) return absl::OkStatus();
    return store_.DamagedObject(digest_, "recipes/");
  }

  ObjectBlobStore& store_;
  const Digest digest_;
  const bool is_whole_;
  const int64_t size_;
  ChunkStream stream_;
  std::string chunk_;
  size_t taken_ = 0;                 // Of chunk_.
  int64_t read_ = 0;
  Hasher hasher_;
  absl::Status failed_;
};

// Chunks that came stay when it is cut off: they are objects of their own, and found by the next one.
class ObjectAssembly final : public BlobAssembly {
 public:
  ObjectAssembly(ObjectBlobStore& store, Digest digest, const std::vector<Chunk>& chunks)
      : store_(store), digest_(std::move(digest)), chunks_(chunks), hold_(store.held()) {}
  ~ObjectAssembly() override {
    // Whole chunks that nobody has put yet.
    store_.PutChunks(batch_).IgnoreError();
    store_.EndAssembly(digest_);
  }

  absl::Status Gather(const std::stop_token& stop) {
    for (const Chunk& chunk : chunks_) hold_.Add(chunk.digest);
    CD4ML_ASSIGN_OR_RETURN(const std::vector<char> there, store_.AreThere(chunks_, stop));
    int64_t size_missing = 0;
    std::set<Digest> seen;
    for (size_t i = 0; i < chunks_.size(); ++i) {
      // A chunk that comes twice is sent once.
      if (there[i] != 0 || !seen.insert(chunks_[i].digest).second) continue;
      missing_.push_back(i);
      size_missing += chunks_[i].size;
    }
    return store_.Admit(size_missing);
  }

  const std::vector<size_t>& missing() const override { return missing_; }

  absl::Status Append(std::string_view bytes) override {
    CD4ML_CHECK(!is_committed_, "append after commit");
    while (!bytes.empty()) {
      if (at_ == missing_.size()) {
        return absl::InvalidArgumentError("more bytes came than blob sha256:" + digest_.hex() + " was missing");
      }
      const Chunk& chunk = chunks_[missing_[at_]];
      const size_t taken = std::min(bytes.size(), static_cast<size_t>(chunk.size) - chunk_.size());
      chunk_ += bytes.substr(0, taken);
      bytes.remove_prefix(taken);
      if (static_cast<int64_t>(chunk_.size()) < chunk.size) continue;
      // A chunk is named by its bytes, so wrong ones must not get there.
      if (const Digest found = Sha256(chunk_); found != chunk.digest) return WrongBytesCame(digest_, found);
      batch_.emplace_back(chunk, std::exchange(chunk_, ""));
      ++at_;
      if (batch_.size() == kChunksPerBatch) CD4ML_RETURN_IF_ERROR(store_.PutChunks(std::exchange(batch_, {})));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Digest> Commit(const Digest& expected) override {
    CD4ML_CHECK(!is_committed_, "commit after commit");
    CD4ML_CHECK(expected == digest_, "an assembly knows its blob");
    if (at_ < missing_.size()) {
      return absl::InvalidArgumentError("blob sha256:" + digest_.hex() + " still misses " +
                                        std::to_string(missing_.size() - at_) + " chunks");
    }
    is_committed_ = true;
    CD4ML_RETURN_IF_ERROR(store_.PutChunks(std::exchange(batch_, {})));
    // The list of chunks is only what somebody said: it is a blob when it hashes to it, read back from where it lies.
    ChunkStream stream(store_, chunks_);
    Hasher hasher;
    for (size_t i = 0; i < chunks_.size(); ++i) {
      CD4ML_ASSIGN_OR_RETURN(const std::string chunk, stream.Next());
      hasher.Update(chunk);
    }
    if (const Digest found = hasher.Finish(); found != digest_) return WrongBytesCame(digest_, found);
    CD4ML_RETURN_IF_ERROR(store_.PutRecipe(digest_, chunks_));
    return digest_;
  }

 private:
  ObjectBlobStore& store_;
  const Digest digest_;
  const std::vector<Chunk> chunks_;
  Hold hold_;
  std::vector<size_t> missing_;
  size_t at_ = 0;                    // Of missing_: the chunk that comes.
  std::string chunk_;                // What came of it.
  std::vector<std::pair<Chunk, std::string>> batch_;
  bool is_committed_ = false;
};

absl::Status CopyToFile(BlobReader& reader, int fd, const std::stop_token& stop) {
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(const std::string piece, reader.Read(kPieceSize));
    if (piece.empty()) return absl::OkStatus();
    if (stop.stop_requested()) return absl::CancelledError("cancelled while it was copied");
    CD4ML_RETURN_IF_ERROR(WriteAll(fd, piece));
  }
}

}  // namespace

absl::Status ForEachAtOnce(size_t count, const std::function<absl::Status(size_t)>& work) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  absl::Status failed;
  const auto labour = [&] {
    for (size_t i = next++; i < count; i = next++) {
      absl::Status status = work(i);
      if (status.ok()) continue;
      next = count;
      const std::lock_guard lock(mutex);
      if (failed.ok()) failed = std::move(status);
    }
  };
  {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < std::min(count, kRequestsAtOnce); ++i) others.emplace_back(labour);
    labour();
  }
  return failed;
}

absl::StatusOr<std::string> ChunkStream::Next() {
  while (asked_ < chunks_.size() && ahead_.size() < kRequestsAtOnce) {
    ahead_.push_back(std::async(std::launch::async, [this, i = asked_] { return store_.ReadChunk(chunks_[i]); }));
    ++asked_;
  }
  if (ahead_.empty()) return std::string();
  auto chunk = ahead_.front().get();
  ahead_.pop_front();
  return chunk;
}

ObjectBlobStore::Objects ObjectBlobStore::Lease() {
  std::unique_ptr<ObjectStore> objects;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      objects = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (objects == nullptr) objects = open_();
  return {objects.release(), [this](ObjectStore* used) {
            std::unique_ptr<ObjectStore> back(used);
            const std::lock_guard lock(mutex_);
            if (idle_.size() < 2 * kRequestsAtOnce) idle_.push_back(std::move(back));
          }};
}

absl::Status ObjectBlobStore::Claim(const std::string& owner) {
  const Objects objects = Lease();
  auto found = objects->Get("owner", 1 << 10, {});
  if (absl::IsNotFound(found.status())) {
    CD4ML_RETURN_IF_ERROR(objects->Put("owner", owner, {}));
    found = objects->Get("owner", 1 << 10, {});
  }
  if (!found.ok()) return found.status();
  if (*found == owner) return absl::OkStatus();
  return absl::FailedPreconditionError(
      objects->name() + " keeps the artifacts of another daemon, \"" + *found +
      "\", which would lose what only it refers to; give this one a prefix of its own, or, when the other is gone for "
      "good, remove the object \"" + objects->name() + "owner\"");
}

absl::Status ObjectBlobStore::Admit(int64_t bytes) const {
  const int64_t limit = limit_, used = used_;
  if (limit == 0 || used + bytes <= limit) return absl::OkStatus();
  return absl::ResourceExhaustedError("the artifact store is full: " + FormatSize(used) + " of " + FormatSize(limit) +
                                      " are taken, " + FormatSize(bytes) +
                                      " more are needed; run `cd4ml gc`, unpin what is no longer wanted, or raise "
                                      "--blob-hard-limit");
}

absl::Status ObjectBlobStore::MissingBlob(const Digest& digest) {
  return absl::NotFoundError("there is no blob sha256:" + digest.hex() + " in " + Lease()->name());
}

absl::Status ObjectBlobStore::DamagedObject(const Digest& digest, const std::string& folder) {
  const Objects objects = Lease();
  const std::string key = folder + digest.hex(), aside = "quarantine/" + key;
  const bool is_aside = objects->Copy(key, aside, {}).ok() && RemoveCounted(*objects, key).ok();
  return absl::DataLossError("blob sha256:" + digest.hex() + " is damaged, its bytes are not those that were stored; " +
                             (is_aside ? "it was moved to \"" + objects->name() + aside + '"' : "it is gone by now") +
                             "; run the stage that made it again or restore the object");
}

absl::Status ObjectBlobStore::PutCounted(ObjectStore& objects, const std::string& key, std::string_view bytes) {
  const auto before = objects.Find(key, {});
  if (!before.ok() && !absl::IsNotFound(before.status())) return before.status();
  CD4ML_RETURN_IF_ERROR(objects.Put(key, bytes, {}));
  used_ += static_cast<int64_t>(bytes.size()) - (before.ok() ? before->size : 0);
  return absl::OkStatus();
}

absl::Status ObjectBlobStore::RemoveCounted(ObjectStore& objects, const std::string& key) {
  const auto before = objects.Find(key, {});
  if (absl::IsNotFound(before.status())) return absl::OkStatus();
  if (!before.ok()) return before.status();
  CD4ML_RETURN_IF_ERROR(objects.Remove(key, {}));
  used_ -= before->size;
  return absl::OkStatus();
}

absl::Status ObjectBlobStore::PutWhole(const Digest& digest, std::string_view bytes) {
  const std::shared_lock use(UseMutex(digest));
  return PutCounted(*Lease(), KeyOf(kObjects, digest), bytes);
}

absl::Status ObjectBlobStore::PutRecipe(const Digest& digest, const std::vector<Chunk>& chunks) {
  const std::string text = FormatList(chunks);
  if (static_cast<int64_t>(text.size()) > kRecipeMax) {
    return absl::ResourceExhaustedError("a blob of " + FormatSize(SizeOf(chunks)) + " is too large for this store; split it");
  }
  const std::shared_lock use(UseMutex(digest));
  return PutCounted(*Lease(), KeyOf(kRecipes, digest), text);
}

absl::Status ObjectBlobStore::PutChunks(const std::vector<std::pair<Chunk, std::string>>& chunks) {
  return ForEachAtOnce(chunks.size(), [&](size_t i) -> absl::Status {
    const Objects objects = Lease();
    const std::string key = KeyOf(kChunks, chunks[i].first.digest);
    const auto there = objects->Find(key, {});
    if (!absl::IsNotFound(there.status())) return there.status();
    const std::string packed = Pack(chunks[i].second);
    CD4ML_RETURN_IF_ERROR(objects->Put(key, packed, {}));
    used_ += static_cast<int64_t>(packed.size());
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<char>> ObjectBlobStore::AreThere(const std::vector<Chunk>& chunks, const std::stop_token& stop) {
  std::vector<char> there(chunks.size());
  CD4ML_RETURN_IF_ERROR(ForEachAtOnce(chunks.size(), [&](size_t i) -> absl::Status {
    const auto facts = Lease()->Find(KeyOf(kChunks, chunks[i].digest), stop);
    if (!facts.ok() && !absl::IsNotFound(facts.status())) return facts.status();
    there[i] = facts.ok();
    return absl::OkStatus();
  }));
  return there;
}

absl::StatusOr<std::string> ObjectBlobStore::ReadChunk(const Chunk& chunk) {
  const Objects objects = Lease();
  const std::string key = KeyOf(kChunks, chunk.digest);
  absl::Status damage;
  // What was damaged on its way comes right the second time.
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto packed = objects->Get(key, kChunkMax + 1, {});
    if (absl::IsNotFound(packed.status())) return absl::DataLossError(Message(packed.status()));
    if (!packed.ok() && !absl::IsResourceExhausted(packed.status())) return packed.status();
    auto bytes = packed.ok() ? Unpack(*packed, chunk) : absl::DataLossError(Message(packed.status()));
    if (bytes.ok()) return bytes;
    damage = bytes.status();
  }
  // Out of the way, so that the next one who has its bytes puts them.
  if (objects->Copy(key, "quarantine/" + key, {}).ok()) RemoveCounted(*objects, key).IgnoreError();
  return damage;
}

// What was damaged on its way comes right the second time.
absl::StatusOr<std::vector<Chunk>> ObjectBlobStore::ReadList(const std::string& key) {
  const Objects objects = Lease();
  absl::StatusOr<std::vector<Chunk>> chunks;
  for (int attempt = 0; attempt < 2; ++attempt) {
    CD4ML_ASSIGN_OR_RETURN(const std::string text, objects->Get(key, kRecipeMax, {}));
    chunks = ParseList(text);
    if (chunks.ok()) return chunks;
  }
  return absl::DataLossError(objects->name() + key + ": " + Message(chunks.status()));
}

absl::StatusOr<std::vector<Chunk>> ObjectBlobStore::ReadRecipe(const Digest& digest) {
  auto chunks = ReadList(KeyOf(kRecipes, digest));
  return absl::IsDataLoss(chunks.status()) ? DamagedObject(digest, std::string(kRecipes)) : std::move(chunks);
}

absl::StatusOr<int64_t> ObjectBlobStore::ReadListSize(const Digest& digest) {
  const Objects objects = Lease();
  absl::StatusOr<int64_t> size;
  for (int attempt = 0; attempt < 2; ++attempt) {
    CD4ML_ASSIGN_OR_RETURN(const std::string head, objects->GetHead(KeyOf(kRecipes, digest), kListHead, {}));
    size = ParseListSize(head);
    if (size.ok()) break;
  }
  return size;
}

absl::StatusOr<std::unique_ptr<BlobWriter>> ObjectBlobStore::Create() { return std::make_unique<ObjectBlobWriter>(*this); }

absl::StatusOr<std::unique_ptr<BlobReader>> ObjectBlobStore::Open(const Digest& digest, int64_t offset) {
  const std::string key = KeyOf(kObjects, digest);
  auto bytes = Lease()->Get(key, kChunkedMin, {});
  if (bytes.ok() && Sha256(*bytes) != digest) bytes = Lease()->Get(key, kChunkedMin, {});
  if (absl::IsResourceExhausted(bytes.status()) || (bytes.ok() && Sha256(*bytes) != digest)) {
    return DamagedObject(digest, std::string(kObjects));
  }
  if (bytes.ok()) {
    CD4ML_RETURN_IF_ERROR(CheckObjectOffset(offset, static_cast<int64_t>(bytes->size()), digest));
    return std::make_unique<WholeReader>(*std::move(bytes), offset);
  }
  if (!absl::IsNotFound(bytes.status())) return bytes.status();
  auto chunks = ReadRecipe(digest);
  if (absl::IsNotFound(chunks.status())) return MissingBlob(digest);
  if (!chunks.ok()) return chunks.status();
  CD4ML_RETURN_IF_ERROR(CheckObjectOffset(offset, SizeOf(*chunks), digest));
  auto reader = std::make_unique<ChunksReader>(*this, digest, *chunks, /*is_whole=*/true);
  CD4ML_RETURN_IF_ERROR(reader->SkipTo(offset));
  return reader;
}

absl::StatusOr<int64_t> ObjectBlobStore::Size(const Digest& digest) {
  const std::shared_lock use(UseMutex(digest));
  const Objects objects = Lease();
  for (const std::string_view folder : {kObjects, kRecipes}) {
    const std::string key = KeyOf(folder, digest);
    const auto facts = objects->Find(key, {});
    if (absl::IsNotFound(facts.status())) continue;
    if (!facts.ok()) return facts.status();
    // To ask for a blob is to use it, and the server remembers when it was put.
    if (facts->age >= touch_after_) CD4ML_RETURN_IF_ERROR(objects->Copy(key, key, {}));
    if (folder == kObjects) return facts->size;
    auto size = ReadListSize(digest);
    return absl::IsDataLoss(size.status()) ? DamagedObject(digest, std::string(kRecipes)) : std::move(size);
  }
  return MissingBlob(digest);
}

absl::Status ObjectBlobStore::Remove(const Digest& digest) {
  const Objects objects = Lease();
  CD4ML_RETURN_IF_ERROR(RemoveCounted(*objects, KeyOf(kRecipes, digest)));
  return RemoveCounted(*objects, KeyOf(kObjects, digest));
}

absl::StatusOr<Digest> ObjectBlobStore::PutFile(const std::string& path, bool /*may_link*/, const std::stop_token& stop) {
  const auto put = [&]() -> absl::StatusOr<Digest> {
    const Fd source(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!source.is_open()) return SystemError("open it");
    CD4ML_ASSIGN_OR_RETURN(const struct stat facts, Stat(source.get()));
    if (!S_ISREG(facts.st_mode)) return absl::InvalidArgumentError("it is not a regular file");
    CD4ML_ASSIGN_OR_RETURN(Digest digest, HashFile(source.get(), stop));
    const auto there = Size(digest);
    if (!absl::IsNotFound(there.status())) return there.ok() ? absl::StatusOr<Digest>(digest) : there.status();
    CD4ML_RETURN_IF_ERROR(Admit(facts.st_size));
    ObjectBlobWriter writer(*this);
    std::string piece(kPieceSize, '\0');
    for (int64_t offset = 0;;) {
      CD4ML_ASSIGN_OR_RETURN(const size_t count, ReadAt(source.get(), offset, piece));
      if (count == 0) break;
      if (stop.stop_requested()) return absl::CancelledError("cancelled while it was stored");
      CD4ML_RETURN_IF_ERROR(writer.Append(std::string_view(piece).substr(0, count)));
      offset += static_cast<int64_t>(count);
    }
    // Whatever happens to the file meanwhile, the digest is that of the bytes that were put.
    return writer.Commit(Digest());
  };
  auto digest = put();
  return digest.ok() ? std::move(digest) : Annotate(digest.status(), "cannot store \"" + path + '"');
}

absl::StatusOr<std::vector<Digest>> ObjectBlobStore::PutFiles(const std::vector<std::string>& paths, bool may_link,
                                                              const std::stop_token& stop) {
  std::vector<Digest> digests(paths.size());
  CD4ML_RETURN_IF_ERROR(ForEachAtOnce(paths.size(), [&](size_t i) -> absl::Status {
    CD4ML_ASSIGN_OR_RETURN(digests[i], PutFile(paths[i], may_link, stop));
    return absl::OkStatus();
  }));
  return digests;
}

absl::Status ObjectBlobStore::Materialize(const Digest& digest, const std::string& path, bool executable,
                                          bool /*may_link*/, const std::stop_token& stop) {
  CD4ML_ASSIGN_OR_RETURN(const auto reader, Open(digest, 0));
  const std::string what = "cannot make \"" + path + '"';
  const Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.is_open()) return Annotate(SystemError("create the file"), what);
  absl::Status copied = CopyToFile(*reader, file.get(), stop);
  if (copied.ok() && fchmod(file.get(), executable ? 0555 : 0444) != 0) copied = SystemError("set the mode");
  if (!copied.ok()) unlink(path.c_str());
  return Annotate(copied, what);
}

absl::StatusOr<std::vector<Chunk>> ObjectBlobStore::Chunks(const Digest& digest, const std::stop_token& stop) {
  auto chunks = ReadRecipe(digest);
  return absl::IsNotFound(chunks.status()) ? BlobStore::Chunks(digest, stop) : chunks;
}

absl::StatusOr<std::unique_ptr<BlobReader>> ObjectBlobStore::OpenChunks(const Digest& digest,
                                                                        const std::vector<Chunk>& chunks,
                                                                        const std::vector<size_t>& wanted) {
  const auto recipe = Lease()->Find(KeyOf(kRecipes, digest), {});
  if (absl::IsNotFound(recipe.status())) return BlobStore::OpenChunks(digest, chunks, wanted);
  if (!recipe.ok()) return recipe.status();
  std::vector<Chunk> asked;
  for (const size_t i : wanted) asked.push_back(chunks[i]);
  return std::make_unique<ChunksReader>(*this, digest, asked, /*is_whole=*/false);
}

absl::StatusOr<std::unique_ptr<BlobAssembly>> ObjectBlobStore::Assemble(const Digest& digest,
                                                                        const std::vector<Chunk>& chunks,
                                                                        const std::stop_token& stop) {
  const bool is_wrong = std::any_of(chunks.begin(), chunks.end(), [](const Chunk& chunk) {
    return chunk.size < 1 || chunk.size > static_cast<int64_t>(kChunkMax) || !chunk.digest.is_set();
  });
  if (is_wrong || chunks.size() > kChunksMax) {
    return absl::InvalidArgumentError("blob sha256:" + digest.hex() + " cannot be cut like that");
  }
  // A blob has one form, by its size.
  if (SizeOf(chunks) < kChunkedMin) return BlobStore::Assemble(digest, chunks, stop);
  {
    const std::lock_guard lock(mutex_);
    if (!assembling_.insert(digest).second) {
      return absl::UnavailableError("blob sha256:" + digest.hex() +
                                    " is just being transferred by somebody else; try again");
    }
  }
  auto assembly = std::make_unique<ObjectAssembly>(*this, digest, chunks);
  CD4ML_RETURN_IF_ERROR(assembly->Gather(stop));
  return assembly;
}

void ObjectBlobStore::EndAssembly(const Digest& digest) {
  const std::lock_guard lock(mutex_);
  assembling_.erase(digest);
}

std::shared_mutex& ObjectBlobStore::UseMutex(const Digest& digest) {
  return use_mutexes_[std::hash<std::string>()(digest.hex()) % use_mutexes_.size()];
}

}  // namespace cd4ml::blob

namespace cd4ml {

absl::StatusOr<std::unique_ptr<KeptBlobStore>> OpenObjectBlobStore(ObjectStoreOpener objects, const Clock& clock,
                                                                   const std::string& owner, Duration touch_after) {
  auto store = std::make_unique<blob::ObjectBlobStore>(std::move(objects), clock, touch_after);
  CD4ML_RETURN_IF_ERROR(Annotate(store->Claim(owner), "cannot open the artifact store"));
  return store;
}

}  // namespace cd4ml
