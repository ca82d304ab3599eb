// One execution of a pipeline: plain values that only Decide reads and only Apply changes.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/verdict.h"
#include "cd4ml/core/version.h"

namespace cd4ml::core {

using RunId = std::string;   // "used-car-price/12": pipeline and number.

// An attempt's identity and its fence: a report with another number than the stage's latest is stale.
struct AttemptId {
  RunId run;
  std::string stage;
  int number = 0;            // From 1.

  auto operator<=>(const AttemptId&) const = default;
};
std::string ToText(const AttemptId& id);                       // "used-car-price/12/train/1"
std::optional<AttemptId> ParseAttemptId(std::string_view text);

enum class RunState {
  kQueued,      // Waits for its turn in its concurrency group.
  kRunning,
  kSucceeded,   // Every stage succeeded or was skipped by its own condition.
  kFailed,      // A stage failed, or a gate rejected.
  kCancelled,   // Asked for; no process of it is left.
};

enum class StageState {
  kBlocked,     // A need has not ended yet.
  kReady,       // Waits for an agent (or for its environment, or for its back-off).
  kLeased,      // An agent has the right to perform it.
  kRunning,     // The agent has started it.
  kSucceeded,
  kFailed,
  kCancelled,
  kSkipped,     // A need did not succeed, or its condition is false. Not a success.
};

enum class AttemptState {
  kGranted,
  kStarted,
  kSucceeded,
  kFailed,
  kLost,        // The agent went silent; whatever it still reports is refused.
  kCancelled,
};

// Why something ended as it did. `error` reasons are our side's, `failure` reasons the user's code's.
enum class Reason {
  kNone,
  kExitCode,          // The command exited non-zero.
  kTimeout,           // An attempt took longer than `timeout`, from its start to its end.
  kOutputMissing,     // A declared output was not written.
  kMetricsUnreadable, // A declared metrics or predictions file is missing or makes no sense.
  kGateRejected,      // Verdict fail.
  kGateError,         // Verdict error.
  kNotReady,          // A deployed service did not become ready; the old one was put back.
  kNotAvailable,      // The definition asks for what this version cannot do.
  kCancelled,
  kNeedFailed,        // Skipped: a need did not succeed.
  kConditionFalse,    // Skipped: `if:` is false.
  kAgentLost,         // error: the agent went silent.
  kInfra,             // error: our side failed (disk full, checkout, transfer).
  kNoAgent,           // error: no agent took it within `assign_timeout`.
  kTotalTimeout,      // All attempts together took longer than `total_timeout`.
  kSilenceTimeout,    // It wrote nothing for `silence_timeout`.
  kSuperseded,        // A newer run took its place.
  kNotSelected,       // Skipped: a retry of a run left it out.
};

std::string_view ToText(RunState state);       // "running", "succeeded", ...
std::string_view ToText(StageState state);
std::string_view ToText(AttemptState state);
std::string_view ToText(Reason reason);        // "exit_code", ...
std::optional<RunState> ParseRunState(std::string_view text);
std::optional<StageState> ParseStageState(std::string_view text);
std::optional<AttemptState> ParseAttemptState(std::string_view text);
std::optional<Reason> ParseReason(std::string_view text);

bool IsTerminal(RunState state);
bool IsTerminal(StageState state);
bool IsTerminal(AttemptState state);
// Returns whether the reason is our side's fault ("error") and not the user's ("failure").
bool IsInfrastructure(Reason reason);

// Every allowed change of a stage's state; all others are bugs. Tests walk all pairs.
constexpr std::array<std::pair<StageState, StageState>, 18> kStageEdges = {{
    {StageState::kBlocked, StageState::kReady},
    {StageState::kBlocked, StageState::kSkipped},
    {StageState::kBlocked, StageState::kCancelled},
    {StageState::kReady, StageState::kLeased},
    {StageState::kReady, StageState::kSucceeded},    // Monitors are armed without an agent; a result is reused.
    {StageState::kReady, StageState::kFailed},       // No agent in time; a monitor that cannot be armed.
    {StageState::kReady, StageState::kCancelled},
    {StageState::kLeased, StageState::kRunning},
    {StageState::kLeased, StageState::kReady},       // Lost or refused before it began, attempts left.
    {StageState::kLeased, StageState::kSucceeded},   // The start report was overtaken by the result.
    {StageState::kLeased, StageState::kFailed},
    {StageState::kLeased, StageState::kCancelled},
    {StageState::kRunning, StageState::kReady},      // Attempt lost or failed, attempts left.
    {StageState::kRunning, StageState::kSucceeded},
    {StageState::kRunning, StageState::kFailed},
    {StageState::kRunning, StageState::kCancelled},
    {StageState::kBlocked, StageState::kFailed},     // Its condition could not be evaluated.
    {StageState::kBlocked, StageState::kSucceeded},  // Carried over from the run that this one retries; a matrix.
}};

// An output that an attempt produced and stored.
struct ProducedOutput {
  std::string name;
  std::string path;              // Where the producer wrote it, relative to the work directory.
  OutputType type = OutputType::kFile;
  ArtifactRef artifact;
  std::optional<ArtifactRef> profile;   // Datasets judged by a data gate: their table profile.

  bool operator==(const ProducedOutput&) const = default;
};

// The service that a deploy stage started and proved to be ready.
struct StartedService {
  std::string endpoint;          // "http://127.0.0.1:40123"; empty for deploys by hooks.
  std::string agent;

  bool operator==(const StartedService&) const = default;
};

// How an attempt ended, as its agent reports it.
struct Outcome {
  AttemptState state = AttemptState::kFailed;     // kSucceeded, kFailed or kCancelled.
  Reason reason = Reason::kNone;
  std::string message;                            // One sentence for people; empty on success.
  int exit_code = 0;
  std::vector<ProducedOutput> outputs;
  std::map<std::string, double> metrics;          // Dotted names; may hold NaN.
  std::optional<Verdict> verdict;                 // Gates.
  std::optional<StartedService> service;          // Deploys.
  Value environment;                              // What it ran with: interpreter, system, agent.
  int64_t log_bytes = 0;
  double cpu_seconds = 0;
  int64_t max_rss_bytes = 0;
};

// What determines a stage's result, part by part: see recipe.h.
using Recipe = std::map<std::string, std::string>;

struct Attempt {
  int number = 0;
  std::string agent;
  AttemptState state = AttemptState::kGranted;
  UtcTime granted, started, ended;
  Recipe recipe;                                  // Complete; empty: its result is not reused.
  std::string reuse_note;                         // Why no earlier result was taken over.
  Outcome outcome;                                // Meaningful once ended.
};

// What of a stage's definition the rules below need; kept with the run, never re-read.
struct StagePlan {
  std::string name;
  StageKind kind = StageKind::kCommand;
  std::vector<std::string> needs;                 // Explicit needs and producers of inputs; sorted.
  std::vector<std::string> references;            // ReferencesOf(stage).
  std::string condition;
  std::vector<std::string> labels;
  Resources resources;
  Duration timeout{0};
  Duration assign_timeout{0};
  Duration total_timeout{0};
  RetrySpec retry;
  std::string environment;                        // kDeploy: locked while leased; kMonitor.
  ConcurrencyPolicy environment_policy = ConcurrencyPolicy::kQueue;   // kDeploy.
  bool refuses_mixed = false;                     // kDeploy.
  std::string package;                            // kDeploy: "stage.output".
  Recipe recipe;                                  // The parts known before the run; empty: not reusable.
  bool reuse = false;                             // An earlier result of the same recipe is taken over.
  Duration reuse_max_age{0};                      // Unless it is older; 0: of any age.
  // Gates: what its rules compare with that must be looked up: "last_passed", "last_accepted.clean", "run:12"; sorted.
  std::vector<std::string> baselines;
  int override_people = 0;                        // Gates: how many must agree to an override of a rule; see core/override.h.
  std::string cell_of;                            // The matrix stage that this one is a cell of; empty: none.
  std::map<std::string, Value> cell_params;       // Parameters that are the cell's own, by dotted name.
  std::optional<MatrixSpec> matrix;               // Its cells are its needs; no agent performs it.
};

// A result that was taken over instead of making it again.
struct Carried {
  AttemptId from;                                 // The attempt that made it.
  Outcome outcome;
  bool reused = false;                            // Because its recipe is the same; else by a retry of a run.
  std::string cell;                               // Of a matrix: the cell of this run that won and whose result it is.
  std::string why;                                // In words, with the values of the others.
};

// A leased stage that is to end: what it becomes when its agent has ended it.
struct Stop {
  StageState state = StageState::kFailed;         // kFailed or kCancelled.
  Reason reason = Reason::kNone;
  std::string message;
};

struct StageRun {
  StagePlan plan;
  StageState state = StageState::kBlocked;
  Reason reason = Reason::kNone;
  std::string message;
  UtcTime first_ready, ready, ended;
  UtcTime not_before;                             // kReady: back-off of a retry.
  std::vector<Attempt> attempts;                  // Ended ones stay: a repeated report is told from an unknown one.
  std::optional<Carried> carried;
  std::optional<Stop> stop;

  // Derived from the plan by Reindex, as positions in Run::stages.
  std::vector<int> dependents;                    // Stages that need this one.
  int open_needs = 0;                             // Needs that have not ended.
  UtcTime deadline;                               // Its entry in Run::deadlines; unset: none.

  const Attempt* latest() const { return attempts.empty() ? nullptr : &attempts.back(); }
  // Returns the result that counts, or null while there is none.
  const Outcome* result() const;
};

// What was fixed when the run was created.
struct Pins {
  std::string repo;                               // Location of the repository.
  std::string commit;                             // 40 hexadecimal digits.
  std::string commit_subject;
  std::string file;                               // The definition's path in the repository.
  Digest definition;                              // The expanded definition; its bytes are a blob.
  std::map<std::string, Version> materials;       // By name; all but the code.
  std::map<std::string, std::string> upstream;    // Of materials that another pipeline made: the run that made it.
  std::string mixed;                              // Why the revisions do not belong together; empty: they do.
  Value params;
  std::map<std::string, std::string> param_sources;   // Dotted name -> "default", file or "trigger".
  Digest params_digest;
};

enum class TriggerKind { kDispatch, kMonitor, kRetry, kReproduce };
std::string_view ToText(TriggerKind kind);
std::optional<TriggerKind> ParseTriggerKind(std::string_view text);

struct TriggerFacts {
  TriggerKind kind = TriggerKind::kDispatch;
  std::string key;                                // Idempotency key; empty: none given.
  std::string by;                                 // Who asked: user@host, or the monitor's name.
  std::string reason;                             // In words: `input-drift: psi(age) 0.61 > 0.25`.
};

struct Run {
  RunId id;
  std::string pipeline;
  int64_t number = 0;
  std::string lane;                               // "production" by default.
  RunState state = RunState::kRunning;
  Reason reason = Reason::kNone;
  std::string message;                            // Why it did not succeed: the first failed stage's message.
  bool cancel_requested = false;
  std::string cancel_reason;
  RunId superseded_by;                            // Set with cancel_requested, when a newer run is the reason.
  int priority = 0;
  ConcurrencySpec concurrency;
  RunId retry_of;                                 // The run that this one does again, in part; of kReproduce: makes again.
  TriggerFacts trigger;
  Pins pins;
  UtcTime created, ended;
  int64_t next_seq = 1;                           // Number of its next event.
  std::vector<StageRun> stages;                   // In topological order.

  // Derived by Reindex.
  std::map<std::string, int, std::less<>> positions;   // Stage name -> position in `stages`.
  int open_stages = 0;                            // Stages that have not ended.
  std::string environment;                        // Of its last deploy; empty: it deploys nowhere.
  std::set<std::pair<UtcTime, int>> deadlines;    // When, and of which stage.

  const StageRun* FindStage(std::string_view name) const;
  StageRun* FindStage(std::string_view name);
};

// Fills in what is derived from plans and states: after loading, and when a run starts. No stage could be taken before
// `resumed`, so waiting for an agent counts from there.
void Reindex(Run& run, UtcTime resumed = {});

// Puts the stage's deadline in order after a change of its state.
void UpdateDeadline(Run& run, int position, UtcTime resumed = {});

// Returns the parameters that a stage gets: those of its run, or its own where it is a cell of a matrix.
Value ParamsOf(const Pins& pins, const StagePlan& stage);

// Returns whose result a stage of this run has: the winning cell's of a matrix, else its own.
const StageRun& MakerOf(const Run& run, const StageRun& stage);

// Returns the output that "stage.output" names in this run, or null when it is not there (yet).
const ProducedOutput* FindOutput(const Run& run, std::string_view reference);

// Returns the version that a reference names in this run ("train.model", "listings"), if it is there.
std::optional<Version> FindVersion(const Run& run, std::string_view reference);

// Returns the model that went into the output `reference`, looking upwards through what its stage read.
std::optional<Version> FindModel(const Run& run, std::string_view reference);

// Returns the dataset that the run's models were trained on, as a reference ("validate-data.clean").
std::optional<std::string> FindTrainData(const Run& run);

// Returns the run as its users see it in one word: "running", "passed", "failed", "gate rejected",
// "cancelled", "infra error".
std::string_view Word(const Run& run);

}  // namespace cd4ml::core
