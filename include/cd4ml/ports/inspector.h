// The store as those see it who copy it and look for damage: all rows, and every blob that they speak of.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/version.h"

namespace cd4ml {

// Something that is not as it was recorded.
struct Damage {
  std::string what;                  // "blob sha256:91bc…", "run cars/12", "database".
  std::string why;
  std::vector<std::string> users;    // Runs and deployments that need it; at most kUsersMax.

  bool operator==(const Damage&) const = default;
};
inline constexpr size_t kUsersMax = 20;

// Bytes that a row speaks of.
struct BlobReference {
  ArtifactRef artifact;
  std::string what;                  // "model cars/train.model", "definition of cars/12": for people.
};

struct RecordCheck {
  int64_t runs = 0, events = 0;
  std::vector<Damage> damage;        // At most kDamageMax.
};
inline constexpr size_t kDamageMax = 10'000;

// Reads a database that may be in use, in transactions of its own. Thread-safe.
class Inspector {
 public:
  virtual ~Inspector() = default;

  // Copies the database, as it is at one moment, into a new file at `path`; durable when it returns. RESOURCE_EXHAUSTED:
  // the disk is full. Leaves nothing when it fails.
  virtual absl::Status CopyTo(const std::string& path, const std::stop_token& stop) = 0;
  // Returns each blob and tree once, in order of digest. What is inside of trees is for the caller to read.
  virtual absl::StatusOr<std::vector<BlobReference>> References() = 0;
  // Returns the runs and deployments that need a blob or tree.
  virtual absl::StatusOr<std::vector<std::string>> UsersOf(const Digest& digest) = 0;
  // Returns whether a blob was removed on purpose, and nothing that is recorded since needs it.
  virtual absl::StatusOr<bool> WasRemoved(const Digest& digest) = 0;
  // Reads every row: pages, references between rows, sums, events against what follows from them.
  virtual absl::StatusOr<RecordCheck> CheckRecords(const std::stop_token& stop) = 0;
};

}  // namespace cd4ml
