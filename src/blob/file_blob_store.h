// The store on a file system: whole blobs in one folder, folded ones in two. See open_blob_store.h.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "blob/folded.h"
#include "blob/sealed_folder.h"
#include "blob/usage.h"
#include "cd4ml/ports/blob_upkeep.h"

namespace cd4ml::blob {

// Where a whole blob holds a chunk.
struct ChunkPlace {
  Digest blob;
  int64_t offset = 0;
};

class FileBlobStore final : public KeptBlobStore {
 public:
  static absl::StatusOr<std::unique_ptr<KeptBlobStore>> Open(const std::string& dir,
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

  // Implemented in transfer.cc.
  absl::StatusOr<std::vector<Chunk>> Chunks(const Digest& digest,
                                            const std::stop_token& stop) override;
  absl::StatusOr<std::unique_ptr<BlobReader>> OpenChunks(
      const Digest& digest, const std::vector<Chunk>& chunks,
      const std::vector<size_t>& wanted) override;
  absl::StatusOr<std::unique_ptr<BlobAssembly>> Assemble(const Digest& digest,
                                                         const std::vector<Chunk>& chunks,
                                                         const std::stop_token& stop) override;

  // Implemented in upkeep.cc.
  absl::StatusOr<std::vector<StoredBlob>> List() override;
  absl::StatusOr<bool> RemoveUnused(const Digest& digest, UtcTime before) override;
  absl::StatusOr<int64_t> Fold(const Digest& digest, const std::stop_token& stop) override;
  absl::StatusOr<int64_t> RemoveLoose(UtcTime before, const std::stop_token& stop) override;
  int64_t bytes_used() const override { return usage_.used(); }
  void set_limit(int64_t bytes) override { usage_.SetLimit(bytes); }

  // --- for its readers, writers and assemblies ---

  // Makes the file a blob. `temp` may be nothing when the blob is there.
  absl::Status PublishOne(std::optional<Temp> temp, const Digest& digest);
  // Keeps in mind how a whole blob is cut. It is only an aid, so nothing is said when that fails.
  void Remember(const Digest& digest, const std::vector<Chunk>& chunks);
  void Forget(const Digest& digest) { (void)index_.Remove(digest); }
  // Returns the bytes of the chunk, wherever this store has them; nullopt when nowhere.
  std::optional<std::string> FindChunk(const Chunk& chunk);
  // Moves the file open as `fd` away from the name of `digest`, and returns DATA_LOSS.
  absl::Status Damaged(const Digest& digest, int fd);
  absl::Status DamagedFolded(const Digest& digest);
  absl::StatusOr<std::string> ReadFoldedChunk(const Chunk& chunk) const {
    return folded_.ReadChunk(chunk);
  }
  absl::Status Admit(int64_t bytes) const { return usage_.Admit(bytes); }

 private:
  absl::Status MakeFolders(const OnLostWrites& on_lost_writes);
  absl::StatusOr<Temp> CopyTemp(int source, const std::stop_token& stop);
  // RESOURCE_EXHAUSTED when what the store lacks of the files is too much, so that nothing of them is taken.
  absl::Status AdmitFiles(const std::vector<std::string>& paths, const std::stop_token& stop);
  // What `batch` has already is not staged again.
  absl::StatusOr<Staged> Stage(const std::string& path, bool may_link, const std::vector<Staged>& batch, Usage::Hold& hold,
                               const std::stop_token& stop);
  absl::Status NotThere(const Digest& digest) const;
  // Returns whether the blob is there with its seals intact, and makes sure that it stays so.
  bool Use(const Digest& digest);
  absl::Status Verify(const Digest& digest, int fd, const std::stop_token& stop);
  absl::Status Unfold(const Digest& digest, const std::stop_token& stop);
  absl::Status CopyOut(const Digest& digest, const std::optional<Fd>& whole, const std::string& path,
                       bool executable, const std::stop_token& stop);
  absl::Status CopyVerified(const Digest& digest, int object, int file,
                            const std::stop_token& stop);
  absl::StatusOr<std::vector<Chunk>> Cut(const Digest& digest, int fd, const std::stop_token& stop);
  void LoadPlaces();
  // Returns a lock that whoever uses a blob shares, and whoever removes one has alone; over processes.
  Fd LockUse(bool alone) const;

  std::string dir_;
  Usage usage_;
  Fd root_, quarantine_, partial_;
  TempFolder tmp_;
  SealedFolder objects_;
  SealedFolder index_;  // How whole blobs are cut.
  FoldedBlobs folded_{tmp_};
  bool can_clone_ = false;
  bool is_read_only_ = false;  // Its file system: what is there can be read.

  std::mutex places_mutex_;
  bool are_places_loaded_ = false;                       // Guarded by places_mutex_, as is the next one.
  std::unordered_map<std::string, ChunkPlace> places_;   // By the digest of the chunk.
};

}  // namespace cd4ml::blob
