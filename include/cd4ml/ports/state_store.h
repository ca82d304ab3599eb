// The store as its one writer sees it: commit facts, and load them again at start.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/deployment.h"
#include "cd4ml/core/diagnostic.h"
#include "cd4ml/core/event.h"
#include "cd4ml/core/monitor.h"
#include "cd4ml/core/override.h"
#include "cd4ml/core/run.h"
#include "cd4ml/ports/storage_records.h"

namespace cd4ml {

// A registered pipeline: where its definition lives and its last good revision.
struct PipelineRecord {
  std::string name;
  std::string repo;                    // Absolute path of the repository on the daemon's host.
  std::string branch;
  std::string file;
  std::string description;
  std::string good_commit;             // Newest commit whose definition had no error.
  UtcTime registered, checked;
  std::vector<core::Diagnostic> problems;   // Of the newest commit looked at; empty when it is good.
  std::string bad_commit;              // The commit that `problems` speak of.
};

// An agent that has ever connected.
struct AgentRecord {
  std::string name;
  std::string instance;                // Changes when its state directory is new.
  std::string host;
  std::string version;
  std::vector<std::string> labels;
  int slots = 0;
  core::Resources resources;
  bool drained = false;                // An operator wants it to take nothing new.
  std::string drain_reason;
  Value facts;                         // CPU, memory, system.
  UtcTime first_seen, last_seen;
};

// One answered request of a live service.
struct PredictionRecord {
  std::string deployment;
  std::string key;                     // Request id; unique within the deployment.
  UtcTime at;
  Value input;                         // A map of features.
  double prediction = 0;
};

// One check of a monitor and what it led to.
struct MonitorCheckRecord {
  std::string monitor;                 // "used-car-price/watch"
  int64_t number = 0;
  UtcTime at;
  std::string deployment;
  int64_t requests = 0;
  core::Verdict verdict;
  std::string breach, held_back;
  std::string retrain_run;             // The run it triggered; empty: none.
};

// --- what one transaction may hold ---------------------------------------------------------------

// Events of one run, numbered from `first_seq`. The store writes the events and every table that follows from
// them (run, stage_run, attempt, version, lineage edges, metrics, verdicts, deployments).
struct RunChange {
  core::RunId run;
  int64_t first_seq = 1;
  UtcTime at;
  std::vector<core::Event> events;
};
struct PipelineChange { PipelineRecord pipeline; };                 // Insert or replace.
struct AgentChange { AgentRecord agent; };                          // Insert or replace.
struct MonitorChange {                                              // Insert or replace.
  core::MonitorState monitor;
  std::optional<MonitorCheckRecord> check;
};
struct PredictionChange {
  std::vector<PredictionRecord> predictions;         // Known keys are left as they are.
  int64_t* added = nullptr;                          // Where to tell how many were new; may be null.
};

struct PinChange {
  Pin pin;
  bool is_removed = false;                           // Otherwise insert or replace.
};
struct TombstoneChange { std::vector<Tombstone> tombstones; };      // Insert or replace.
struct OverrideChange {
  core::OverrideRecord record;                       // Without id: insert; with one: note that it is revoked.
  int64_t* id = nullptr;                             // Where to tell the id of a new one; may be null.
};

// That run time was `at` when the machine's steady clock was at `steady`, in the life of the machine that `boot` names.
struct ClockMark {
  UtcTime at;
  std::string boot;
  Duration steady{0};
};
struct ClockChange { ClockMark mark; };              // Replaces the one before.

using Change = std::variant<RunChange, PipelineChange, AgentChange, MonitorChange, PredictionChange, PinChange,
                            TombstoneChange, OverrideChange, ClockChange>;

// Everything that the loop needs to go on where it stopped.
struct StoredState {
  std::vector<core::Run> open_runs;                 // With their attempts, in order of creation.
  std::vector<PipelineRecord> pipelines;
  std::vector<AgentRecord> agents;
  std::vector<core::Deployment> live;               // One per pipeline and environment that has one.
  std::vector<core::MonitorState> monitors;
  std::map<std::string, int64_t> last_run_number;   // By pipeline.
  std::string id;                                   // Made with the database: another one has another.
  std::optional<ClockMark> clock;                   // The last one.
  std::vector<std::string> quarantined;             // Records that cannot be read and are left out, and why.
};

// Called from the loop's thread only. Only the orchestrator calls Commit.
class StateStore {
 public:
  virtual ~StateStore() = default;

  // Makes all changes durable in one transaction, or none.
  //
  // INVALID_ARGUMENT: a change contradicts what is recorded (a stale or second result, a used key, a gap in a run's
  // events). RESOURCE_EXHAUSTED: the disk is full. Nothing was changed by either. DATA_LOSS: reading, writing or
  // syncing failed, so the outcome is unknown: the caller must stop the process, the truth is on disk; every
  // later call fails alike.
  virtual absl::Status Commit(const std::vector<Change>& changes) = 0;

  virtual absl::StatusOr<StoredState> Load() = 0;

  // Returns the run that was started under an idempotency key, or nullopt.
  virtual absl::StatusOr<std::optional<core::RunId>> FindByKey(const std::string& key) = 0;

  // OK while the store takes everything. RESOURCE_EXHAUSTED once its disk has been full: then Commit uses space
  // that was held back for results and clean-up, as long as that lasts; each call tries to hold it back again,
  // and the message says what is needed.
  virtual absl::Status CheckSpace() = 0;
  // Gives up the space that was held back, because something else found the disk full.
  virtual void RunShort() = 0;

  // Housekeeping when nothing waits (a passive checkpoint). Never fails the caller.
  virtual void Idle() = 0;
};

}  // namespace cd4ml
