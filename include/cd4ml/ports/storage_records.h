// What is recorded about stored blobs: what refers to them, which are pinned, which were removed and why.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/digest.h"
#include "cd4ml/base/time.h"

namespace cd4ml {

// A version or a run that is kept until somebody says otherwise.
struct Pin {
  std::string target;        // "model:p/train.model@91bc…" or "p/12".
  std::string reference;     // As it was written.
  std::string reason, by;
  UtcTime at;
};

// What is left of a blob that was removed on purpose.
struct Tombstone {
  Digest digest;
  int64_t size = 0;
  std::string what;          // "model:p/train.model"; empty: nothing has ever named it.
  std::string why, by;
  UtcTime at;
};

// Thread-safe; each method sees one moment.
class StorageRecords {
 public:
  virtual ~StorageRecords() = default;

  // Returns the blobs, files of trees not among them, that are wanted, and the first reason of each: what open runs,
  // live deployments, `former` deployments before each of them and pins refer to, and what that was made from; and
  // the definition of every run. May name digests that are no blobs.
  virtual absl::StatusOr<std::map<Digest, std::string>> WantedBlobs(int former) = 0;
  // Returns which versions have which artifact: "model:p/train.model, report:…".
  virtual absl::StatusOr<std::map<Digest, std::string>> NamesOfBlobs() = 0;
  // Returns the artifact of the version with this id; unset when it has none or is unknown.
  virtual absl::StatusOr<Digest> ArtifactOf(const std::string& version) = 0;
  // Newest first, at most a thousand.
  virtual absl::StatusOr<std::vector<Pin>> ListPins() = 0;
  virtual absl::StatusOr<std::optional<Tombstone>> FindTombstone(const Digest& digest) = 0;
};

}  // namespace cd4ml
