// The rules of a run: every command in every state that matters, and random graphs run to their end.
#include "cd4ml/core/decide.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "cd4ml/core/plan.h"

namespace cd4ml::core {
namespace {

constexpr UtcTime kStart{1'000'000};

StagePlan Plan(std::string name, std::vector<std::string> needs = {}, StageKind kind = StageKind::kCommand) {
  StagePlan plan;
  plan.name = std::move(name);
  plan.kind = kind;
  plan.needs = std::move(needs);
  plan.assign_timeout = Duration(600'000);
  return plan;
}

// A run together with the events that made it.
struct Fixture {
  Run run;
  std::vector<Event> events;
  UtcTime now = kStart;

  explicit Fixture(std::vector<StagePlan> stages) : Fixture(std::move(stages), StartRun()) {}

  Fixture(std::vector<StagePlan> stages, StartRun command) {
    command.id = "p/1";
    command.pipeline = "p";
    command.number = 1;
    command.lane = "production";
    command.stages = std::move(stages);
    Do(command).IgnoreError();
  }

  absl::Status Do(const Command& command) {
    absl::StatusOr<std::vector<Event>> decided = Decide(run, command, now);
    if (!decided.ok()) return decided.status();
    for (const Event& event : *decided) {
      Apply(event, now, run);
      events.push_back(event);
    }
    return absl::OkStatus();
  }

  absl::Status Finish(const std::string& stage, AttemptState state = AttemptState::kSucceeded,
                      Reason reason = Reason::kNone, const std::string& message = "") {
    Outcome outcome;
    outcome.state = state;
    outcome.reason = reason;
    outcome.message = message;
    return Do(ReportFinished{stage, run.FindStage(stage)->latest()->number, "a", outcome});
  }

  void Perform(const std::string& stage) {
    ASSERT_TRUE(Do(GrantLease{stage, "a"}).ok());
    ASSERT_TRUE(Do(ReportStarted{stage, run.FindStage(stage)->latest()->number, "a"}).ok());
    ASSERT_TRUE(Finish(stage).ok());
  }

  StageState State(const std::string& stage) const { return run.FindStage(stage)->state; }
};

TEST(Decide, StartMakesOnlyStagesWithoutNeedsReady) {
  const Fixture f({Plan("a"), Plan("b", {"a"})});

  EXPECT_EQ(f.State("a"), StageState::kReady);
  EXPECT_EQ(f.State("b"), StageState::kBlocked);
}

TEST(Decide, LastNeedMakesAStageReadyAndLastStageEndsTheRun) {
  Fixture f({Plan("a"), Plan("b"), Plan("c", {"a", "b"})});

  f.Perform("a");
  EXPECT_EQ(f.State("c"), StageState::kBlocked);
  f.Perform("b");
  EXPECT_EQ(f.State("c"), StageState::kReady);
  f.Perform("c");

  EXPECT_EQ(f.run.state, RunState::kSucceeded);
  EXPECT_EQ(Word(f.run), "passed");
}

TEST(Decide, OfSeveralFailuresTheOneThatCameFirstTellsWhy) {
  Fixture f({Plan("a"), Plan("b"), Plan("c")});
  for (const char* stage : {"a", "b", "c"}) ASSERT_TRUE(f.Do(GrantLease{stage, "a"}).ok());

  ASSERT_TRUE(f.Finish("b", AttemptState::kFailed, Reason::kExitCode, "exit code 3").ok());
  f.now = f.now + Duration(1'000);
  ASSERT_TRUE(f.Finish("a", AttemptState::kFailed, Reason::kTimeout, "it did not end within 1s").ok());
  f.now = f.now + Duration(1'000);
  ASSERT_TRUE(f.Finish("c", AttemptState::kFailed, Reason::kExitCode, "exit code 4").ok());

  EXPECT_EQ(f.run.state, RunState::kFailed);
  EXPECT_EQ(f.run.message, "b: exit code 3");
}

TEST(Decide, ARequestToCancelThatCameTooLateIsTold) {
  Fixture f({Plan("a")});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());
  ASSERT_TRUE(f.Do(CancelRun{"not needed"}).ok());

  ASSERT_TRUE(f.Finish("a").ok());

  EXPECT_EQ(f.run.state, RunState::kSucceeded);
  EXPECT_EQ(f.run.message, "the request to cancel it came too late: not needed");
}

TEST(Decide, FailureSkipsWhatNeedsItAndNamesTheReason) {
  Fixture f({Plan("a"), Plan("b", {"a"}), Plan("c", {"b"})});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());

  ASSERT_TRUE(f.Finish("a", AttemptState::kFailed, Reason::kExitCode, "exited with 3").ok());

  EXPECT_EQ(f.State("b"), StageState::kSkipped);
  EXPECT_EQ(f.State("c"), StageState::kSkipped);
  EXPECT_EQ(f.run.state, RunState::kFailed);
  EXPECT_EQ(f.run.message, "a: exited with 3");
}

TEST(Decide, LostLeaseReturnsStageToReadyWhileAttemptsAreLeft) {
  StagePlan plan = Plan("a");
  plan.retry.error_limit = 1;
  Fixture f({plan});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());

  ASSERT_TRUE(f.Do(LoseLease{"a", 1, "silent"}).ok());
  EXPECT_EQ(f.State("a"), StageState::kReady);
  ASSERT_TRUE(f.Do(GrantLease{"a", "b"}).ok());
  ASSERT_TRUE(f.Do(LoseLease{"a", 2, "silent"}).ok());

  EXPECT_EQ(f.State("a"), StageState::kFailed);
  EXPECT_EQ(f.run.reason, Reason::kAgentLost);
  EXPECT_EQ(Word(f.run), "infra error");
}

TEST(Decide, LateReportOfALostAttemptIsRefused) {
  StagePlan plan = Plan("a");
  plan.retry.limit = 1;
  Fixture f({plan});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());
  ASSERT_TRUE(f.Do(LoseLease{"a", 1, "silent"}).ok());
  ASSERT_TRUE(f.Do(GrantLease{"a", "b"}).ok());
  Outcome outcome;
  outcome.state = AttemptState::kSucceeded;

  EXPECT_EQ(f.Do(ReportFinished{"a", 1, "a", outcome}).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(f.Do(ReportStarted{"a", 1, "a"}).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(f.State("a"), StageState::kLeased);
}

TEST(Decide, ReportOfAnotherAgentIsRefused) {
  Fixture f({Plan("a")});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());
  Outcome outcome;
  outcome.state = AttemptState::kSucceeded;

  EXPECT_EQ(f.Do(ReportFinished{"a", 1, "mallory", outcome}).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(f.Do(ReportFinished{"a", 2, "a", outcome}).code(), absl::StatusCode::kNotFound);
}

TEST(Decide, RepeatedReportChangesNothing) {
  Fixture f({Plan("a"), Plan("b", {"a"})});
  f.Perform("a");
  const size_t events = f.events.size();

  EXPECT_TRUE(f.Finish("a", AttemptState::kFailed, Reason::kExitCode).ok());

  EXPECT_EQ(f.events.size(), events);
  EXPECT_EQ(f.State("a"), StageState::kSucceeded);
}

TEST(Decide, DoubleGrantIsRefused) {
  Fixture f({Plan("a")});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());

  EXPECT_EQ(f.Do(GrantLease{"a", "b"}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Decide, DeployIsNeverRetriedByItself) {
  StagePlan plan = Plan("release", {}, StageKind::kDeploy);
  plan.retry.limit = 5;
  Fixture f({plan});
  ASSERT_TRUE(f.Do(GrantLease{"release", "a"}).ok());

  ASSERT_TRUE(f.Do(LoseLease{"release", 1, "silent"}).ok());

  EXPECT_EQ(f.State("release"), StageState::kFailed);
}

TEST(Decide, GateWithoutAVerdictBlocks) {
  Fixture f({Plan("gate", {}, StageKind::kModelGate)});
  ASSERT_TRUE(f.Do(GrantLease{"gate", "a"}).ok());

  ASSERT_TRUE(f.Finish("gate").ok());

  EXPECT_EQ(f.run.reason, Reason::kGateError);
  EXPECT_EQ(Word(f.run), "gate rejected");
}

TEST(Decide, GateWhoseVerdictFailsBlocksWhateverTheAgentSays) {
  Fixture f({Plan("gate", {}, StageKind::kModelGate), Plan("after", {"gate"})});
  ASSERT_TRUE(f.Do(GrantLease{"gate", "a"}).ok());
  RuleResult rule;
  rule.name = "mae";
  rule.outcome = VerdictOutcome::kFail;
  Outcome outcome;
  outcome.state = AttemptState::kSucceeded;
  outcome.verdict = Conclude({rule});

  ASSERT_TRUE(f.Do(ReportFinished{"gate", 1, "a", outcome}).ok());

  EXPECT_EQ(f.run.reason, Reason::kGateRejected);
  EXPECT_EQ(f.State("after"), StageState::kSkipped);
}

TEST(Decide, CancelWaitsForWhatIsRunningAndNothingElse) {
  Fixture f({Plan("a"), Plan("b"), Plan("c", {"a"})});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());

  ASSERT_TRUE(f.Do(CancelRun{"enough"}).ok());
  EXPECT_EQ(f.State("b"), StageState::kCancelled);
  EXPECT_EQ(f.State("c"), StageState::kCancelled);
  EXPECT_EQ(f.run.state, RunState::kRunning);
  ASSERT_TRUE(f.Finish("a", AttemptState::kCancelled, Reason::kCancelled).ok());

  EXPECT_EQ(f.run.state, RunState::kCancelled);
  EXPECT_EQ(f.Do(CancelRun{"again"}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Decide, ACancelledRunSaysWhatMayStillRunWhereNobodyCouldBeAsked) {
  Fixture f({Plan("a"), Plan("b")});
  ASSERT_TRUE(f.Do(GrantLease{"a", "x"}).ok());
  ASSERT_TRUE(f.Do(CancelRun{"enough"}).ok());

  ASSERT_TRUE(f.Do(LoseLease{"a", 1, "agent \"x\" was silent for 30s"}).ok());

  EXPECT_EQ(f.run.state, RunState::kCancelled);
  EXPECT_EQ(f.run.message, "enough; agent \"x\" was silent for 30s, and ends what it had started when it comes back");
}

TEST(Decide, CancelledRunSaysWhyAlsoWhenNothingWasRunning) {
  Fixture f({Plan("a"), Plan("b", {"a"})});

  ASSERT_TRUE(f.Do(CancelRun{"wrong data"}).ok());

  EXPECT_EQ(f.run.state, RunState::kCancelled);
  EXPECT_EQ(f.run.message, "wrong data");
}

TEST(Decide, StageThatNoAgentTakesFailsAtItsDeadline) {
  Fixture f({Plan("a")});
  ASSERT_EQ(NextDeadline(f.run), kStart + Duration(600'000));

  f.now = kStart + Duration(599'999);
  ASSERT_TRUE(f.Do(Tick{}).ok());
  EXPECT_EQ(f.State("a"), StageState::kReady);
  f.now = kStart + Duration(600'000);
  ASSERT_TRUE(f.Do(Tick{}).ok());

  EXPECT_EQ(f.run.reason, Reason::kNoAgent);
}

TEST(Decide, AStageThatOnlyWaitsForItsTurnIsNotGivenUp) {
  Fixture f({Plan("a")});
  f.now = kStart + Duration(600'000);

  ASSERT_TRUE(f.Do(Tick{{"a"}}).ok());
  UpdateDeadline(f.run, 0, f.now);

  EXPECT_EQ(f.State("a"), StageState::kReady);
  EXPECT_EQ(NextDeadline(f.run), f.now + Duration(600'000));
}

TEST(Decide, TheTimeThatTheDaemonWasAwayIsNoTimeWithoutAnAgent) {
  Fixture f({Plan("a")});

  Reindex(f.run, kStart + Duration(3'600'000));

  EXPECT_EQ(NextDeadline(f.run), kStart + Duration(3'600'000 + 600'000));
}

TEST(Decide, ErrorsAndFailuresHaveBudgetsOfTheirOwn) {
  StagePlan plan = Plan("a");
  plan.retry.limit = 1;
  plan.retry.error_limit = 2;
  plan.retry.when = {"agent_lost", "infra", "exit_code"};
  Fixture f({plan});
  const auto fail = [&](Reason reason) {
    ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());
    ASSERT_TRUE(f.Finish("a", AttemptState::kFailed, reason, "x").ok());
  };

  fail(Reason::kInfra);
  fail(Reason::kExitCode);
  fail(Reason::kInfra);
  EXPECT_EQ(f.State("a"), StageState::kReady) << "two errors and one failure are within both budgets";
  fail(Reason::kExitCode);

  EXPECT_EQ(f.State("a"), StageState::kFailed);
  EXPECT_EQ(f.run.stages[0].attempts.size(), 4u);
}

TEST(Decide, BackOffDoublesUpToItsBound) {
  StagePlan plan = Plan("a");
  plan.retry = {.limit = 0, .error_limit = 10, .when = {"infra"}, .backoff = Duration(1'000), .backoff_max = Duration(5'000)};
  Fixture f({plan});
  std::vector<int64_t> waits;

  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());
    ASSERT_TRUE(f.Finish("a", AttemptState::kFailed, Reason::kInfra).ok());
    waits.push_back((f.run.stages[0].not_before - f.now).count());
  }

  EXPECT_EQ(waits, (std::vector<int64_t>{1'000, 2'000, 4'000, 5'000, 5'000}));
}

TEST(Decide, ACauseThatIsNotListedIsNotRetried) {
  StagePlan plan = Plan("a");
  plan.retry.limit = 3;   // `when` says agent_lost and infra.
  Fixture f({plan});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());

  ASSERT_TRUE(f.Finish("a", AttemptState::kFailed, Reason::kSilenceTimeout, "silent").ok());

  EXPECT_EQ(f.run.reason, Reason::kSilenceTimeout);
  EXPECT_EQ(Word(f.run), "failed");
}

TEST(Decide, TheTotalTimeoutEndsAStageThatWaits) {
  StagePlan plan = Plan("a");
  plan.total_timeout = Duration(60'000);
  Fixture f({plan});
  ASSERT_EQ(NextDeadline(f.run), kStart + Duration(60'000));
  f.now = kStart + Duration(60'000);

  ASSERT_TRUE(f.Do(Tick{{"a"}}).ok());

  EXPECT_EQ(f.run.reason, Reason::kTotalTimeout);
}

TEST(Decide, TheTotalTimeoutAsksForTheEndOfAStageThatRunsAndCountsEveryAttempt) {
  StagePlan plan = Plan("a");
  plan.total_timeout = Duration(60'000);
  plan.retry.error_limit = 5;
  Fixture f({plan});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());
  f.now = kStart + Duration(30'000);
  ASSERT_TRUE(f.Do(LoseLease{"a", 1, "silent"}).ok());
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());
  f.now = kStart + Duration(60'000);

  ASSERT_TRUE(f.Do(Tick{}).ok());
  EXPECT_EQ(f.State("a"), StageState::kLeased) << "until its agent has ended it";
  EXPECT_TRUE(std::holds_alternative<StopRequested>(f.events.back()));
  EXPECT_EQ(NextDeadline(f.run), std::nullopt);
  ASSERT_TRUE(f.Finish("a", AttemptState::kCancelled, Reason::kCancelled).ok());

  EXPECT_EQ(f.run.reason, Reason::kTotalTimeout);
  EXPECT_EQ(f.run.state, RunState::kFailed);
}

TEST(Decide, AStoppedStageWhoseAgentIsLostIsNotTriedAgain) {
  StagePlan plan = Plan("a");
  plan.total_timeout = Duration(60'000);
  Fixture f({plan});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());
  f.now = kStart + Duration(60'000);
  ASSERT_TRUE(f.Do(Tick{}).ok());

  ASSERT_TRUE(f.Do(LoseLease{"a", 1, "silent"}).ok());

  EXPECT_EQ(f.run.reason, Reason::kTotalTimeout);
}

TEST(Decide, NothingIsDueAnyMoreOfWhatIsCancelledAndStillRuns) {
  StagePlan plan = Plan("a");
  plan.total_timeout = Duration(60'000);
  Fixture f({plan});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());

  ASSERT_TRUE(f.Do(CancelRun{"enough"}).ok());

  EXPECT_EQ(NextDeadline(f.run), std::nullopt) << "or somebody would look again and again";
  Reindex(f.run);
  EXPECT_EQ(NextDeadline(f.run), std::nullopt) << "also after a restart";
}

TEST(Decide, AQueuedRunDoesNothingUntilItIsAdmitted) {
  StartRun command;
  command.queued = true;
  Fixture f({Plan("a"), Plan("b", {"a"})}, command);
  EXPECT_EQ(f.State("a"), StageState::kBlocked);
  EXPECT_EQ(Word(f.run), "queued");
  EXPECT_TRUE(absl::IsFailedPrecondition(f.Do(GrantLease{"a", "a"})));

  ASSERT_TRUE(f.Do(AdmitRun{}).ok());
  EXPECT_EQ(f.State("a"), StageState::kReady);
  EXPECT_EQ(f.run.state, RunState::kRunning);

  const size_t events = f.events.size();
  ASSERT_TRUE(f.Do(AdmitRun{}).ok());
  EXPECT_EQ(f.events.size(), events) << "once is enough";
}

TEST(Decide, ASupersededRunSaysByWhich) {
  StartRun command;
  command.queued = true;
  Fixture f({Plan("a"), Plan("b", {"a"})}, command);

  ASSERT_TRUE(f.Do(CancelRun{"superseded by run p/2", "p/2"}).ok());

  EXPECT_EQ(f.run.state, RunState::kCancelled);
  EXPECT_EQ(f.run.superseded_by, "p/2");
  EXPECT_EQ(Word(f.run), "superseded");
  EXPECT_EQ(f.run.message, "superseded by run p/2");
}

TEST(Decide, ASupersededDeployEndsWhetherItWaitsOrRuns) {
  StagePlan deploy = Plan("d", {}, StageKind::kDeploy);
  deploy.environment = "production";
  Fixture waiting({deploy});
  ASSERT_TRUE(waiting.Do(SupersedeStage{"d", "p/2"}).ok());
  EXPECT_EQ(Word(waiting.run), "superseded");

  Fixture running({deploy});
  ASSERT_TRUE(running.Do(GrantLease{"d", "a"}).ok());
  ASSERT_TRUE(running.Do(SupersedeStage{"d", "p/2"}).ok());
  EXPECT_EQ(running.run.state, RunState::kRunning);
  ASSERT_TRUE(running.Finish("d", AttemptState::kCancelled, Reason::kCancelled).ok());
  EXPECT_EQ(Word(running.run), "superseded");
  EXPECT_EQ(running.run.message, "d: superseded by run p/2");
}

TEST(Decide, FalseConditionSkipsAndTheRunStillSucceeds) {
  StagePlan release = Plan("release", {"a"});
  release.condition = "run.lane == 'experiment'";
  Fixture f({Plan("a"), release});

  f.Perform("a");

  EXPECT_EQ(f.State("release"), StageState::kSkipped);
  EXPECT_EQ(f.run.state, RunState::kSucceeded);
}

TEST(Decide, StageMayRunBecauseAnotherFailed) {
  StagePlan report = Plan("report", {"a"});
  report.condition = "failed('a')";
  Fixture f({Plan("a"), report});
  ASSERT_TRUE(f.Do(GrantLease{"a", "a"}).ok());

  ASSERT_TRUE(f.Finish("a", AttemptState::kFailed, Reason::kExitCode, "exited with 1").ok());
  EXPECT_EQ(f.State("report"), StageState::kReady);
  f.Perform("report");

  EXPECT_EQ(f.run.state, RunState::kFailed);
}

TEST(Decide, MonitorIsArmedForTheDeploymentOfItsRun) {
  StagePlan deploy = Plan("release", {}, StageKind::kDeploy);
  deploy.environment = "production";
  StagePlan monitor = Plan("watch", {"release"}, StageKind::kMonitor);
  monitor.environment = "production";
  Fixture f({deploy, monitor});

  f.Perform("release");

  const auto armed = std::find_if(f.events.begin(), f.events.end(),
                                  [](const Event& e) { return std::holds_alternative<MonitorArmed>(e); });
  ASSERT_NE(armed, f.events.end());
  EXPECT_EQ(std::get<MonitorArmed>(*armed).deployment, "p/1/release");
  EXPECT_EQ(f.run.state, RunState::kSucceeded);
}

TEST(Decide, RecordsWhatAnAttemptUsedAndProduced) {
  StagePlan train = Plan("train");
  StagePlan package = Plan("package", {"train"});
  package.references = {"train.model"};
  Fixture f({train, package});
  ASSERT_TRUE(f.Do(GrantLease{"train", "a"}).ok());
  Outcome outcome;
  outcome.state = AttemptState::kSucceeded;
  ProducedOutput model;
  model.name = "model";
  model.type = OutputType::kModel;
  model.artifact.digest = Sha256("m");
  outcome.outputs = {model};
  ASSERT_TRUE(f.Do(ReportFinished{"train", 1, "a", outcome}).ok());

  f.Perform("package");

  std::vector<std::string> used;
  for (const Event& event : f.events) {
    const auto* produced = std::get_if<VersionsProduced>(&event);
    if (produced == nullptr || produced->stage != "package") continue;
    for (const Version& version : produced->used) used.push_back(VersionId(version));
  }
  EXPECT_TRUE(std::count(used.begin(), used.end(), "model:p/train.model@" + Sha256("m").hex()));
}

TEST(AttemptIdTest, ReadsBackAndRefusesOthers) {
  const AttemptId id{"used-car-price/12", "train", 3};

  EXPECT_EQ(ParseAttemptId(ToText(id)), id);
  EXPECT_EQ(ParseAttemptId("train/3"), std::nullopt);
  EXPECT_EQ(ParseAttemptId("p/1/train/0"), std::nullopt);
  EXPECT_EQ(ParseAttemptId("p/1/train/x"), std::nullopt);
}

TEST(StageEdges, EveryOtherChangeIsABug) {
  const auto allowed = [](StageState from, StageState to) {
    return std::find(kStageEdges.begin(), kStageEdges.end(), std::pair(from, to)) != kStageEdges.end();
  };
  for (int from = 0; from <= static_cast<int>(StageState::kSkipped); ++from) {
    for (int to = 0; to <= static_cast<int>(StageState::kSkipped); ++to) {
      const auto state = static_cast<StageState>(from);
      if (IsTerminal(state)) {
        EXPECT_FALSE(allowed(state, static_cast<StageState>(to))) << ToText(state);
      }
    }
    EXPECT_FALSE(allowed(static_cast<StageState>(from), static_cast<StageState>(from)));
  }
}

// Random graphs, random outcomes, random cancellations: what must hold after every event.
class RandomRun {
 public:
  explicit RandomRun(unsigned seed) : random_(seed), may_cancel_(seed % 2 == 0), may_lose_(seed % 3 != 0) {}

  void Go() {
    std::vector<StagePlan> plans;
    const int count = 1 + Pick(12);
    for (int i = 0; i < count; ++i) {
      StagePlan plan = Plan("s" + std::to_string(i));
      for (int j = 0; j < i; ++j) {
        if (Pick(3) == 0) plan.needs.push_back("s" + std::to_string(j));
      }
      if (Pick(6) == 0) plan.condition = "always()";
      plan.retry.limit = Pick(3);
      plan.retry.error_limit = Pick(3);
      if (Pick(4) == 0) plan.total_timeout = Duration(1 + Pick(20'000));
      plans.push_back(std::move(plan));
    }
    Fixture f(std::move(plans));
    for (int step = 0; step < 1'000 && !IsTerminal(f.run.state); ++step) {
      f.now = f.now + Duration(Pick(1'000));
      Step(f);
      Check(f);
    }
    ASSERT_TRUE(IsTerminal(f.run.state)) << "a run that never ends";
    Run replayed;
    for (const Event& event : f.events) Apply(event, kStart, replayed);
    for (size_t i = 0; i < f.run.stages.size(); ++i) EXPECT_EQ(replayed.stages[i].state, f.run.stages[i].state);
    EXPECT_TRUE(f.run.deadlines.empty());
  }

 private:
  int Pick(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }

  void Step(Fixture& f) {
    f.Do(Tick{}).IgnoreError();
    if (may_cancel_ && Pick(40) == 0) f.Do(CancelRun{"x"}).IgnoreError();
    for (StageRun& stage : f.run.stages) {
      const std::string name = stage.plan.name;
      if (stage.state == StageState::kReady) {
        f.Do(GrantLease{name, "a"}).IgnoreError();
        return;
      }
      if (stage.state == StageState::kLeased && Pick(2) == 0) {
        f.Do(ReportStarted{name, stage.latest()->number, "a"}).IgnoreError();
        return;
      }
      if ((stage.state == StageState::kLeased || stage.state == StageState::kRunning) && Pick(2) == 0) {
        const int how = Pick(6);
        if (how == 0 && may_lose_) {
          f.Do(LoseLease{name, stage.latest()->number, "silent"}).IgnoreError();
        } else if (f.run.cancel_requested || stage.stop.has_value()) {
          f.Finish(name, AttemptState::kCancelled, Reason::kCancelled).IgnoreError();
        } else if (how == 1) {
          f.Finish(name, AttemptState::kFailed, Reason::kExitCode, "exited with 1").IgnoreError();
        } else {
          f.Finish(name).IgnoreError();
        }
        return;
      }
    }
  }

  static void Check(const Fixture& f) {
    for (const StageRun& stage : f.run.stages) {
      const bool active = stage.state == StageState::kLeased || stage.state == StageState::kRunning;
      int live = 0;
      for (const Attempt& attempt : stage.attempts) live += IsTerminal(attempt.state) ? 0 : 1;
      EXPECT_EQ(live, active ? 1 : 0) << stage.plan.name;
      if (!active || !stage.plan.condition.empty()) continue;
      for (const std::string& need : stage.plan.needs) {
        EXPECT_EQ(f.run.FindStage(need)->state, StageState::kSucceeded) << "leased before its needs succeeded";
      }
    }
    if (IsTerminal(f.run.state)) {
      EXPECT_EQ(f.run.open_stages, 0);
    }
  }

  std::mt19937 random_;
  bool may_cancel_, may_lose_;
};

TEST(Decide, EveryRandomRunEndsAndReplaysToTheSameState) {
  for (unsigned seed = 0; seed < 2'000; ++seed) {
    SCOPED_TRACE(seed);
    RandomRun(seed).Go();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace cd4ml::core
