// Blobs that are kept as chunks. What they have in common is stored once.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "blob/chunks.h"
#include "blob/sealed_folder.h"
#include "cd4ml/ports/blob_store.h"

namespace cd4ml::blob {

// Thread-safe, except that one thread of one process calls Fold and RemoveLoose.
class FoldedBlobs {
 public:
  explicit FoldedBlobs(TempFolder& tmp) : tmp_(tmp) {}
  absl::Status Open(int root, const std::string& root_path, Usage& usage,
                    const OnLostWrites& on_lost_writes);

  // NOT_FOUND, or DATA_LOSS.
  absl::StatusOr<std::vector<Chunk>> Recipe(const Digest& digest) const;
  absl::StatusOr<int64_t> Size(const Digest& digest) const;
  // Returns whether the blob is folded and the seals of all that it is made of are intact.
  bool IsThere(const Digest& digest) const;
  bool HasRecipe(const Digest& digest) const { return recipes_.OpenFile(digest).ok(); }
  absl::StatusOr<std::string> ReadChunk(const Chunk& chunk) const;
  // Writes the blob into the empty file `to`. DATA_LOSS when it does not hash to its digest.
  absl::Status Write(const Digest& digest, int to, const std::stop_token& stop) const;
  // Keeps the blob, whose bytes are in `whole` and are cut like this, durably.
  absl::Status Fold(const Digest& digest, int whole, const std::vector<Chunk>& chunks,
                    const std::stop_token& stop);
  absl::Status Remove(const Digest& digest) const { return recipes_.Remove(digest); }
  bool Touch(const Digest& digest) const { return recipes_.Touch(digest); }
  // Moves the recipe aside.
  bool MoveAside(const Digest& digest, int folder, const std::string& name) const;
  void RemoveLoose(const std::stop_token& stop);

  const SealedFolder& recipes() const { return recipes_; }
  const SealedFolder& chunks() const { return chunks_; }

 private:
  absl::Status PutChunks(int whole, const std::vector<Chunk>& chunks, const std::stop_token& stop);
  absl::Status Check(const Digest& digest, const std::vector<Chunk>& chunks,
                     const std::stop_token& stop) const;

  TempFolder& tmp_;
  SealedFolder recipes_, chunks_;
};

}  // namespace cd4ml::blob
