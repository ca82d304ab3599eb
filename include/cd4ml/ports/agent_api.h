// The lease protocol between daemon and agents: states, not commands.
//
// The daemon tells an agent the complete list of leases and services that it should hold; the agent converges
// and reports the complete list of what it holds. Lost, repeated and reordered messages are harmless.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/run.h"
#include "cd4ml/ports/done.h"
#include "cd4ml/ports/state_store.h"

namespace cd4ml {

constexpr int kAgentProtocol = 1;

struct AgentHello {
  int protocol = kAgentProtocol;
  std::string name;                    // Unique among agents; [a-z0-9][a-z0-9_-]{0,62}.
  std::string instance;                // Made once per state directory.
  std::string host;
  std::string version;
  std::vector<std::string> labels;
  int slots = 1;
  core::Resources resources;           // What its stages may take together.
  Value facts;
};

struct SessionGrant {
  std::string session;                 // Supersedes every older session of this agent.
  Duration heartbeat{5'000};           // Report at least this often.
  Duration ttl{30'000};                // Silent for longer: its attempts are lost.
  std::string blob_dir;                // The daemon's blob store; usable as a path on the same host only.
  std::string blob_nonce;              // Content of `blob_dir`/nonce: proves that it is the same folder.
  std::string store;                   // Names the daemon's database: attempts of another one mean nothing here.
};

// An artifact that a stage reads, and where its producer wrote it.
struct TaskInput {
  ArtifactRef artifact;
  std::string path;                    // Producer's path; empty for materials.
  std::string identity;                // Version id, for messages and lineage.
  std::optional<ArtifactRef> profile;  // Datasets: the table profile made when they were accepted.
};

// What a stage may be compared with.
struct TaskBaseline {
  std::string identity;
  ArtifactRef profile;                 // Of a table; its digest is empty when there is none.
  std::map<std::string, double> metrics;   // Of a gate that has judged before.
};

// A live service that an agent must keep up.
struct ServiceTask {
  std::string deployment;
  std::string environment;
  std::string pipeline;
  std::string stage;
  Digest definition;
  ArtifactRef package;
  std::string package_path;                          // Producer's path of the package.
  std::string endpoint;                              // With the port that it must listen on.
  std::string model_digest;
};

// Everything an agent needs to perform one attempt. The stage's definition is read from the blob `definition`.
struct Task {
  core::AttemptId attempt;
  std::string pipeline;
  std::string lane;
  std::string repo, commit;
  Digest definition;
  Value params;
  Duration timeout{0};
  core::Resources resources;
  std::map<std::string, TaskInput> inputs;           // By reference: "train.model", "listings".
  // By `versus`: "champion.train_data"; "last_accepted.clean" for a table of a data gate; "last_passed", "champion" and
  // "run:ID" for the metrics of a model gate.
  std::map<std::string, TaskBaseline> baselines;
  std::vector<core::Override> overrides;             // In force for this stage.
  UtcTime created_at;                                // When the run was asked for: what is fresh is so by this.
  std::optional<ArtifactRef> champion;               // The live package of the gate's environment.
  std::string champion_deployment;
  std::optional<ServiceTask> champion_service;       // Model gates: what made it live.
  // Deploys:
  std::string deployment;                            // Id of the deployment to be made.
  std::string environment, target;                   // Target: URL or empty.
  std::string model_digest;                          // Of the model inside the package, if known.
};

using TaskPtr = std::shared_ptr<const Task>;

// What one agent should hold now.
struct DesiredState {
  int64_t revision = 0;                              // Grows with every change for this agent.
  std::vector<TaskPtr> leases;                       // None is null.
  std::vector<ServiceTask> services;
};

struct HeldLease {
  core::AttemptId attempt;
  bool started = false;                              // Its command (or built-in work) has begun.
  core::Resources resources;                         // As its task said.
};

struct HeldService {
  std::string deployment;
  bool running = false;
  int restarts = 0;
};

// What one agent holds now: complete, every time.
struct AgentReport {
  std::vector<HeldLease> held;
  std::vector<HeldService> services;
  bool draining = false;
  std::string trouble;              // Why it cannot begin anything now, like a full disk; empty: it can.
};

// Implemented by the daemon, and by rpc::AgentClient on the agent's side.
class AgentApi {
 public:
  virtual ~AgentApi() = default;

  // Opens a session. `on_desired` is called with the present desired state right after `done` and whenever it
  // changes; `on_lost` once, when the session cannot go on (connection lost, superseded): open another one.
  // FAILED_PRECONDITION: protocol version not supported, names the supported ones.
  virtual void OpenSession(AgentHello hello, std::function<void(DesiredState)> on_desired,
                           std::function<void(absl::Status)> on_lost, Done<SessionGrant> done) = 0;

  // Tells what the agent holds; also the heartbeat. NOT_FOUND: the session is over.
  virtual void Report(std::string session, AgentReport report, DoneStatus done) = 0;

  // Appends to an attempt's log at `offset`; repeating is harmless. Answers the log's size. ABORTED: stale attempt.
  virtual void AppendLog(std::string session, core::AttemptId attempt, int64_t offset, std::string bytes,
                         Done<int64_t> done) = 0;

  // Reports an attempt's result; repeating is harmless. Answers the revision of the desired state that no longer
  // holds the lease (and holds the service, for a deploy). ABORTED: stale attempt, drop it.
  virtual void Finish(std::string session, core::AttemptId attempt, core::Outcome outcome,
                      Done<int64_t> done) = 0;

  // Hands in predictions of a live service, at most 1,000; known keys are left as they are. Answers how many were new.
  virtual void RecordPredictions(std::string deployment, std::vector<PredictionRecord> predictions,
                                 Done<int64_t> done) = 0;

  virtual void CloseSession(std::string session, DoneStatus done) = 0;
};

}  // namespace cd4ml
