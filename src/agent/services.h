// The live services of this agent: what should run, what does, and the files of each.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agent/tools.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/run.h"

namespace cd4ml::agent {

// Returns what names an environment: two pipelines may each have a "production". The functions
// below mean it by `environment`.
std::string EnvironmentKey(const std::string& pipeline, const std::string& environment);
inline std::string EnvironmentKey(const Task& task) {
  return EnvironmentKey(task.pipeline, task.environment);
}
inline std::string EnvironmentKey(const ServiceTask& service) {
  return EnvironmentKey(service.pipeline, service.environment);
}

// Where a service keeps what.
struct ServicePaths {
  std::string dir;  // <state>/services/<key>

  std::string record() const { return dir + "/service.json"; }
  std::string package() const { return dir + "/package"; }
  std::string log() const { return dir + "/log"; }
  std::string predictions() const { return dir + "/predictions.jsonl"; }
  std::string retired() const { return dir + "/retired"; }  // Its presence says so.
  std::string offset() const { return dir + "/predictions.offset"; }
};

// Thread-safe. One thread makes the services what the daemon wants them to be, except in
// environments that a deploy has claimed: there the deploy starts and stops, until the daemon has
// said what follows from it.
class Services {
 public:
  // Finds what an earlier agent kept. `on_change` is called from any thread when Held would say
  // something new.
  Services(const Tools& tools, std::function<void()> on_change);
  // Stops looking after the services; they go on.
  ~Services();

  void SetDesired(int64_t revision, std::vector<ServiceTask> services);
  // A deploy has the environment to itself from now on.
  void Claim(const core::AttemptId& deploy, const std::string& environment);
  // Its claim ends with the first desired state of at least this revision.
  void Release(const core::AttemptId& deploy, int64_t revision);
  // Revisions of another session begin anew.
  void OnSession();

  std::vector<HeldService> Held();

  // --- for the deploy that has claimed the environment ---

  // Waits until nothing else is being done to the environment, or `quit`.
  void AwaitTurn(const std::string& environment, const std::stop_token& quit);
  std::optional<ServiceTask> Find(const std::string& deployment);
  // Returns the service in the environment that is not `deployment`; the one that should run, when
  // there are several.
  std::optional<ServiceTask> Other(const std::string& environment, const std::string& deployment);
  // Makes the service's folder with its package, unless it is there.
  absl::Status Place(const ServiceTask& service, const std::stop_token& halt);
  // Returns the stage that deployed it, from the definition that it was deployed with.
  absl::StatusOr<core::StageSpec> StageOf(const ServiceTask& service,
                                          const std::stop_token& halt) const;
  // Starts it unless it runs.
  absl::Status Start(const ServiceTask& service, const std::stop_token& halt);
  // Ends its process and keeps its files.
  void Stop(const std::string& deployment, const std::stop_token& halt);
  // Lets the service go: its files vanish when its predictions have been handed in.
  void Retire(const std::string& deployment);

  // --- for the predictions ---

  struct Feed {
    std::string deployment;
    ServicePaths paths;
    bool retired = false;
  };
  std::vector<Feed> Feeds();
  // Removes a retired service's files; no longer retired ones stay.
  void Remove(const std::string& deployment);

  ServicePaths PathsOf(const std::string& deployment) const;
  static std::string ProcessOf(const std::string& deployment);
  // Returns whether a process is that of a service.
  static bool IsProcess(const std::string& id);

 private:
  struct Service {
    ServiceTask task;
    bool retired = false;
    HeldService held;
  };

  struct Claimed {
    std::string environment;
    std::optional<int64_t> until;  // The revision that ends it, once known.
  };

  bool IsClaimed(const std::string& environment) const;
  void Load();
  void Run(std::stop_token stop);
  void Reconcile(const std::string& environment, const std::stop_token& stop);
  void Refresh();
  std::map<std::string, std::string> EnvOf(const ServiceTask& service,
                                           const core::StageSpec& stage) const;
  void Change() { changed_ = true, wake_.notify_all(); }

  const Tools& tools_;
  const std::function<void()> on_change_;
  std::mutex mutex_;  // Guards all below but the thread.
  std::condition_variable_any wake_;
  bool changed_ = false;
  std::map<std::string, Service> services_;  // By deployment.
  std::optional<std::vector<ServiceTask>> desired_;
  int64_t revision_ = 0;
  std::map<core::AttemptId, Claimed> claims_;  // By deploy.
  std::string busy_;                           // The environment that is being reconciled.
  std::jthread thread_;                        // Last: it uses the others.
};

}  // namespace cd4ml::agent
