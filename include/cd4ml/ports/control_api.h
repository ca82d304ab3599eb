// What operators and CI systems may ask the daemon to do.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cd4ml/core/retry.h"
#include "cd4ml/ports/done.h"
#include "cd4ml/ports/state_store.h"
#include "cd4ml/ports/upkeep.h"

namespace cd4ml {

struct RegisterRequest {
  std::string repo;            // Path of a git repository on the daemon's host.
  std::string branch;          // Empty: the repository's HEAD.
  std::string file;            // Empty: every *.cd4ml.yaml of the branch.
};

struct RegisterResult {
  std::string commit;
  std::vector<PipelineRecord> pipelines;           // Registered, good or with problems shown.
  std::vector<core::Diagnostic> problems;          // Of files that could not be registered at all.
};

struct StartRequest {
  std::string pipeline;
  std::string lane;                                // Empty: "production".
  std::string ref;                                 // Empty: the registered branch.
  std::map<std::string, std::string> params;       // Overrides as text: {"train.max_depth": "1"}.
  std::string reason;
  std::string by;
  std::string key;                                 // Idempotency key; the same key gives the same run.
  std::optional<int> priority;                     // Instead of the pipeline's.
  bool no_reuse = false;                           // Every stage is performed, whatever has been made before.
  bool mixed = false;                              // Also with revisions that do not belong together.
};

// Which stages of an ended run are done again, in a new run with the same commit and data.
struct RetryRequest {
  std::string run;                                 // As QueryApi names runs: also "pipeline/latest".
  core::RetryScope scope = core::RetryScope::kFailed;
  std::string stage;                               // kFrom, kOnly.
  std::map<std::string, std::string> params;       // Beside those that the run was started with.
  std::string reason, by, key;
  std::optional<int> priority;                     // Instead of the run's.
};

// Makes again what an ended run made: the same commit, data and effective parameters, nothing taken over, nothing deployed.
struct ReproduceRequest {
  std::string run;                                 // As QueryApi names runs: also "pipeline/latest".
  std::string reason, by, key;
  std::optional<int> priority;                     // Instead of the run's.
};

// A run that was started, now or by an earlier request under the same key.
struct StartedRun : core::Run {
  bool already = false;
};

// What a run would do: shown by `plan`, and nothing is changed.
struct PlannedRun {
  std::string pipeline, commit, commit_subject, file;
  std::vector<core::StagePlan> stages;
  std::map<std::string, core::Version> materials;
  std::map<std::string, std::string> upstream;     // As in core::Pins; so is the next.
  std::string mixed;
  Value params;
  std::map<std::string, std::string> param_sources;
  std::map<std::string, std::string> reuse;        // Stage -> what would become of it: "reuses car/11", "runs: …".
  std::map<std::string, std::string> agents;       // Stage -> agent that could take it, or why none can.
  Digest definition;
  std::vector<std::string> warnings;               // Of the definition, each as core::Brief says it.
};

// Implemented by the daemon, and by rpc::ControlClient. All methods return at once and call `done` exactly once.
// A definition with errors is INVALID_ARGUMENT; its diagnostics travel in the status payload
// (see core::Diagnostics in ports/diagnostic_payload.h).
class ControlApi {
 public:
  virtual ~ControlApi() = default;

  virtual void RegisterPipeline(RegisterRequest request, Done<RegisterResult> done) = 0;
  // Answers after the run is durable. NOT_FOUND: unknown pipeline, with a suggestion; missing file or data.
  // ALREADY_EXISTS: the key has started a run that was asked for otherwise. INVALID_ARGUMENT also: a key, reason or
  // parameters that are too long.
  virtual void StartRun(StartRequest request, Done<StartedRun> done) = 0;
  virtual void PlanRun(StartRequest request, Done<PlannedRun> done) = 0;
  // Answers the run as it is after the request; it ends when none of its processes is left.
  virtual void CancelRun(core::RunId run, std::string reason, Done<core::Run> done) = 0;
  // Answers the new run, as StartRun; the old one is not touched. FAILED_PRECONDITION: the run has not ended, or a stage
  // that is needed did not succeed in it.
  virtual void RetryRun(RetryRequest request, Done<StartedRun> done) = 0;
  // Answers the new run, as StartRun; the old one is not touched. FAILED_PRECONDITION: the run has not ended or made
  // nothing, or something that it was made from is no longer there as it was; the message names the version.
  virtual void ReproduceRun(ReproduceRequest request, Done<StartedRun> done) = 0;
  // Lets the agent finish what it holds and take nothing new, or take work again; holds until it is undone, across
  // restarts. NOT_FOUND: unknown agent.
  virtual void DrainAgent(std::string agent, bool drained, std::string reason, Done<AgentRecord> done) = 0;
  // Copies everything, while runs go on, into a folder on the daemon's host. Answers when it is durable there.
  // FAILED_PRECONDITION: another backup or scrub is under way. RESOURCE_EXHAUSTED: that disk is full.
  virtual void BackUp(std::string dir, Done<BackupReport> done) = 0;
  // Reads every record and blob, blobs at most so fast (0: as fast as it goes). FAILED_PRECONDITION as above.
  virtual void Scrub(int64_t bytes_per_second, Done<ScrubReport> done) = 0;
};

}  // namespace cd4ml
