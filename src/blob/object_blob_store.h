// The store in a folder of objects, as S3 keeps them. objects/HEX is a blob below kChunkedMin as it is; a larger one is
// recipes/HEX, a list of chunks/HEX. What refers comes last, so that what is seen is complete.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <vector>

#include "cd4ml/blob/open_blob_store.h"
#include "cd4ml/ports/clock.h"
#include "cd4ml/ports/object_store.h"

namespace cd4ml::blob {

// Chunks that somebody relies on but no recipe names yet: no collection takes them away.
class HeldChunks {
 public:
  // Waits while the chunk is being removed.
  void Hold(const Digest& chunk);
  void Release(const Digest& chunk);

  // From now on whatever is or was held counts, until EndSweep.
  void BeginSweep();
  void EndSweep();
  // Returns false when somebody held the chunk since BeginSweep; else nobody gets it before EndRemoval.
  bool BeginRemoval(const Digest& chunk);
  void EndRemoval(const Digest& chunk);

 private:
  std::mutex mutex_;
  std::condition_variable removed_;
  std::map<Digest, int> held_;
  bool is_sweeping_ = false;
  std::set<Digest> since_sweep_, removing_;
};

// An object that is named by a digest.
struct FoundObject {
  Digest digest;
  int64_t size = 0;
  Duration age{0};
};

class ObjectBlobStore final : public KeptBlobStore {
 public:
  ObjectBlobStore(ObjectStoreOpener open, const Clock& clock, Duration touch_after)
      : open_(std::move(open)), clock_(clock), touch_after_(touch_after) {}

  // Takes the folder for `owner`, or refuses when it is somebody else's.
  absl::Status Claim(const std::string& owner);

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override;
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest& digest, int64_t offset) override;
  absl::StatusOr<int64_t> Size(const Digest& digest) override;
  absl::Status Remove(const Digest& digest) override;
  absl::StatusOr<Digest> PutFile(const std::string& path, bool may_link, const std::stop_token& stop) override;
  absl::StatusOr<std::vector<Digest>> PutFiles(const std::vector<std::string>& paths, bool may_link,
                                               const std::stop_token& stop) override;
  absl::Status Materialize(const Digest& digest, const std::string& path, bool executable, bool may_link,
                           const std::stop_token& stop) override;
  absl::StatusOr<std::vector<Chunk>> Chunks(const Digest& digest, const std::stop_token& stop) override;
  absl::StatusOr<std::unique_ptr<BlobReader>> OpenChunks(const Digest& digest, const std::vector<Chunk>& chunks,
                                                         const std::vector<size_t>& wanted) override;
  absl::StatusOr<std::unique_ptr<BlobAssembly>> Assemble(const Digest& digest, const std::vector<Chunk>& chunks,
                                                         const std::stop_token& stop) override;

  absl::StatusOr<std::vector<StoredBlob>> List() override;
  absl::StatusOr<bool> RemoveUnused(const Digest& digest, UtcTime before) override;
  absl::StatusOr<int64_t> Fold(const Digest&, const std::stop_token&) override { return 0; }
  absl::StatusOr<int64_t> RemoveLoose(UtcTime before, const std::stop_token& stop) override;
  int64_t bytes_used() const override { return used_; }
  void set_limit(int64_t bytes) override { limit_ = bytes; }

  // --- for readers, writers and assemblies ---
  using Objects = std::unique_ptr<ObjectStore, std::function<void(ObjectStore*)>>;
  Objects Lease();                    // Goes back to the others when it is let go.
  HeldChunks& held() { return held_; }
  absl::Status Admit(int64_t bytes) const;
  absl::StatusOr<std::string> ReadChunk(const Chunk& chunk);
  // Puts the chunks that are not there; their bytes are theirs.
  absl::Status PutChunks(const std::vector<std::pair<Chunk, std::string>>& chunks);
  // Returns for each chunk whether it is there.
  absl::StatusOr<std::vector<char>> AreThere(const std::vector<Chunk>& chunks, const std::stop_token& stop);
  absl::Status PutWhole(const Digest& digest, std::string_view bytes);
  absl::Status PutRecipe(const Digest& digest, const std::vector<Chunk>& chunks);
  absl::Status MissingBlob(const Digest& digest);
  // Moves what the blob's name leads to aside, and says so.
  absl::Status DamagedObject(const Digest& digest, const std::string& folder);
  void EndAssembly(const Digest& digest);

 private:
  // DATA_LOSS when what lies there is no list; it stays.
  absl::StatusOr<std::vector<Chunk>> ReadList(const std::string& key);
  // Moves a damaged one aside.
  absl::StatusOr<std::vector<Chunk>> ReadRecipe(const Digest& digest);
  absl::StatusOr<int64_t> ReadListSize(const Digest& digest);
  // Adds the chunks that lists name, also those that were moved aside.
  absl::Status TakeNamedChunks(ObjectStore& objects, const std::vector<FoundObject>& recipes, std::set<Digest>& wanted,
                               const std::stop_token& stop);
  absl::Status PutCounted(ObjectStore& objects, const std::string& key, std::string_view bytes);
  absl::Status RemoveCounted(ObjectStore& objects, const std::string& key);
  UtcTime UsedAt(Duration age) const;
  std::shared_mutex& UseMutex(const Digest& digest);

  const ObjectStoreOpener open_;
  const Clock& clock_;
  const Duration touch_after_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<ObjectStore>> idle_;   // Guarded by mutex_, as is the next one.
  std::set<Digest> assembling_;
  HeldChunks held_;
  std::mutex sweep_mutex_;
  // Held shared by who uses a blob, alone by who removes it.
  std::array<std::shared_mutex, 64> use_mutexes_;
  std::atomic<int64_t> used_ = 0, limit_ = 0;
};

// Reads chunks one after the other, and the next ones ahead.
class ChunkStream {
 public:
  ChunkStream(ObjectBlobStore& store, std::vector<Chunk> chunks) : store_(store), chunks_(std::move(chunks)) {}
  // Returns the next chunk, verified; "" after the last.
  absl::StatusOr<std::string> Next();

 private:
  ObjectBlobStore& store_;
  const std::vector<Chunk> chunks_;
  size_t asked_ = 0;                 // Of chunks_.
  std::deque<std::future<absl::StatusOr<std::string>>> ahead_;
};

// Does `work` for each number below `count`, several at a time; returns the first error, after which no more is begun.
absl::Status ForEachAtOnce(size_t count, const std::function<absl::Status(size_t)>& work);

}  // namespace cd4ml::blob
