// Answers to operators, from committed facts; the loop is asked only for what is not stored.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "caretaker.h"
#include "cd4ml/daemon/daemon.h"
#include "log_hub.h"
#include "loop.h"
#include "orchestrator.h"

namespace cd4ml::daemon {

// Returns NOT_FOUND with what might have been meant.
absl::Status UnknownPipeline(const std::string& name, const std::vector<std::string>& known);

class Queries : public QueryApi {
 public:
  Queries(const Settings& settings, const Ports& ports, Loop& loop, Orchestrator& orchestrator, LogHub& hub,
          const Caretaker& caretaker, UtcTime started);
  ~Queries() override;

  // Tells watchers that these runs have changed. Called by the loop after a commit; never blocks.
  void Changed(const std::set<core::RunId>& runs);

  // Adds what is known of the artifact store. Set before the first question.
  std::function<void(ServerFacts&)> describe_storage = [](ServerFacts&) {};

  // Returns the id that "pipeline/12", "pipeline/latest" or "pipeline/latest-passed" means.
  absl::StatusOr<core::RunId> Resolve(const std::string& run);

  absl::StatusOr<ServerFacts> GetServer() override;
  absl::StatusOr<RunView> GetRun(const std::string& run) override;
  absl::StatusOr<std::vector<RunSummary>> ListRuns(const RunFilter& filter) override;
  absl::StatusOr<std::unique_ptr<Subscription>> WatchRun(const std::string& run,
                                                         std::function<void(RunView)> on_change,
                                                         std::function<void(absl::Status)> on_end) override;
  absl::StatusOr<LogChunk> ReadLog(const core::AttemptId& attempt, int64_t offset, bool follow) override;
  absl::StatusOr<std::vector<PipelineRecord>> ListPipelines() override;
  absl::StatusOr<PipelineRecord> GetPipeline(const std::string& name) override;
  absl::StatusOr<std::vector<AgentView>> ListAgents() override;
  absl::StatusOr<std::vector<core::Deployment>> ListDeployments(const std::string& environment, UtcTime at,
                                                                int limit) override;
  absl::StatusOr<std::vector<MonitorView>> ListMonitors(int checks) override;
  absl::StatusOr<LineageGraph> TraceLineage(const std::string& reference, LineageDirection direction,
                                            int depth_max) override;
  absl::StatusOr<Impact> FindImpact(const std::string& reference) override;
  absl::StatusOr<RunComparison> CompareRuns(const std::string& before, const std::string& after,
                                            core::Compared compared) override;
  absl::StatusOr<core::Reproduction> JudgeReproduction(const std::string& run, std::optional<double> tolerance) override;
  absl::StatusOr<std::string> ExportDocument(const std::string& reference, DocumentKind kind) override;

 private:
  struct Watch {
    core::RunId run;
    std::function<void(RunView)> on_change;
    std::function<void(absl::Status)> on_end;
    std::mutex calling;                 // Held while a callback runs, so that unsubscribing can wait for it.
    bool over = false;                  // Guarded by `calling`.
  };
  class Watcher;                        // The Subscription.

  absl::StatusOr<RunView> View(const core::RunId& run);
  std::map<std::string, bool> GoalsOf(const core::Pins& pins);
  absl::StatusOr<std::vector<std::string>> ChangedPaths(const core::Pins& before, const core::Pins& after);
  void Notify(std::stop_token stop);
  void Tell(Watch& watch);

  const Settings& settings_;
  Ports ports_;
  Loop& loop_;
  Orchestrator& orchestrator_;          // Touched on the loop only, through Ask.
  LogHub& hub_;
  const Caretaker& caretaker_;
  UtcTime started_;
  std::mutex mutex_;                    // Guards changed_ and watches_.
  std::condition_variable_any wake_;
  std::set<core::RunId> changed_;
  std::multimap<core::RunId, std::shared_ptr<Watch>> watches_;
  std::jthread notifier_;
};

}  // namespace cd4ml::daemon
