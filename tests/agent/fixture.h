// An agent with a real keeper, blob store and parser, and a daemon, a repository and tables that
// tests control.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cd4ml/agent/agent.h"
#include "cd4ml/os/os.h"
#include "tests/support/temp_dir.h"

namespace cd4ml::agent {

// The daemon's side of the lease protocol. Thread-safe.
class FakeDaemon : public AgentApi {
 public:
  // --- for tests ---
  void Want(Task task);
  void Unwant(const core::AttemptId& attempt);
  void WantServices(std::vector<ServiceTask> services);
  // While it is away every call fails and open sessions break.
  void SetAway(bool away);
  void Accept();  // No longer refuses.
  // Forgets everything that it desired and knew.
  void Wipe();
  // Refuses everything about an attempt as stale.
  void Forbid(const core::AttemptId& attempt);

  // Waits for an attempt's outcome; fails the test when none comes.
  core::Outcome Outcome(const core::AttemptId& attempt);
  bool HasOutcome(const core::AttemptId& attempt);
  int Finishes(const core::AttemptId& attempt);
  std::string Log(const core::AttemptId& attempt);
  std::vector<PredictionRecord> Predictions();
  bool WaitForPredictions(size_t count);
  bool WaitForLog(const core::AttemptId& attempt, const std::string& log);
  AgentReport LastReport();
  int sessions();
  AgentHello hello();
  // Waits until `holds` does, which is asked under the lock after every call.
  bool WaitFor(const std::function<bool()>& holds);
  bool WaitUntilStarted(const core::AttemptId& attempt);

  size_t log_max = size_t{1} << 30;  // To be set before, too: what a log may hold.
  SessionGrant grant;                // To be set before the agent starts.
  absl::Status refusal;              // To be set before, too: what opening a session is answered with.
  int refused = 0;                   // How often it was.

  // --- AgentApi ---
  void OpenSession(AgentHello hello, std::function<void(DesiredState)> on_desired,
                   std::function<void(absl::Status)> on_lost, Done<SessionGrant> done) override;
  void Report(std::string session, AgentReport report, DoneStatus done) override;
  void AppendLog(std::string session, core::AttemptId attempt, int64_t offset, std::string bytes,
                 Done<int64_t> done) override;
  void Finish(std::string session, core::AttemptId attempt, core::Outcome outcome,
              Done<int64_t> done) override;
  void RecordPredictions(std::string deployment, std::vector<PredictionRecord> predictions,
                         Done<int64_t> done) override;
  void CloseSession(std::string session, DoneStatus done) override;

 private:
  void Push();
  // A deployed service is desired from the same revision on that no longer holds the lease.
  void Deployed(const core::AttemptId& attempt, const core::StartedService& service);
  absl::Status Check(const std::string& session);

  std::mutex mutex_;  // Guards all below.
  std::condition_variable changed_;
  bool away_ = false;
  int sessions_ = 0;
  std::string session_;
  AgentHello hello_;
  std::function<void(DesiredState)> on_desired_;
  std::function<void(absl::Status)> on_lost_;
  DesiredState desired_;
  AgentReport report_;
  std::set<core::AttemptId> forbidden_;
  std::map<core::AttemptId, core::Outcome> outcomes_;
  std::map<core::AttemptId, int> finishes_;
  std::map<core::AttemptId, std::string> logs_;
  std::map<std::string, PredictionRecord> predictions_;
};

// A repository that is a map of files.
class FakeRepos : public SourceRepoOpener {
 public:
  absl::StatusOr<std::unique_ptr<SourceRepo>> Open(const std::string& location) override;

  std::map<std::string, std::string> files;
  std::map<std::string, std::string> links;  // Symbolic links: path to target.
};

// Everything around one agent, which may be stopped and started again on the same state.
class World {
 public:
  World();
  ~World();

  // Starts the agent, or another one after Stop.
  void Start();
  // Ends the agent as SIGTERM does; processes go on.
  void Stop();
  void Drain();
  // Waits until a draining agent has ended by itself.
  void AwaitEnd() { thread_.join(); }

  // Makes a task of one stage of a definition (YAML).
  Task TaskOf(const std::string& definition, const std::string& stage, int number = 1);
  // Has the agent perform a task and returns its outcome.
  core::Outcome Perform(const Task& task);
  // Stores bytes or a folder as an artifact.
  ArtifactRef Store(std::string_view bytes);
  ArtifactRef StoreTree(const std::string& dir);
  std::string Bytes(const ArtifactRef& artifact);

  // Waits until a file is there.
  bool WaitForFile(const std::string& path);
  // Waits a moment for what tells nobody that it has happened.
  static void Pause();
  std::vector<ProcessStatus> Processes();

  TempDir dir;
  FakeDaemon daemon;
  FakeRepos repos;
  std::unique_ptr<Clock> clock;
  std::unique_ptr<PipelineParser> parser;
  std::unique_ptr<BlobStore> blobs;  // The daemon's.
  AgentConfig config;
  std::function<std::unique_ptr<HttpClient>()> http_client;
  std::function<std::unique_ptr<HttpClient>()> load_client;  // Without, the same.
  GrpcConnector grpc_method;
  bool same_host = true;   // The agent may use the daemon's folder.
  ReadWatcher watch_reads;
  absl::Status no_tables;  // When not OK: why there is no table engine.

 private:
  std::unique_ptr<ProcessRunner> processes_;
  std::unique_ptr<Agent> agent_;
  std::jthread thread_;
};

// Speaks HTTP/1.1 over a plain socket, one connection for each request.
std::unique_ptr<HttpClient> MakeSocketClient();

}  // namespace cd4ml::agent
