// The assembly: threads, and the doors to the loop.
#include "cd4ml/daemon/daemon.h"

#include <algorithm>
#include <map>
#include <utility>

#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "asked.h"
#include "caretaker.h"
#include "definitions.h"
#include "gates.h"
#include "log_hub.h"
#include "loop.h"
#include "orchestrator.h"
#include "policies.h"
#include "pool.h"
#include "queries.h"
#include "run_starter.h"
#include "storage.h"
#include "watcher.h"

namespace cd4ml::daemon {
namespace {

constexpr int kPoolThreads = 2;
constexpr size_t kPredictionsPerCall = 1'000;

// Triggers whose definition or data is being read; more are refused.
constexpr int kPreparingMax = 1'000;

// What is taken of one log, and of all, while the disk is full.
constexpr int64_t kLogWhileFull = 16 << 10;
constexpr int64_t kLogsWhileFull = 256 << 10;

absl::Status Full() {
  return absl::ResourceExhaustedError("the daemon has too many requests waiting; try again in a second");
}

class DaemonImpl : public Daemon, private ControlApi, private AgentApi {
 public:
  DaemonImpl(Settings settings, Ports ports)
      : settings_(std::move(settings)),
        ports_(std::move(ports)),
        definitions_(ports_.blobs, ports_.parser),
        policies_(settings_.gate_policy, ports_.files, ports_.parser),
        starter_(settings_, ports_, policies_),
        orchestrator_(settings_, ports_.store, ports_.history, MakeHooks()),
        loop_(settings_.inbox_max, MakeTurn()),
        storage_(settings_, ports_, [this](Change change, DoneStatus done) {
          loop_.Post([this, change = std::move(change), done = std::move(done)]() mutable {
            orchestrator_.Record(std::move(change), std::move(done));
          });
        }),
        queries_(settings_, ports_, loop_, orchestrator_, hub_, caretaker_, ports_.clock.Now()) {
    queries_.describe_storage = [this](ServerFacts& facts) { storage_.Describe(facts); };
  }

  ~DaemonImpl() override {
    // The pool's results are posted to the loop, so the loop must outlive it; it takes nothing once stopped.
    loop_.Stop();
    const Orchestrator::Steps& steps = orchestrator_.steps();
    LogSteps({{"load", &load_},
              {"wait", &loop_.waits()},
              {"decide", &steps.decide},
              {"assign", &steps.assign},
              {"commit", &steps.commit},
              {"tell", &steps.tell}});
  }

  absl::Status Start() {
    CD4ML_RETURN_IF_ERROR(ReadPolicies());
    const int64_t began = ports_.clock.Ticks();
    CD4ML_RETURN_IF_ERROR(orchestrator_.Load(ports_.clock.Now(), ports_.clock.Steady()));
    load_.Add(ports_.clock.Ticks() - began);
    loop_.Start();
    return absl::OkStatus();
  }

  ControlApi& control() override { return *this; }
  QueryApi& query() override { return queries_; }
  AgentApi& agents() override { return *this; }
  StorageApi& storage() override { return storage_; }
  GateApi& gates() override { return gates_; }
  absl::Status ReadPolicies() override { return Annotate(policies_.Read(), "the gate policy"); }
  void StopUpkeep() override { caretaker_.Stop(); }

 private:
  Orchestrator::Hooks MakeHooks() {
    Orchestrator::Hooks hooks;
    hooks.committed = [this](const std::set<core::RunId>& runs) { queries_.Changed(runs); };
    hooks.prepare = [this](StartRequest request, core::TriggerKind trigger, Done<PreparedRun> done) {
      PrepareInBackground(std::move(request), trigger, std::move(done));
    };
    hooks.check = [this](core::MonitorState monitor, std::optional<TaskBaseline> train_data) {
      pool_.Post([this, monitor = std::move(monitor), train_data = std::move(train_data)] {
        CheckMonitor(monitor, train_data);
      });
    };
    hooks.fail_stop = ports_.fail_stop;
    hooks.is_kept = [this](const ArtifactRef& artifact) { return UseArtifact(ports_.blobs, artifact).ok(); };
    hooks.ticks = [this] { return ports_.clock.Ticks(); };
    return hooks;
  }

  Loop::Turn MakeTurn() {
    return {.begin = [this] { orchestrator_.BeginTurn(ports_.clock.Now(), ports_.clock.Steady()); },
            .end = [this] { orchestrator_.EndTurn(); },
            .next_wait = [this] { return orchestrator_.NextWait(); },
            .ticks = [this] { return ports_.clock.Ticks(); }};
  }

  // --- background work ---

  // Called on the loop; reads git and data in the background; answers on the loop.
  void PrepareInBackground(StartRequest request, core::TriggerKind trigger, Done<PreparedRun> done) {
    const auto pipeline = FindPipeline(request.pipeline);
    if (!pipeline.ok()) return done(pipeline.status());
    if (preparing_ >= kPreparingMax) return done(Full());
    ++preparing_;
    pool_.Post([this, request = std::move(request), trigger, pipeline = *pipeline, done = std::move(done)]() mutable {
      PipelineRecord broken;
      auto prepared = starter_.Prepare(request, trigger, pipeline, &broken);
      if (!prepared.ok() && trigger == core::TriggerKind::kMonitor && !broken.name.empty()) {
        // A bad file in git stops nobody's model from being retrained: the last good revision goes on.
        request.ref = pipeline.good_commit;
        prepared = starter_.Prepare(request, trigger, pipeline, nullptr);
      }
      loop_.Post([this, pipeline, broken, done = std::move(done), prepared = std::move(prepared)]() mutable {
        --preparing_;
        if (!broken.name.empty()) {
          orchestrator_.PutPipelines({broken}, [](const absl::Status&) {});
        } else if (prepared.ok() && (prepared->pipeline.good_commit != pipeline.good_commit ||
                                     !pipeline.problems.empty())) {
          orchestrator_.PutPipelines({prepared->pipeline}, [](const absl::Status&) {});
        }
        if (absl::IsResourceExhausted(prepared.status())) {
          orchestrator_.RunShort();
          if (!orchestrator_.read_only().ok()) return done(orchestrator_.read_only());
        }
        if (!prepared.ok()) return done(prepared.status());
        done(std::move(prepared->run));
      });
    });
  }

  absl::StatusOr<PipelineRecord> FindPipeline(const std::string& name) {
    const auto& pipelines = orchestrator_.pipelines();
    const auto found = pipelines.find(name);
    if (found != pipelines.end()) return found->second;
    std::vector<std::string> known;
    for (const auto& [key, pipeline] : pipelines) known.push_back(key);
    return UnknownPipeline(name, known);
  }

  void CheckMonitor(const core::MonitorState& monitor, const std::optional<TaskBaseline>& train_data) {
    absl::StatusOr<JudgedCheck> check = MeasureMonitor(monitor, train_data, ports_, definitions_);
    if (!check.ok()) {
      // Kept as a verdict, so that a monitor that cannot see is visible and is tried again when it is due.
      LogWarn("monitor could not be measured", {{"monitor", monitor.id()}, {"error", Message(check.status())}});
      JudgedCheck failed;
      failed.monitor = monitor.id();
      failed.deployment = monitor.deployment;
      failed.spec.every = Duration(60'000);
      core::RuleResult result;
      result.name = "measure";
      result.outcome = core::VerdictOutcome::kError;
      result.message = Message(check.status());
      failed.verdict = core::Conclude({result});
      check = std::move(failed);
    }
    loop_.Post([this, check = *std::move(check)]() mutable { orchestrator_.FinishCheck(std::move(check)); });
  }

  template <typename DoneType>
  void Offer(Urgency urgency, DoneType done, std::function<void()> closure) {
    if (!loop_.Offer(urgency, std::move(closure))) done(Full());
  }

  // --- ControlApi ---

  void RegisterPipeline(RegisterRequest request, Done<RegisterResult> done) override {
    pool_.Post([this, request = std::move(request), done = std::move(done)] {
      absl::StatusOr<RegisterResult> result = starter_.Register(request);
      if (!result.ok()) return done(result.status());
      Offer(Urgency::kRequest, done, [this, done, result = *std::move(result)] {
        orchestrator_.PutPipelines(result.pipelines, [done, result](const absl::Status& status) {
          status.ok() ? done(result) : done(status);
        });
      });
    });
  }

  void StartRun(StartRequest request, Done<StartedRun> done) override {
    if (const absl::Status sizes = CheckSizes(request); !sizes.ok()) return done(sizes);
    Offer(Urgency::kBulk, done, [this, request = std::move(request), done]() mutable {
      const Asked asked{request.key, request.pipeline, request.lane.empty() ? kDefaultLane : request.lane, request.params};
      if (orchestrator_.AnswerRepeated(asked, Telling(done, true))) return;
      if (!orchestrator_.read_only().ok()) return done(orchestrator_.read_only());
      PrepareInBackground(std::move(request), core::TriggerKind::kDispatch,
                          [this, done](absl::StatusOr<PreparedRun> prepared) { StartNow(std::move(prepared), done); });
    });
  }

  // Called on the loop. The same key may have been prepared twice at the same time.
  void StartNow(absl::StatusOr<PreparedRun> prepared, const Done<StartedRun>& done) {
    if (!prepared.ok()) return done(prepared.status());
    if (orchestrator_.AnswerRepeated(AskedFor(prepared->command), Telling(done, true))) return;
    orchestrator_.StartRun(*std::move(prepared), Telling(done, false));
  }

  static Done<core::Run> Telling(Done<StartedRun> done, bool already) {
    return [done = std::move(done), already](absl::StatusOr<core::Run> run) {
      if (!run.ok()) return done(run.status());
      done(StartedRun{*std::move(run), already});
    };
  }

  void PlanRun(StartRequest request, Done<PlannedRun> done) override {
    Offer(Urgency::kBulk, done, [this, request = std::move(request), done]() mutable {
      const std::string pipeline = request.pipeline;
      PrepareInBackground(std::move(request), core::TriggerKind::kDispatch,
                          [this, done](absl::StatusOr<PreparedRun> prepared) {
                            if (!prepared.ok()) return done(prepared.status());
                            done(Describe(*prepared));
                          });
    });
  }

  PlannedRun Describe(const PreparedRun& prepared) {
    const core::StartRun& command = prepared.command;
    PlannedRun plan;
    plan.warnings = prepared.warnings;
    plan.pipeline = command.pipeline;
    plan.commit = command.pins.commit;
    plan.commit_subject = command.pins.commit_subject;
    plan.file = command.pins.file;
    plan.stages = command.stages;
    plan.materials = command.pins.materials;
    plan.upstream = command.pins.upstream;
    plan.mixed = command.pins.mixed;
    plan.params = command.pins.params;
    plan.param_sources = command.pins.param_sources;
    plan.definition = command.pins.definition;
    for (const core::StagePlan& stage : command.stages) {
      if (!stage.matrix) plan.agents[stage.name] = orchestrator_.WhoCouldTake(command.pipeline, stage);
    }
    plan.reuse = orchestrator_.WhatWouldBeReused(command);
    return plan;
  }

  void CancelRun(core::RunId run, std::string reason, Done<core::Run> done) override {
    if (const absl::Status size = CheckReason(reason); !size.ok()) return done(size);
    // "pipeline/latest" is looked up in the store, which may block.
    quick_pool_.Post([this, run = std::move(run), reason = std::move(reason), done] {
      const absl::StatusOr<core::RunId> id = queries_.Resolve(run);
      if (!id.ok()) return done(id.status());
      Offer(Urgency::kRequest, done, [this, id = *id, reason, done] {
        orchestrator_.CancelRun(id, reason.empty() ? "cancelled by an operator" : reason, done);
      });
    });
  }

  void RetryRun(RetryRequest request, Done<StartedRun> done) override {
    if (const absl::Status sizes = CheckSizes(request); !sizes.ok()) return done(sizes);
    // What is retried is read from the store, which may block.
    pool_.Post([this, request = std::move(request), done]() mutable {
      const absl::StatusOr<core::RunId> id = queries_.Resolve(request.run);
      if (!id.ok()) return done(id.status());
      absl::StatusOr<core::Run> ended = ports_.history.GetRun(*id);
      if (!ended.ok()) return done(ended.status());
      absl::StatusOr<PreparedRun> prepared = starter_.PrepareRetry(request, *ended);
      StartPrepared(AskedFor(request, *ended), std::move(prepared), done);
    });
  }

  void ReproduceRun(ReproduceRequest request, Done<StartedRun> done) override {
    if (const absl::Status sizes = CheckSizes(request); !sizes.ok()) return done(sizes);
    // All data is read to check it.
    pool_.Post([this, request = std::move(request), done]() mutable {
      const absl::StatusOr<core::RunId> id = queries_.Resolve(request.run);
      if (!id.ok()) return done(id.status());
      absl::StatusOr<core::Run> ended = ports_.history.GetRun(*id);
      if (!ended.ok()) return done(ended.status());
      absl::StatusOr<PreparedRun> prepared = starter_.PrepareReproduction(request, *ended);
      StartPrepared(AskedFor(request, *ended), std::move(prepared), done);
    });
  }

  // A repeated request gives the run that it started, even if it could not be prepared again.
  void StartPrepared(Asked asked, absl::StatusOr<PreparedRun> prepared, Done<StartedRun> done) {
    Offer(Urgency::kBulk, done, [this, asked = std::move(asked), prepared = std::move(prepared), done]() mutable {
      if (!prepared.ok() && orchestrator_.AnswerRepeated(asked, Telling(done, true))) return;
      StartNow(std::move(prepared), done);
    });
  }

  void DrainAgent(std::string agent, bool drained, std::string reason, Done<AgentRecord> done) override {
    if (const absl::Status size = CheckReason(reason); !size.ok()) return done(size);
    Offer(Urgency::kRequest, done, [this, agent = std::move(agent), drained, reason = std::move(reason), done] {
      orchestrator_.DrainAgent(agent, drained, reason, done);
    });
  }

  void BackUp(std::string dir, Done<BackupReport> done) override { caretaker_.BackUp(std::move(dir), std::move(done)); }
  void Scrub(int64_t bytes_per_second, Done<ScrubReport> done) override {
    caretaker_.Scrub(bytes_per_second, std::move(done));
  }

  // --- AgentApi ---

  void OpenSession(AgentHello hello, std::function<void(DesiredState)> on_desired,
                   std::function<void(absl::Status)> on_lost, Done<SessionGrant> done) override {
    Offer(Urgency::kResult, done, [this, hello = std::move(hello), on_desired = std::move(on_desired), on_lost = std::move(on_lost),
                 done]() mutable {
      orchestrator_.OpenSession(std::move(hello), std::move(on_desired), std::move(on_lost), done);
    });
  }

  void Report(std::string session, AgentReport report, DoneStatus done) override {
    Offer(Urgency::kResult, done, [this, session = std::move(session), report = std::move(report), done]() mutable {
      orchestrator_.Report(session, std::move(report), done);
    });
  }

  void AppendLog(std::string session, core::AttemptId attempt, int64_t offset, std::string bytes,
                 Done<int64_t> done) override {
    Offer(Urgency::kRequest, done, [this, session = std::move(session), attempt = std::move(attempt), offset, bytes = std::move(bytes),
                 done]() mutable {
      const absl::Status allowed = orchestrator_.MayAppend(session, attempt);
      if (!allowed.ok()) return done(allowed);
      if (const absl::Status room = LeaveRoom(attempt, offset, bytes); !room.ok()) return done(room);
      // Writing to a log file may block on the disk, so it leaves the loop. The attempt may end meanwhile; what a stale
      // agent can then still bring is the rest of its own attempt's log, because each attempt has a file of its own.
      quick_pool_.Post([this, attempt = std::move(attempt), offset, bytes = std::move(bytes), done] {
        absl::StatusOr<int64_t> size = ports_.logs.Append(core::ToText(attempt), offset, bytes);
        if (absl::IsResourceExhausted(size.status())) loop_.Post([this] { orchestrator_.RunShort(); });
        hub_.Wake();
        done(std::move(size));
      });
    });
  }

  // Called on the loop. While the disk is full, what was held back is for results and cancels: of each log only so much is
  // taken that a short one arrives before its result, which waits for it. The agent keeps the rest and sends it again.
  absl::Status LeaveRoom(const core::AttemptId& attempt, int64_t offset, std::string& bytes) {
    if (orchestrator_.read_only().ok()) {
      short_logs_.clear();
      short_logs_size_ = 0;
      return absl::OkStatus();
    }
    int64_t& end = short_logs_.try_emplace(attempt, offset + kLogWhileFull).first->second;
    const int64_t room = std::min(end - offset, kLogsWhileFull - short_logs_size_);
    if (room <= 0) return orchestrator_.read_only();
    bytes.resize(std::min(bytes.size(), static_cast<size_t>(room)));
    short_logs_size_ += static_cast<int64_t>(bytes.size());
    return absl::OkStatus();
  }

  void Finish(std::string session, core::AttemptId attempt, core::Outcome outcome, Done<int64_t> done) override {
    // Results go in whatever the inbox holds: an agent that cannot report would only try again.
    loop_.Post([this, session = std::move(session), attempt = std::move(attempt), outcome = std::move(outcome),
                done = std::move(done)]() mutable {
      orchestrator_.Finish(session, attempt, std::move(outcome), done);
    });
  }

  void RecordPredictions(std::string deployment, std::vector<PredictionRecord> predictions,
                         Done<int64_t> done) override {
    if (predictions.size() > kPredictionsPerCall) {
      return done(absl::InvalidArgumentError("at most 1000 predictions a call, got " +
                                             std::to_string(predictions.size())));
    }
    Offer(Urgency::kBulk, done, [this, deployment = std::move(deployment), predictions = std::move(predictions), done]() mutable {
      orchestrator_.RecordPredictions(deployment, std::move(predictions), done);
    });
  }

  void CloseSession(std::string session, DoneStatus done) override {
    Offer(Urgency::kResult, done, [this, session = std::move(session), done] { orchestrator_.CloseSession(session, done); });
  }

  // Declared in the order of use: what stands later is destroyed first and may still use what stands earlier.
  Settings settings_;
  Ports ports_;
  LogHub hub_;
  Definitions definitions_;
  Policies policies_;
  RunStarter starter_;
  Histogram load_;  // Taking up what the store holds: once, before all else.
  Orchestrator orchestrator_;
  Loop loop_;
  Storage storage_;
  Caretaker caretaker_{settings_, ports_, [this] { return storage_.Hold(); }};
  Queries queries_;
  Gates gates_{ports_, definitions_, policies_, loop_, orchestrator_, queries_};
  int preparing_ = 0;   // Touched on the loop only, as are the next two.
  std::map<core::AttemptId, int64_t> short_logs_;   // How far each log may grow while the disk is full.
  int64_t short_logs_size_ = 0;                     // Bytes that were taken of all of them meanwhile.
  Pool pool_{kPoolThreads};
  Pool quick_pool_{1};  // For logs, which results wait for, and look-ups: they never wait behind git.
};

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Start(Settings settings, Ports ports) {
  auto daemon = std::make_unique<DaemonImpl>(std::move(settings), std::move(ports));
  CD4ML_RETURN_IF_ERROR(daemon->Start());
  return daemon;
}

}  // namespace cd4ml::daemon
