// What the keeper of a blob store does to it, and nobody else: counts, folds, removes.
#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/digest.h"
#include "cd4ml/base/time.h"
#include "cd4ml/ports/blob_store.h"

namespace cd4ml {

struct StoredBlob {
  Digest digest;
  int64_t size = 0;
  UtcTime used;          // When it was last put, asked for or linked to.
  bool is_folded = false;
  bool is_linked = false;  // A file outside of the store shares its bytes.
};

// Thread-safe beside everything that the store does. One process keeps a store.
class BlobUpkeep {
 public:
  virtual ~BlobUpkeep() = default;

  // Returns all blobs, by digest.
  virtual absl::StatusOr<std::vector<StoredBlob>> List() = 0;
  // Removes the blob unless it was used at `before` or later: then false. Whoever puts a blob or asks for its
  // size uses it, so what was said to be there stays for as long as `before` lies back.
  virtual absl::StatusOr<bool> RemoveUnused(const Digest& digest, UtcTime before) = 0;
  // Keeps a whole blob as chunks from now on, which it shares with others. It is read back before its whole
  // file goes. Returns how many bytes on disk that has freed.
  virtual absl::StatusOr<int64_t> Fold(const Digest& digest, const std::stop_token& stop) = 0;
  // Removes chunks that no blob is made of, transfers that nobody went on with since `before`, and counts anew.
  // Returns how many bytes on disk were freed.
  virtual absl::StatusOr<int64_t> RemoveLoose(UtcTime before, const std::stop_token& stop) = 0;

  // Returns the bytes on disk, whoever stored them.
  virtual int64_t bytes_used() const = 0;
  // Refuses to store beyond this many bytes on disk, whoever stores. 0: no limit.
  virtual void set_limit(int64_t bytes) = 0;
};

class KeptBlobStore : public BlobStore, public BlobUpkeep {};

}  // namespace cd4ml
