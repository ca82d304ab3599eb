// What operators may ask about the artifact store: clean it, and say what must stay.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/ports/done.h"
#include "cd4ml/ports/storage_records.h"

namespace cd4ml {

struct GcRequest {
  bool dry_run = false;
  std::string by;
};

struct GcReport {
  struct Share {
    std::string why;         // "live deployment p/3/release"
    int64_t blobs = 0, bytes = 0;
  };
  bool dry_run = false;
  int64_t blobs = 0, bytes = 0;                    // Of the store before; bytes as they were put.
  std::vector<Share> kept;                         // The largest first.
  int64_t removed_blobs = 0, removed_bytes = 0;    // A dry run: what would be.
  std::vector<Tombstone> removed;                  // The largest first, at most 1,000.
  int64_t folded_blobs = 0;
  int64_t used_before = 0, used_after = 0;         // On disk.
};

// Implemented by the daemon, and by rpc::StorageClient. Methods with `done` call it exactly once, from any thread.
class StorageApi {
 public:
  virtual ~StorageApi() = default;

  // Removes what nothing wants and nobody has used for the grace period. UNAVAILABLE: one is under way.
  virtual void CollectGarbage(GcRequest request, Done<GcReport> done) = 0;
  // `reference` as QueryApi::TraceLineage takes it. NOT_FOUND also: its bytes were removed.
  virtual void SetPin(std::string reference, std::string reason, std::string by, Done<Pin> done) = 0;
  // NOT_FOUND: nothing is pinned under that name.
  virtual void RemovePin(std::string reference, Done<Pin> done) = 0;
  virtual absl::StatusOr<std::vector<Pin>> ListPins() = 0;
};

}  // namespace cd4ml
