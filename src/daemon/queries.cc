// Reading for operators.
#include "queries.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "definitions.h"
#include "documents.h"

namespace cd4ml::daemon {
namespace {

constexpr int64_t kLogChunkMax = 256 << 10;
constexpr size_t kQuarantinedMax = 50;
constexpr Duration kFollow{2'000};      // How long a follower waits before it asks again.

// Returns the overrides by which gates of a run passed; of a run that cannot be read, that nobody knows.
std::vector<core::Override> OverridesOf(const absl::StatusOr<core::Run>& run) {
  if (!run.ok()) return {{.rule = "?", .by = "?", .reason = Message(run.status()), .at = {}, .expires = {}}};
  std::vector<core::Override> overrides;
  for (const core::StageRun& stage : run->stages) {
    const core::Outcome* result = stage.result();
    if (result == nullptr || !result->verdict) continue;
    for (core::Override one : result->verdict->overrides) {
      one.rule = stage.plan.name + "." + one.rule;
      overrides.push_back(std::move(one));
    }
  }
  return overrides;
}

}  // namespace

// Ends the watch when destroyed, after a callback that is running has returned.
class Queries::Watcher : public Subscription {
 public:
  Watcher(Queries& queries, std::shared_ptr<Watch> watch) : queries_(queries), watch_(std::move(watch)) {}
  ~Watcher() override {
    {
      std::lock_guard lock(queries_.mutex_);
      std::erase_if(queries_.watches_, [&](const auto& entry) { return entry.second == watch_; });
    }
    std::lock_guard calling(watch_->calling);
    watch_->over = true;
  }

 private:
  Queries& queries_;
  std::shared_ptr<Watch> watch_;
};

Queries::Queries(const Settings& settings, const Ports& ports, Loop& loop, Orchestrator& orchestrator, LogHub& hub,
                 const Caretaker& caretaker, UtcTime started)
    : settings_(settings),
      ports_(ports),
      loop_(loop),
      orchestrator_(orchestrator),
      hub_(hub),
      caretaker_(caretaker),
      started_(started),
      notifier_([this](std::stop_token stop) { Notify(stop); }) {}

Queries::~Queries() = default;

absl::StatusOr<ServerFacts> Queries::GetServer() {
  ServerFacts facts{.version = settings_.version,
                    .instance = settings_.instance,
                    .state_dir = settings_.state_dir,
                    .database = settings_.database,
                    .started = started_,
                    .read_only = "",
                    .quarantined = {},
                    .scrubbed = caretaker_.last().ended,
                    .damage = caretaker_.last().damage,
                    .signing_key = ports_.signer == nullptr ? "" : ports_.signer->public_key()};
  describe_storage(facts);
  std::tie(facts.read_only, facts.quarantined) =
      loop_.Ask<std::pair<std::string, std::vector<std::string>>>([this] {
        std::vector<std::string> quarantined = orchestrator_.quarantined();
        const size_t count = quarantined.size();
        if (count > kQuarantinedMax) {
          quarantined.resize(kQuarantinedMax);
          quarantined.push_back("and " + std::to_string(count - kQuarantinedMax) + " more, see the daemon's log");
        }
        return std::pair(Message(orchestrator_.read_only()), std::move(quarantined));
      });
  return facts;
}

absl::StatusOr<core::RunId> Queries::Resolve(const std::string& run) {
  const size_t slash = run.find('/');
  if (slash == std::string::npos) {
    return absl::InvalidArgumentError("\"" + run + "\" names no run; write PIPELINE/NUMBER or PIPELINE/latest");
  }
  const std::string pipeline = run.substr(0, slash);
  const std::string which = run.substr(slash + 1);
  if (which != "latest" && which != "latest-passed") return run;
  RunFilter filter;
  filter.pipeline = pipeline;
  filter.limit = 1;
  if (which == "latest-passed") filter.state = core::RunState::kSucceeded;
  CD4ML_ASSIGN_OR_RETURN(const std::vector<RunSummary> runs, ports_.history.ListRuns(filter));
  if (runs.empty()) {
    CD4ML_RETURN_IF_ERROR(GetPipeline(pipeline).status());
    return absl::NotFoundError("pipeline \"" + pipeline + "\" has no " +
                               (which == "latest" ? std::string("run yet") : std::string("run that passed")));
  }
  return runs.front().id;
}

absl::StatusOr<RunView> Queries::View(const core::RunId& id) {
  CD4ML_ASSIGN_OR_RETURN(core::Run run, ports_.history.GetRun(id));
  RunView view{.run = std::move(run), .waiting = {}, .queued_behind = {}};
  if (!core::IsTerminal(view.run.state)) {
    view.waiting = loop_.Ask<std::map<std::string, std::string>>([this, id] { return orchestrator_.Waiting(id); });
    view.queued_behind = loop_.Ask<std::string>([this, id] { return orchestrator_.QueuedBehind(id); });
  }
  return view;
}

absl::StatusOr<RunView> Queries::GetRun(const std::string& run) {
  CD4ML_ASSIGN_OR_RETURN(const core::RunId id, Resolve(run));
  return View(id);
}

absl::StatusOr<std::vector<RunSummary>> Queries::ListRuns(const RunFilter& filter) {
  if (!filter.pipeline.empty()) CD4ML_RETURN_IF_ERROR(GetPipeline(filter.pipeline).status());
  return ports_.history.ListRuns(filter);
}

absl::StatusOr<std::unique_ptr<Subscription>> Queries::WatchRun(const std::string& run,
                                                                std::function<void(RunView)> on_change,
                                                                std::function<void(absl::Status)> on_end) {
  CD4ML_ASSIGN_OR_RETURN(const core::RunId id, Resolve(run));
  CD4ML_RETURN_IF_ERROR(ports_.history.GetRun(id).status());
  auto watch = std::make_shared<Watch>();
  watch->run = id;
  watch->on_change = std::move(on_change);
  watch->on_end = std::move(on_end);
  {
    std::lock_guard lock(mutex_);
    watches_.emplace(id, watch);
    changed_.insert(id);  // The first view comes like any other.
  }
  wake_.notify_one();
  return std::make_unique<Watcher>(*this, std::move(watch));
}

void Queries::Changed(const std::set<core::RunId>& runs) {
  {
    std::lock_guard lock(mutex_);
    if (!watches_.empty()) changed_.insert(runs.begin(), runs.end());
  }
  wake_.notify_one();
  hub_.Wake();
}

void Queries::Notify(std::stop_token stop) {
  while (true) {
    std::vector<std::shared_ptr<Watch>> watches;
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [this] { return !changed_.empty(); })) return;
      for (const core::RunId& run : std::exchange(changed_, {})) {
        const auto [begin, end] = watches_.equal_range(run);
        for (auto it = begin; it != end; ++it) watches.push_back(it->second);
      }
    }
    for (const std::shared_ptr<Watch>& watch : watches) Tell(*watch);
  }
}

void Queries::Tell(Watch& watch) {
  absl::StatusOr<RunView> view = View(watch.run);
  std::lock_guard calling(watch.calling);
  if (watch.over) return;
  if (!view.ok()) {
    watch.over = true;
    return watch.on_end(view.status());
  }
  const bool ended = core::IsTerminal(view->run.state);
  watch.on_change(*std::move(view));
  if (ended) {
    watch.over = true;
    watch.on_end(absl::OkStatus());
  }
}

absl::StatusOr<LogChunk> Queries::ReadLog(const core::AttemptId& asked, int64_t offset, bool follow) {
  core::AttemptId attempt = asked;
  CD4ML_ASSIGN_OR_RETURN(attempt.run, Resolve(asked.run));
  for (bool waited = false;; waited = true) {
    const uint64_t seen = hub_.Version();
    CD4ML_ASSIGN_OR_RETURN(const core::Run run, ports_.history.GetRun(attempt.run));
    const core::StageRun* stage = run.FindStage(attempt.stage);
    if (stage == nullptr) {
      std::vector<std::string> names;
      for (const core::StageRun& known : run.stages) names.push_back(known.plan.name);
      return absl::NotFoundError("run " + run.id + " has no stage \"" + attempt.stage + "\"" +
                                 DidYouMean(attempt.stage, names));
    }
    if (stage->carried.has_value() && stage->carried->from.number > 0) {
      // What this run took over was said in the run that made it.
      attempt = {stage->carried->from.run, stage->carried->from.stage, asked.number};
      continue;
    }
    const int count = static_cast<int>(stage->attempts.size());
    if (asked.number > count) {
      return absl::NotFoundError("stage " + run.id + "/" + attempt.stage + " has " + std::to_string(count) +
                                 " attempts, no number " + std::to_string(asked.number));
    }
    attempt.number = asked.number == 0 ? count : asked.number;
    LogChunk chunk{.offset = offset, .bytes = "", .end = core::IsTerminal(stage->state)};
    if (attempt.number > 0) {
      CD4ML_ASSIGN_OR_RETURN(chunk.bytes, ports_.logs.Read(core::ToText(attempt), offset, kLogChunkMax));
      const core::Attempt& found = stage->attempts[static_cast<size_t>(attempt.number) - 1];
      chunk.end = core::IsTerminal(found.state) && chunk.bytes.empty();
    }
    if (!chunk.bytes.empty() || chunk.end || !follow || waited) return chunk;
    hub_.Wait(seen, kFollow);
  }
}

absl::StatusOr<std::vector<PipelineRecord>> Queries::ListPipelines() {
  return loop_.Ask<std::vector<PipelineRecord>>([this] {
    std::vector<PipelineRecord> pipelines;
    for (const auto& [name, pipeline] : orchestrator_.pipelines()) pipelines.push_back(pipeline);
    return pipelines;
  });
}

absl::StatusOr<PipelineRecord> Queries::GetPipeline(const std::string& name) {
  CD4ML_ASSIGN_OR_RETURN(const std::vector<PipelineRecord> pipelines, ListPipelines());
  std::vector<std::string> names;
  for (const PipelineRecord& pipeline : pipelines) {
    if (pipeline.name == name) return pipeline;
    names.push_back(pipeline.name);
  }
  return UnknownPipeline(name, names);
}

absl::StatusOr<std::vector<AgentView>> Queries::ListAgents() {
  return loop_.Ask<std::vector<AgentView>>([this] { return orchestrator_.Agents(); });
}

absl::StatusOr<std::vector<core::Deployment>> Queries::ListDeployments(const std::string& environment, UtcTime at,
                                                                       int limit) {
  CD4ML_ASSIGN_OR_RETURN(std::vector<core::Deployment> deployments, ports_.history.ListDeployments(environment, at, limit));
  std::map<core::RunId, std::vector<core::Override>> overrides;
  for (core::Deployment& deployment : deployments) {
    const auto [entry, is_new] = overrides.try_emplace(deployment.run);
    if (is_new) entry->second = OverridesOf(ports_.history.GetRun(deployment.run));
    deployment.overrides = entry->second;
  }
  return deployments;
}

absl::StatusOr<std::vector<MonitorView>> Queries::ListMonitors(int checks) {
  const auto states = loop_.Ask<std::map<std::string, core::MonitorState>>([this] { return orchestrator_.monitors(); });
  std::vector<MonitorView> views;
  for (const auto& [id, state] : states) {
    CD4ML_ASSIGN_OR_RETURN(std::vector<MonitorCheckRecord> records, ports_.history.MonitorChecks(id, checks));
    views.push_back({.monitor = state, .checks = std::move(records)});
  }
  return views;
}

absl::StatusOr<LineageGraph> Queries::TraceLineage(const std::string& reference, LineageDirection direction,
                                                   int depth_max) {
  return ports_.history.TraceLineage(reference, direction, depth_max);
}

absl::StatusOr<Impact> Queries::FindImpact(const std::string& reference) {
  return ports_.history.FindImpact(reference);
}

absl::StatusOr<RunComparison> Queries::CompareRuns(const std::string& before, const std::string& after,
                                                   core::Compared compared) {
  RunComparison comparison;
  CD4ML_ASSIGN_OR_RETURN(comparison.before, Resolve(before));
  CD4ML_ASSIGN_OR_RETURN(comparison.after, Resolve(after));
  CD4ML_ASSIGN_OR_RETURN(const core::Run then, ports_.history.GetRun(comparison.before));
  CD4ML_ASSIGN_OR_RETURN(const core::Run now, ports_.history.GetRun(comparison.after));
  comparison.differences = core::CompareRuns(then, now, GoalsOf(now.pins), compared);
  if (then.pins.commit == now.pins.commit) return comparison;
  absl::StatusOr<std::vector<std::string>> paths = ChangedPaths(then.pins, now.pins);
  if (paths.ok()) {
    comparison.changed_paths = *std::move(paths);
  } else {
    comparison.paths_unknown = Message(paths.status());
  }
  return comparison;
}

absl::StatusOr<core::Reproduction> Queries::JudgeReproduction(const std::string& run, std::optional<double> tolerance) {
  CD4ML_ASSIGN_OR_RETURN(const core::RunId id, Resolve(run));
  CD4ML_ASSIGN_OR_RETURN(const core::Run rebuilt, ports_.history.GetRun(id));
  if (rebuilt.trigger.kind != core::TriggerKind::kReproduce) {
    return absl::FailedPreconditionError("run " + id + " reproduces no other run");
  }
  CD4ML_ASSIGN_OR_RETURN(const core::Run original, ports_.history.GetRun(rebuilt.retry_of));
  return core::JudgeReproduction(original, rebuilt, tolerance);
}

// Whether higher is better, by "stage.metric". A definition that is no longer kept has no goals.
std::map<std::string, bool> Queries::GoalsOf(const core::Pins& pins) {
  std::map<std::string, bool> goals;
  const absl::StatusOr<std::string> text = ReadBlob(ports_.blobs, pins.definition, kDefinitionSizeMax);
  if (!text.ok()) return goals;
  const ParsedPipeline parsed = ports_.parser.Parse(*text, pins.file, nullptr);
  for (const core::StageSpec& stage : parsed.spec.stages) {
    for (const auto& [metric, higher] : stage.goals) goals[stage.name + "." + metric] = higher;
  }
  return goals;
}

absl::StatusOr<std::vector<std::string>> Queries::ChangedPaths(const core::Pins& before, const core::Pins& after) {
  if (before.repo != after.repo) return absl::FailedPreconditionError("the runs are from different repositories");
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<SourceRepo> repo, ports_.repos.Open(after.repo));
  return repo->ChangedPaths(before.commit, after.commit);
}

absl::StatusOr<std::string> Queries::ExportDocument(const std::string& reference, DocumentKind kind) {
  return MakeDocument(ports_.history, ports_.signer, reference, kind);
}

absl::Status UnknownPipeline(const std::string& name, const std::vector<std::string>& known) {
  std::string message = "there is no pipeline \"" + name + "\"" + DidYouMean(name, known);
  if (known.empty()) message += "; none is registered yet: cd4ml pipeline add REPOSITORY";
  return absl::NotFoundError(message);
}

}  // namespace cd4ml::daemon
