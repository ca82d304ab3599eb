// A pipeline as its file says it: checked for form, expressions resolved, nothing looked up yet.
//
// Instances come from a parser (ports/pipeline_parser.h). Every part keeps its place in the file, so
// that later checks (core/validate.h) can point at it. See docs/reference/pipeline.md.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/concurrency.h"
#include "cd4ml/core/diagnostic.h"
#include "cd4ml/core/resources.h"
#include "cd4ml/core/rule.h"

namespace cd4ml::core {

enum class StageKind {
  kDataGate,      // First gate: is there enough good data?
  kTrain,         // Produces models with metrics.
  kModelGate,     // Second gate: is the error acceptable?
  kPackage,       // Turns a model into something deployable.
  kContractGate,  // Third gate: does the package answer as the model did, and keep its contracts?
  kDeploy,        // Moves a package into an environment.
  kMonitor,       // Armed by a deploy; outlives the run.
  kCommand,       // Anything else.
};

std::string_view ToText(StageKind kind);                       // "data_gate"
std::optional<StageKind> ParseStageKind(std::string_view text);
bool IsGate(StageKind kind);

enum class OutputType { kDataset, kModel, kProbeSet, kDeployable, kReport, kFile };
std::string_view ToText(OutputType type);                      // "probe_set"
std::optional<OutputType> ParseOutputType(std::string_view text);

// How a table's text is to be read. Absent parts are sniffed, except the encoding: it is UTF-8.
struct CsvFormat {
  std::string encoding = "utf-8";    // "utf-8", "latin-1", "windows-1252", "utf-16".
  std::string delimiter;             // One character; empty: sniffed.
  std::optional<bool> header;
  std::map<std::string, std::string> columns;   // Forced column types: {price: text}.

  bool operator==(const CsvFormat&) const = default;
};

// A version source outside the run: the code, or data. `${name}` is how stages refer to it.
struct MaterialSpec {
  enum class Kind {
    kGit,         // The repository of the definition.
    kData,        // Files, an HTTP(S) URL, an S3 prefix.
    kGitPath,     // A file or folder of a repository at a revision.
    kDvc,         // What a .dvc file or dvc.lock of the repository points at.
    kPipeline,    // What another pipeline has made.
  };
  std::string name;
  Kind kind = Kind::kData;
  std::string branch;                // kGit.
  std::string location;              // kData: a path (relative to the daemon's data root) or URL; kGitPath: a repository,
                                     // "." is the definition's; kDvc: the pointer's path; kPipeline: its name.
  std::string pattern;               // kData: glob below the folder `location`; empty: one file, or all of a folder.
  std::string path;                  // kGitPath: within the repository; "." is all of it.
  std::string ref;                   // kGitPath: branch, tag or commit; empty: HEAD, or the run's commit of ".".
  std::string output;                // kDvc: the tracked path, empty when there is one; kPipeline: "stage.output" or "stage".
  std::string environment;           // kPipeline: what is live there; empty: what its last successful run made.
  bool consistent = false;           // kPipeline: only what was made from the revisions that this run has too.
  std::optional<CsvFormat> csv;
  std::string at;                    // Where it lies in a work directory; empty: inputs/NAME.
  Place place;
};

// Returns where data comes from in words: "s3://bucket/sales [*.csv]", "car-taxonomy/publish.table". Equal for materials
// that have the same source. REQUIRES: it is not kGit.
std::string SourceText(const MaterialSpec& material);

struct InputSpec {
  std::string name;                  // Names the variable CD4ML_IN_NAME.
  std::string from;                  // "stage.output" or a material's name.
  std::string at;                    // Empty: where its producer wrote it, or inputs/NAME.
  Place place;
};

struct OutputSpec {
  std::string name;
  std::string path;                  // Relative to the work directory; a file or a folder.
  OutputType type = OutputType::kFile;
  bool always = false;               // `when: always`: also kept when the stage fails.
  std::string quarantine;            // Data gates: the table whose bad rows cd4ml writes here; empty: the command's output.
  Place place;
};

// What a stage executes: a script for `bash -euo pipefail`, or an argument list. Both may be empty.
struct CommandSpec {
  std::string script;
  std::vector<std::string> argv;

  bool empty() const { return script.empty() && argv.empty(); }
};

// A file that holds metrics: JSON, or one number found by a pattern, or one row per slice value.
struct MetricsSpec {
  std::string file;
  std::string name, pattern;         // A single metric from text; both or neither.
  std::string slice, count;          // A table of slices; `slice` names its key column.
  Place place;
};

// What kind of answer a model gives, and so which metrics are computed from its predictions.
enum class PredictionTask { kRegression, kClassification, kRanking };

struct PredictionsSpec {
  PredictionTask task = PredictionTask::kRegression;
  std::string file, truth, prediction;
  std::vector<std::string> slices;
  std::string champion;              // Column with the champion's prediction of the same row; empty: none.
  std::string weight;                // Column; empty: every row counts alike.
  std::string score;                 // kClassification: column with the probability of `positive`; empty: none.
  std::string champion_score;        // kClassification: the same of the champion; empty: none.
  std::string positive;              // kClassification: the label that counts as positive; empty: "1" or "true".
  std::string group;                 // kRanking: column of the query that rows belong to.
  Place place;
};

// Where a gate's verdict comes from, beside its rules.
struct VerdictSpec {
  enum class Kind { kExitCode, kFile, kJunit, kGreatExpectations, kPandera, kEvidently };
  Kind kind = Kind::kExitCode;
  std::string file;                  // In the work directory; empty for kExitCode.
  Place place;
};

// How a packaged service is started and when it counts as ready.
struct ServiceSpec {
  CommandSpec run;
  std::string ready_path;            // HTTP GET that answers 2xx; empty: an open port is enough.
  std::optional<std::string> ready_grpc;   // In place of it: the service that grpc.health.v1 is asked about; "": all of it.
  Duration ready_within{60'000};
  Place place;
};

// `apply` and `rollback` hooks of a deploy: scripts run in the work directory.
struct DeployHooks {
  CommandSpec apply, rollback;
};

// A monitor's check: a rule plus how often in a row it must be broken.
struct CheckSpec {
  std::string name;
  bool blocks = true;                // false: severity warn, never triggers.
  int consecutive = 1;
  std::variant<DriftRule, MetricRule> rule;
  Place place;
};

struct RetrainSpec {
  std::vector<std::string> checks;   // Which breaches retrain; empty: every blocking one.
  std::string lane;
  std::map<std::string, Value> params;
  Duration cooldown{0};
  int max_per_week = 0;              // 0: no cap.
  int give_up_after = 0;             // Retrains in a row that did not end the breach; 0: never.
};

struct MonitorSpec {
  Duration every{0};
  Duration window{0};
  std::string predictions_source;    // "grpc": the service calls RecordPredictions; "jsonl": it
                                     // appends to $CD4ML_PREDICTIONS and the agent forwards.
  std::vector<CheckSpec> checks;
  std::optional<RetrainSpec> retrain;
};

// What a stage's commands run in; see core/runtime.h.
struct RuntimeSpec {
  enum class Kind {
    kUnsaid,       // The host's, because nobody said anything; Validate warns about it.
    kHost,         // `runtime: host`: the host's, and meant to be.
    kPython,       // A virtual environment made from a lock file.
    kImage,        // A container image by its digest.
    kSetup,        // Whatever a command makes of its key files.
  };
  Kind kind = Kind::kUnsaid;
  std::string python;                // kPython: "3.11" or "3.11.2".
  std::string requirements;          // kPython: the lock file.
  std::string image;                 // kImage: NAME@sha256:….
  CommandSpec setup;                 // kSetup
  std::vector<std::string> key;      // kSetup: patterns of the files that it reads; it sees no others.
  Place place;

  // Returns whether there is something to build or fetch before a command can run.
  bool is_pinned() const { return kind > Kind::kHost; }
};

// Two budgets, so that a shaky host does not use up what is meant for shaky code.
struct RetrySpec {
  int limit = 0;                     // Further attempts after failures of the user's code: timeout, exit_code.
  int error_limit = 2;               // Further attempts after errors of ours: agent_lost, infra.
  std::vector<std::string> when = {"agent_lost", "infra"};  // agent_lost, infra, timeout, exit_code
  Duration backoff{0};               // Before the first of a budget's retries; doubled before each next one.
  Duration backoff_max{600'000};
};

// Whether a result of the same recipe is taken over.
struct CacheSpec {
  bool never = false;
  Duration max_age{0};               // An older result is made again; 0: of any age.
};

// How a stage that is done once for every combination of some parameters' values, its cells, becomes one again.
struct MatrixSpec {
  std::vector<std::string> cells;    // Names of the cells' stages, in the order of the file.
  int max_parallel = 0;              // Cells that may be leased at a time; 0: any number.
  bool goes_on = false;              // `fail_fast: false`: a failed cell ends no other one.
  std::string select;                // The metric whose best value makes a cell the winner; empty: there is none.
  bool select_highest = false;
};

struct StageSpec {
  std::string name;
  StageKind kind = StageKind::kCommand;
  std::vector<std::string> needs;
  std::vector<InputSpec> inputs;
  std::vector<OutputSpec> outputs;
  std::vector<std::string> code;     // Paths of the repository that it depends on; empty: all.
  std::vector<std::string> params;   // Parameters or sub-trees that it depends on.
  CacheSpec cache;
  RuntimeSpec runtime;
  std::map<std::string, std::string> env;
  CommandSpec run;
  std::string condition;             // `if:`; empty: always. Evaluated when the stage could start.
  std::vector<std::string> labels;   // The agent must have all of them.
  Resources resources;               // What it takes of its agent.
  Duration timeout{0};               // From start to end of an attempt. 0: the daemon's default.
  Duration assign_timeout{0};        // Waiting for an agent. 0: the daemon's default.
  Duration total_timeout{0};         // From first being ready to the end of the last attempt. 0: none.
  Duration silence_timeout{0};       // Without a byte of output. 0: none.
  Duration grace{5'000};             // Between SIGTERM and SIGKILL.
  RetrySpec retry;
  std::vector<MetricsSpec> metrics;
  std::map<std::string, bool> goals; // metric -> higher is better
  std::vector<Rule> rules;
  std::optional<VerdictSpec> verdict;           // Gates.
  std::optional<PredictionsSpec> predictions;   // kModelGate
  std::string champion_environment;             // kModelGate, `champion: {environment: …}`
  // kModelGate: how the champion's own package says what it thinks of the predictions' rows; one of them, or neither.
  std::optional<ProbeRule> champion_request;    // A request to its service; only what is sent where.
  CommandSpec champion_predict;                 // A command in its folder.
  std::string champion_answer;                  // JSON pointer into an answer; empty: all of it.
  std::string champion_score;                   // The same of a class's score; empty: it says none.
  std::string package;                          // kContractGate, kDeploy: "stage.output".
  std::optional<ServiceSpec> service;           // kContractGate `serve`, kDeploy `service`.
  DeployHooks hooks;                            // kDeploy
  std::string environment;                      // kDeploy, kMonitor
  std::optional<MonitorSpec> monitor;           // kMonitor
  std::optional<MatrixSpec> matrix;             // This stage takes part by its cells; see core/matrix.h.
  std::vector<StageSpec> cells;                 // Those of a matrix, as long as they are no stages of the pipeline.
  std::string cell_of;                          // The stage that this one is a cell of; empty: none.
  std::map<std::string, Value> cell_params;     // What parameters are in this cell, by dotted name.
  Place place;
  // Of parts that have no place of their own: "environment", "package", "if", "needs.train",
  // "rules.mae.of". See PlaceOf.
  std::map<std::string, Place, std::less<>> places;

  // Returns the place of a part, or of the stage.
  Place PlaceOf(std::string_view part) const;

  bool asks_champion() const { return champion_request.has_value() || !champion_predict.empty(); }
};

struct ParamSchema {
  enum class Type { kInt, kFloat, kBool, kString, kEnum, kList, kMap };
  std::string name;                  // Dotted.
  Type type = Type::kString;
  std::vector<std::string> values;   // kEnum
  Bounds bounds;
  std::optional<Value> fallback;     // `default`
  Place place;
};

struct ParamsSpec {
  std::vector<std::string> files;    // YAML, JSON or TOML files of the repository, in order.
  bool experiment_only = false;      // `overrides: experiment`: only that lane may differ.
  std::vector<ParamSchema> schema;
};

struct EnvironmentSpec {
  std::string name;
  std::string target;                // URL; empty: the agent picks a free local port and keeps it.
  std::vector<std::string> lanes;    // Lanes that may deploy here; empty: all.
  ConcurrencyPolicy concurrency = ConcurrencyPolicy::kQueue;   // Of deploys that come together here.
  bool refuses_mixed = false;        // Nothing is deployed here by a run whose revisions do not belong together.
  Place place;
};

struct TriggersSpec {
  // May be started over gRPC and the CLI. A file without `triggers` may; otherwise they list it.
  bool dispatch = true;
  std::vector<std::string> dispatch_lanes;   // Empty: any.
  std::string monitor;               // The monitor stage that may retrain; empty: none.
  Place monitor_place;
};

struct PipelineSpec {
  std::string name;
  std::string file;                  // Path of the definition in the repository.
  std::string description;
  std::string group;
  std::vector<std::string> labels;   // What the server's gate policy goes by.
  int priority = 0;                  // -100 to 100; higher first. A request may give another one.
  ConcurrencySpec concurrency;
  TriggersSpec triggers;
  ParamsSpec params;
  std::vector<MaterialSpec> materials;
  std::vector<EnvironmentSpec> environments;
  std::vector<StageSpec> stages;     // In the order of the file.
  // The texts of the files that runtimes are made from, by path. Only a run's definition has them, so that a package
  // can be started where its repository is not.
  std::map<std::string, std::string> files;

  const StageSpec* FindStage(std::string_view stage) const;
  const MaterialSpec* FindMaterial(std::string_view material) const;
  const EnvironmentSpec* FindEnvironment(std::string_view environment) const;
};

// The two halves of "stage.output"; `output` is empty when there is no dot (a material).
struct Reference {
  std::string_view stage;
  std::string_view output;
};
Reference ParseReference(std::string_view from);

// Returns every "stage.output" or material that `stage` reads: inputs, the subjects of its rules
// that are neither its own outputs nor the names of its inputs, its package and its probes; each
// once, sorted.
std::vector<std::string> ReferencesOf(const StageSpec& stage);

}  // namespace cd4ml::core
