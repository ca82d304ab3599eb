// How a committed event changes a run.
#include <algorithm>
#include <utility>

#include "cd4ml/base/check.h"
#include "cd4ml/core/decide.h"

namespace cd4ml::core {
namespace {

// Applies one event; `std::visit` makes the compiler list this place when an event is added.
class Applier {
 public:
  Applier(UtcTime at, Run& run) : at_(at), run_(run) {}

  void operator()(const RunStarted& event) {
    CD4ML_CHECK(run_.id.empty(), event.id);
    run_.id = event.id;
    run_.pipeline = event.pipeline;
    run_.number = event.number;
    run_.lane = event.lane;
    run_.state = event.queued ? RunState::kQueued : RunState::kRunning;
    run_.priority = event.priority;
    run_.concurrency = event.concurrency;
    run_.retry_of = event.retry_of;
    run_.trigger = event.trigger;
    run_.pins = event.pins;
    run_.created = at_;
    for (const StagePlan& plan : event.stages) {
      StageRun stage;
      stage.plan = plan;
      run_.stages.push_back(std::move(stage));
    }
    Reindex(run_);
  }

  void operator()(const RunAdmitted&) {
    CD4ML_CHECK(run_.state == RunState::kQueued, run_.id);
    run_.state = RunState::kRunning;
  }

  void operator()(const StageCarried& event) {
    StageRun& stage = Move(event.stage, StageState::kSucceeded);
    stage.carried = event.carried;
    Close(stage);
  }

  void operator()(const StopRequested& event) {
    StageRun* stage = run_.FindStage(event.stage);
    CD4ML_CHECK(stage != nullptr && !IsTerminal(stage->state) && !stage->stop.has_value(), event.stage);
    stage->stop = event.stop;
    UpdateDeadline(run_, PositionOf(*stage));
  }

  void operator()(const StageReady& event) {
    StageRun& stage = Move(event.stage, StageState::kReady);
    stage.ready = at_;
    if (!stage.first_ready.is_set()) stage.first_ready = at_;
    stage.not_before = event.not_before;
    UpdateDeadline(run_, PositionOf(stage));
  }

  void operator()(const LeaseGranted& event) {
    StageRun& stage = Move(event.stage, StageState::kLeased);
    CD4ML_CHECK(event.number == static_cast<int>(stage.attempts.size()) + 1, event.stage);
    Attempt attempt;
    attempt.number = event.number;
    attempt.agent = event.agent;
    attempt.recipe = event.recipe;
    attempt.reuse_note = event.reuse_note;
    attempt.granted = at_;
    stage.attempts.push_back(std::move(attempt));
    UpdateDeadline(run_, PositionOf(stage));
  }

  void operator()(const AttemptStarted& event) {
    Attempt& attempt = Latest(Move(event.stage, StageState::kRunning), event.number);
    CD4ML_CHECK(attempt.state == AttemptState::kGranted, event.stage);
    attempt.state = AttemptState::kStarted;
    attempt.started = at_;
  }

  void operator()(const AttemptEnded& event) {
    StageRun* stage = run_.FindStage(event.stage);
    CD4ML_CHECK(stage != nullptr, event.stage);
    Attempt& attempt = Latest(*stage, event.number);
    CD4ML_CHECK(!IsTerminal(attempt.state) && IsTerminal(event.state), event.stage);
    attempt.state = event.state;
    attempt.outcome = event.outcome;
    attempt.ended = at_;
  }

  void operator()(const StageEnded& event) {
    StageRun& stage = Move(event.stage, event.state);
    stage.reason = event.reason;
    stage.message = event.message;
    Close(stage);
  }

  void operator()(const CancelRequested& event) {
    run_.cancel_requested = true;
    run_.cancel_reason = event.reason;
    run_.superseded_by = event.superseded_by;
    while (!run_.deadlines.empty()) UpdateDeadline(run_, run_.deadlines.begin()->second);
  }

  void operator()(const RunEnded& event) {
    CD4ML_CHECK(!IsTerminal(run_.state) && run_.open_stages == 0, run_.id);
    run_.state = event.state;
    run_.reason = event.reason;
    run_.message = event.message;
    run_.ended = at_;
  }

  // Facts about the world outside of the run: versions, the ledger, monitors.
  void operator()(const VersionsProduced&) {}
  void operator()(const Deployed&) {}
  void operator()(const MonitorArmed&) {}

 private:
  int PositionOf(const StageRun& stage) const { return static_cast<int>(&stage - run_.stages.data()); }

  // The stage has ended, however.
  void Close(StageRun& stage) {
    stage.ended = at_;
    --run_.open_stages;
    for (int dependent : stage.dependents) --run_.stages[static_cast<size_t>(dependent)].open_needs;
    UpdateDeadline(run_, PositionOf(stage));
  }

  StageRun& Move(std::string_view name, StageState to) {
    StageRun* stage = run_.FindStage(name);
    CD4ML_CHECK(stage != nullptr, name);
    const std::pair edge(stage->state, to);
    CD4ML_CHECK(std::find(kStageEdges.begin(), kStageEdges.end(), edge) != kStageEdges.end(),
                std::string(name) + ": " + std::string(ToText(stage->state)) + " -> " + std::string(ToText(to)));
    stage->state = to;
    return *stage;
  }

  static Attempt& Latest(StageRun& stage, int number) {
    CD4ML_CHECK(!stage.attempts.empty() && stage.attempts.back().number == number, stage.plan.name);
    return stage.attempts.back();
  }

  UtcTime at_;
  Run& run_;
};

}  // namespace

void Apply(const Event& event, UtcTime at, Run& run) {
  std::visit(Applier(at, run), event);
  ++run.next_seq;
}

}  // namespace cd4ml::core
