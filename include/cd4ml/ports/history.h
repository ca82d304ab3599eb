// The store as readers see it. Every method opens a short read transaction of its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/origin.h"
#include "cd4ml/core/run.h"
#include "cd4ml/ports/state_store.h"

namespace cd4ml {

struct RunFilter {
  std::string pipeline;                       // Empty: all.
  std::optional<core::RunState> state;
  int limit = 20;                             // At most 1,000.
  std::string before;                         // Page token: a run's id; runs older than it follow.
};

// A run in one line.
struct RunSummary {
  core::RunId id;
  std::string pipeline, lane;
  core::RunState state = core::RunState::kRunning;
  std::string word;                           // core::Word.
  std::string message;
  core::TriggerKind trigger = core::TriggerKind::kDispatch;
  std::string trigger_by, trigger_reason;
  std::string commit, commit_subject;
  UtcTime created, ended;
  int stages_done = 0, stages_total = 0;
  int gates_passed = 0, gates_judged = 0;
  int gates_overridden = 0;                   // Of those that passed: only because of an override.
};

// A stage's success that another run may take over.
struct ReusableResult {
  core::Carried carried;                      // Of LastResult without its outcome.
  core::Recipe recipe;
  UtcTime ended;
};

// What a gate found in one run: its last attempt that came to a verdict, or the result that the run took over.
struct GateRecord {
  core::RunId run;
  std::string lane;
  bool passed = false;
  UtcTime at;                                 // When it ended.
  core::Outcome outcome;
};

// A node of the lineage graph.
struct LineageNode {
  enum class Kind { kVersion, kAttempt, kDeployment, kPrediction };
  Kind kind = Kind::kVersion;
  std::string id;                             // VersionId, attempt id, deployment id or prediction key.
  std::string label;                          // For people.
  UtcTime at;
  Value facts;                                // What else is known, as a map.
};
// `to` was made from or with `from`.
struct LineageEdge {
  std::string from, to;
};
struct LineageGraph {
  std::string root;
  std::vector<LineageNode> nodes;
  std::vector<LineageEdge> edges;
  bool truncated = false;                     // There is more than fits into one answer.
};

// A model that an attempt made of what was asked about.
struct ImpactedModel {
  core::Version model;
  core::AttemptId made_by;
  UtcTime at;
};
// Where such a model, or something else made of it, went live.
struct ImpactedDeployment {
  core::Deployment deployment;
  int64_t predictions = 0;                    // Recorded ones.
  UtcTime first_prediction, last_prediction;
};
// What became of a version of data or of a commit.
struct Impact {
  std::vector<core::Version> versions;        // That were meant.
  std::vector<core::RunId> runs;              // That used them, directly or through what was made of them; oldest first.
  std::vector<ImpactedModel> models;          // Oldest first.
  std::vector<ImpactedDeployment> deployments;   // Oldest first.
  bool truncated = false;                     // There is more than is looked at.
};

inline constexpr size_t kOriginsMax = 2'000;

enum class LineageDirection { kUp, kDown };   // Up: what it was made from. Down: what was made of it.

// Thread-safe.
class History {
 public:
  virtual ~History() = default;

  virtual absl::StatusOr<core::Run> GetRun(const core::RunId& id) = 0;
  virtual absl::StatusOr<std::vector<RunSummary>> ListRuns(const RunFilter& filter) = 0;
  // Returns the newest success of a recipe, or nullopt.
  virtual absl::StatusOr<std::optional<ReusableResult>> FindResult(const Digest& recipe) = 0;
  // Returns the recipe of the stage's newest success in the last 100 runs, or nullopt.
  virtual absl::StatusOr<std::optional<ReusableResult>> LastResult(const std::string& pipeline,
                                                                   const std::string& stage) = 0;
  // Newest first. Empty environment: all. `at`, when set: only what was live then.
  virtual absl::StatusOr<std::vector<core::Deployment>> ListDeployments(const std::string& environment,
                                                                        UtcTime at, int limit) = 0;
  // `reference`: a run, "pipeline/latest", an environment ("pipeline/environment"), a deployment, a prediction key, a version id, a unique
  // prefix of a digest or commit, or the path or address of data that has one version. NOT_FOUND says what was tried.
  virtual absl::StatusOr<LineageGraph> TraceLineage(const std::string& reference,
                                                    LineageDirection direction, int depth_max) = 0;
  // `reference`: a version id, a unique prefix of a digest or commit; or all versions of a material, as
  // "pipeline/material" or the path or address that it was read from.
  virtual absl::StatusOr<Impact> FindImpact(const std::string& reference) = 0;
  // The attempts that made what `reference` (as TraceLineage) is or was directly made from, nearest first; with `upstream` also
  // those that made what these were made from, and so on. FAILED_PRECONDITION: no stage made it. RESOURCE_EXHAUSTED:
  // there are more than kOriginsMax.
  virtual absl::StatusOr<std::vector<core::Origin>> FindOrigins(const std::string& reference, bool upstream) = 0;
  // Oldest first, within [from, to), at most `limit` (the newest ones are kept).
  virtual absl::StatusOr<std::vector<PredictionRecord>> Predictions(const std::string& deployment,
                                                                    UtcTime from, UtcTime to, int limit) = 0;
  virtual absl::StatusOr<std::vector<MonitorCheckRecord>> MonitorChecks(const std::string& monitor,
                                                                        int limit) = 0;
  // What the gate found in its runs, newest run first. NOT_FOUND: no run of the pipeline has judged a gate of that name.
  virtual absl::StatusOr<std::vector<GateRecord>> GateHistory(const std::string& pipeline, const std::string& gate,
                                                              int limit) = 0;
  // What the gate found in this run, or nullopt.
  virtual absl::StatusOr<std::optional<GateRecord>> FindGate(const core::RunId& run, const std::string& gate) = 0;
  // What the gate found in the newest run with a smaller number than `before` in which it had passed by `at`: one of
  // the lane "production", else of any lane. Reproductions do not count.
  virtual absl::StatusOr<std::optional<GateRecord>> LastPassed(const std::string& pipeline, const std::string& gate,
                                                               int64_t before, UtcTime at) = 0;
  // The overrides of a gate that had not expired at `at`, oldest first.
  virtual absl::StatusOr<std::vector<core::OverrideRecord>> OverridesOf(const std::string& pipeline,
                                                                        const std::string& gate, UtcTime at) = 0;
  // Newest first, of a pipeline or (empty) of all, at most `limit`.
  virtual absl::StatusOr<std::vector<core::OverrideRecord>> ListOverrides(const std::string& pipeline, int limit) = 0;
  virtual absl::StatusOr<std::optional<core::OverrideRecord>> FindOverride(int64_t id) = 0;
};

}  // namespace cd4ml
