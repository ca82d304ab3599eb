// What operators may ask the daemon about. Answers come from committed facts only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/compare.h"
#include "cd4ml/core/reproduce.h"
#include "cd4ml/ports/history.h"
#include "cd4ml/ports/state_store.h"

namespace cd4ml {

struct RunView {
  core::Run run;
  std::map<std::string, std::string> waiting;      // Ready stages without an agent: why, in words.
  std::string queued_behind;                       // A queued run: what its group waits for, in words.
};

struct AgentView {
  AgentRecord agent;
  std::string state;                               // "idle", "busy", "draining", "drained", "unable", "lost".
  std::vector<core::AttemptId> running;
  core::Resources free;                            // Connected ones: what is not taken.
};

struct MonitorView {
  core::MonitorState monitor;
  std::vector<MonitorCheckRecord> checks;          // Newest first.
};

struct LogChunk {
  int64_t offset = 0;
  std::string bytes;
  bool end = false;                                // Nothing more will come.
};

struct ServerFacts {
  std::string version, instance;
  std::string state_dir, database;
  UtcTime started;
  std::string read_only;                           // Why no new work is taken now; empty: it is.
  std::vector<std::string> quarantined;            // Records that cannot be read and are left out, and why.
  UtcTime scrubbed;                                // When the last scrub ended; unset: there was none yet.
  int64_t damage = 0;                              // What it found; `cd4ml server scrub` tells all of it.
  std::string signing_key;                         // Public half of the key that signs documents, as PEM text.
  int64_t artifact_bytes = 0;                      // The artifact store, on disk.
  int64_t artifact_soft_limit = 0;                 // 0: none.
  int64_t artifact_hard_limit = 0;
  std::string artifact_warning;                    // What to do about it; empty: nothing.
};

struct RunComparison {
  core::RunId before, after;
  std::vector<core::Difference> differences;
  std::vector<std::string> changed_paths;          // Files that differ between the two commits.
  std::string paths_unknown;                       // Why those are not known; empty: they are.
};

// What the daemon writes about outputs, from its own rows.
enum class DocumentKind {
  kProvenance,   // A signed in-toto statement of the attempt that made it, as a DSSE envelope.
  kUpstream,     // The same for all that it was made from, a line each, nearest first.
  kModelCard,    // Of a model: Markdown.
  kBom,          // Of a model: CycloneDX 1.6.
};

// Ends a subscription when destroyed; no callback runs after that.
class Subscription {
 public:
  virtual ~Subscription() = default;
};

// Implemented by the daemon, and by rpc::QueryClient. May block shortly; never call it on the loop.
// A run is named "pipeline/12", "pipeline/latest" or "pipeline/latest-passed".
class QueryApi {
 public:
  virtual ~QueryApi() = default;

  virtual absl::StatusOr<ServerFacts> GetServer() = 0;
  virtual absl::StatusOr<RunView> GetRun(const std::string& run) = 0;
  virtual absl::StatusOr<std::vector<RunSummary>> ListRuns(const RunFilter& filter) = 0;
  // Calls `on_change` with the run as it is now and after every change (changes close together come as one), until
  // the run has ended; then `on_end` once. Callbacks come from one thread at a time.
  virtual absl::StatusOr<std::unique_ptr<Subscription>> WatchRun(
      const std::string& run, std::function<void(RunView)> on_change,
      std::function<void(absl::Status)> on_end) = 0;
  // Reads an attempt's log from `offset`. With `follow` waits up to some seconds for more; `end` says that the
  // attempt has ended and all is read. Empty stage attempts (number 0) mean the latest.
  virtual absl::StatusOr<LogChunk> ReadLog(const core::AttemptId& attempt, int64_t offset, bool follow) = 0;
  virtual absl::StatusOr<std::vector<PipelineRecord>> ListPipelines() = 0;
  virtual absl::StatusOr<PipelineRecord> GetPipeline(const std::string& name) = 0;
  virtual absl::StatusOr<std::vector<AgentView>> ListAgents() = 0;
  virtual absl::StatusOr<std::vector<core::Deployment>> ListDeployments(const std::string& environment,
                                                                        UtcTime at, int limit) = 0;
  virtual absl::StatusOr<std::vector<MonitorView>> ListMonitors(int checks) = 0;
  virtual absl::StatusOr<LineageGraph> TraceLineage(const std::string& reference, LineageDirection direction,
                                                    int depth_max) = 0;
  // `reference` is as in History::FindImpact.
  virtual absl::StatusOr<Impact> FindImpact(const std::string& reference) = 0;
  virtual absl::StatusOr<RunComparison> CompareRuns(const std::string& before, const std::string& after,
                                                    core::Compared compared) = 0;
  // Says whether `run`, which ReproduceRun started, came to the same as what it reproduces; see core::JudgeReproduction.
  // FAILED_PRECONDITION: it is no reproduction.
  virtual absl::StatusOr<core::Reproduction> JudgeReproduction(const std::string& run,
                                                               std::optional<double> tolerance) = 0;
  // NOT_FOUND: nothing is known by that name. FAILED_PRECONDITION: no stage made it, or no model is in it.
  virtual absl::StatusOr<std::string> ExportDocument(const std::string& reference, DocumentKind kind) = 0;
};

}  // namespace cd4ml
