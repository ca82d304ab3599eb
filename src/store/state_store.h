// The writer's side of the store: facts in, one transaction at a time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "ballast.h"
#include "cd4ml/ports/state_store.h"
#include "database.h"

namespace cd4ml::store {

// Holds the lock file of a store until it is destroyed.
class LockFile {
 public:
  static absl::StatusOr<LockFile> Take(const std::string& path);
  LockFile() = default;
  LockFile(LockFile&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  LockFile& operator=(LockFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~LockFile();

 private:
  int descriptor_ = -1;
};

// What the writer keeps in mind of a run that has not ended: only what never changes, and where its
// events end.
struct OpenRun {
  struct Stage {
    int64_t row = 0;
    core::StageKind kind = core::StageKind::kCommand;
  };
  int64_t row = 0;
  int64_t next_seq = 1;
  std::unordered_map<std::string, Stage> stages;
};

// Stages of one run that have ended in the present transaction.
struct Counts {
  int done = 0, judged = 0, passed = 0, overridden = 0;
};

class SqliteStateStore : public StateStore {
 public:
  SqliteStateStore(LockFile lock, std::unique_ptr<Database> database, Ballast ballast)
      : lock_(std::move(lock)),
        database_(std::move(database)),
        ballast_(std::move(ballast)),
        is_short_(!ballast_.Restore().ok()) {}

  absl::Status Commit(const std::vector<Change>& changes) override;
  absl::StatusOr<StoredState> Load() override;
  absl::StatusOr<std::optional<core::RunId>> FindByKey(const std::string& key) override;
  absl::Status CheckSpace() override;
  void RunShort() override { (void)GiveUpBallast(); }
  void Idle() override;

 private:
  friend class RunProjector;

  absl::Status WriteCounts();
  absl::Status CommitOnce(const std::vector<Change>& changes);
  absl::Status Write(const RunChange& change);
  absl::Status Write(const PipelineChange& change);
  absl::Status Write(const AgentChange& change);
  absl::Status Write(const MonitorChange& change);
  absl::Status Write(const PredictionChange& change);
  absl::Status Write(const PinChange& change);         // These two are in storage_records.cc.
  absl::Status Write(const TombstoneChange& change);
  absl::Status Write(const ClockChange& change);
  absl::Status Write(const OverrideChange& change);    // This one is in gate_records.cc.

  absl::StatusOr<OpenRun*> FindOpenRun(const core::RunId& id);
  // Returns the row of a version, which is written when it is new; nullopt for a version without
  // name.
  absl::StatusOr<std::optional<int64_t>> VersionRow(const core::Version& version, UtcTime at);
  absl::StatusOr<int64_t> PipelineRow(const std::string& name);

  absl::Status LoadRuns(StoredState& state);
  absl::Status LoadPipelines(StoredState& state);
  absl::Status LoadAgents(StoredState& state);
  absl::Status LoadDeployments(StoredState& state);
  absl::Status LoadMonitors(StoredState& state);
  // Sets a row aside that cannot be read. Passes on every other failure.
  absl::Status Quarantine(StoredState& state, const char* table, int64_t row,
                          const absl::Status& why);

  void Forget();
  absl::Status Checkpoint();
  // Notes that the disk is full. Returns whether there is room now.
  bool GiveUpBallast();
  // Remembers that the state on disk is not known any more.
  absl::Status Break(const absl::Status& status);

  LockFile lock_;
  std::unique_ptr<Database> database_;
  Ballast ballast_;
  bool is_short_;  // Of disk space.
  absl::Status broken_;
  std::unordered_map<core::RunId, OpenRun> runs_;
  std::vector<core::RunId> ended_;                     // In the present transaction, as the next.
  std::map<int64_t, Counts> counts_;                   // By the row of the run.
  std::unordered_map<std::string, int64_t> versions_;  // Version id -> row; bounded.
};

}  // namespace cd4ml::store
