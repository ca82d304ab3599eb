// Turns of the loop over a real store: what agents are told, what survives a restart, what monitors lead to.
#include "daemon/orchestrator.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "cd4ml/store/open_store.h"
#include "tests/support/crash_vfs.h"

namespace cd4ml::daemon {
namespace {

using core::AttemptState;
using core::RunState;
using core::StageKind;

core::StagePlan Plan(std::string name, std::vector<std::string> needs = {}, StageKind kind = StageKind::kCommand) {
  core::StagePlan plan;
  plan.name = std::move(name);
  plan.kind = kind;
  plan.needs = std::move(needs);
  plan.retry.error_limit = 0;
  return plan;
}

core::StagePlan Deploy(std::string name) {
  core::StagePlan plan = Plan(std::move(name), {}, StageKind::kDeploy);
  plan.environment = "production";
  return plan;
}

PreparedRun Prepared(std::vector<core::StagePlan> stages, std::string key = "") {
  PreparedRun prepared;
  prepared.command.pipeline = "p";
  prepared.command.lane = "production";
  prepared.command.trigger.key = std::move(key);
  prepared.command.pins.commit = std::string(40, 'a');
  prepared.command.pins.definition = Sha256("definition");
  prepared.command.pins.params_digest = Sha256("{}");
  prepared.command.pins.params = Value(Value::Map());
  prepared.command.stages = std::move(stages);
  return prepared;
}

// An orchestrator on a database in a folder of its own, with a clock that the test moves, and one agent.
class Turns : public testing::Test {
 protected:
  explicit Turns(const std::string& vfs = "") : vfs_(vfs) {
    std::string pattern = testing::TempDir() + "daemon-XXXXXX";
    dir_ = mkdtemp(pattern.data());
    settings_.instance = "boot";
    settings_.session_ttl = Duration(30'000);
    Start();
    Register("p");
  }
  ~Turns() override {
    Stop();
    std::filesystem::remove_all(dir_);
  }

  void Register(const std::string& name) {
    Turn([&] {
      PipelineRecord pipeline;
      pipeline.name = name;
      pipeline.repo = "/repo";
      pipeline.file = name + ".cd4ml.yaml";
      orchestrator_->PutPipelines({pipeline}, [](const absl::Status&) {});
    });
  }

  void Start() {
    store::StoreOptions options;
    options.path = vfs_.empty() ? dir_ + "/cd4ml.db" : "/cd4ml.db";
    options.vfs = vfs_;
    store_ = *store::OpenStateStore(options);
    history_ = *store::OpenHistory(options);
    Orchestrator::Hooks hooks;
    hooks.committed = [](const std::set<core::RunId>&) {};
    hooks.prepare = [this](StartRequest request, core::TriggerKind, Done<PreparedRun> done) {
      prepared_.emplace_back(std::move(request), std::move(done));
    };
    hooks.check = [this](core::MonitorState state, std::optional<TaskBaseline>) { checks_.push_back(std::move(state)); };
    hooks.fail_stop = [this](const absl::Status& status) { stopped_ = status; };
    orchestrator_ = std::make_unique<Orchestrator>(settings_, *store_, *history_, std::move(hooks));
    ASSERT_TRUE(orchestrator_->Load(now_, steady_).ok());
  }

  // As a crash: what was not committed is gone.
  void Stop() {
    orchestrator_.reset();
    history_.reset();
    store_.reset();
    desired_ = {};
  }

  void Turn(const std::function<void()>& requests = [] {}) {
    orchestrator_->BeginTurn(now_, steady_);
    requests();
    orchestrator_->EndTurn();
  }

  void Pass(Duration span) {
    now_ = now_ + span;
    steady_ += span;
  }

  void Connect(const std::string& instance = "i1") {
    Turn([&] {
      AgentHello hello;
      hello.name = "a";
      hello.instance = instance;
      hello.slots = 4;
      orchestrator_->OpenSession(
          hello, [this](DesiredState state) { desired_ = std::move(state); }, [](absl::Status) {},
          [this](absl::StatusOr<SessionGrant> grant) { session_ = grant.ok() ? grant->session : ""; });
    });
  }

  core::RunId StartRun(std::vector<core::StagePlan> stages, const std::string& key = "") {
    core::RunId id;
    Turn([&] {
      orchestrator_->StartRun(Prepared(std::move(stages), key), [&id](absl::StatusOr<core::Run> run) { id = run->id; });
    });
    return id;
  }

  absl::Status Finish(const core::RunId& run, const std::string& stage, AttemptState state = AttemptState::kSucceeded,
                      int number = 1) {
    absl::Status answer = absl::UnknownError("no answer");
    core::Outcome outcome;
    outcome.state = state;
    outcome.reason = state == AttemptState::kSucceeded ? core::Reason::kNone : core::Reason::kExitCode;
    outcome.service = core::StartedService{"http://127.0.0.1:1234", "a"};
    Turn([&] {
      orchestrator_->Finish(session_, {run, stage, number}, outcome,
                            [&answer](const absl::StatusOr<int64_t>& revision) { answer = revision.status(); });
    });
    return answer;
  }

  core::Run Stored(const core::RunId& run) { return *history_->GetRun(run); }
  std::vector<std::string> Leases() const {
    std::vector<std::string> leases;
    for (const TaskPtr& task : desired_.leases) leases.push_back(core::ToText(task->attempt));
    return leases;
  }

  const std::string vfs_;
  std::string dir_;
  Settings settings_;
  UtcTime now_{1'000'000'000'000};
  Duration steady_{5'000};
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<History> history_;
  std::unique_ptr<Orchestrator> orchestrator_;
  std::string session_;
  DesiredState desired_;
  std::vector<core::MonitorState> checks_;
  std::vector<std::pair<StartRequest, Done<PreparedRun>>> prepared_;
  absl::Status stopped_;
};

using Names = std::vector<std::string>;

TEST_F(Turns, AStartedRunIsDurableAndLeasedInOneTurn) {
  Connect();

  const core::RunId run = StartRun({Plan("a"), Plan("b", {"a"})});

  EXPECT_EQ(run, "p/1");
  EXPECT_EQ(Leases(), Names{"p/1/a/1"});
  EXPECT_EQ(Stored(run).FindStage("a")->state, core::StageState::kLeased);
}

TEST_F(Turns, TheNextStageIsLeasedInTheTurnThatEndsTheOneBefore) {
  Connect();
  const core::RunId run = StartRun({Plan("a"), Plan("b", {"a"})});

  ASSERT_TRUE(Finish(run, "a").ok());

  EXPECT_EQ(Leases(), Names{"p/1/b/1"});
  ASSERT_TRUE(Finish(run, "b").ok());
  EXPECT_EQ(Stored(run).state, RunState::kSucceeded);
}

TEST_F(Turns, ARestartTakesUpLeasesWhereTheyWere) {
  Connect();
  const core::RunId run = StartRun({Plan("a"), Plan("b", {"a"})});

  Stop();
  Start();
  Connect();

  EXPECT_EQ(Leases(), Names{"p/1/a/1"});
  ASSERT_TRUE(Finish(run, "a").ok());
  EXPECT_EQ(Leases(), Names{"p/1/b/1"});
}

TEST_F(Turns, ARepeatedResultOfAnEndedRunIsAnsweredWell) {
  Connect();
  const core::RunId run = StartRun({Plan("a")});
  ASSERT_TRUE(Finish(run, "a").ok());

  EXPECT_TRUE(Finish(run, "a").ok());
  EXPECT_EQ(Stored(run).FindStage("a")->attempts.size(), 1u);
}

TEST_F(Turns, ASilentAgentLosesItsAttemptAndItsLateResultIsRefused) {
  Connect();
  const core::RunId run = StartRun({Plan("a"), Plan("b", {"a"})});

  Pass(Duration(30'000));
  Turn();

  EXPECT_EQ(Stored(run).reason, core::Reason::kAgentLost);
  Connect();
  EXPECT_TRUE(Leases().empty());
  EXPECT_EQ(Finish(run, "a").code(), absl::StatusCode::kAborted);
}

TEST_F(Turns, ALogIsAppendedToByTheAgentOfTheLatestAttemptAlone) {
  Connect();
  core::StagePlan plan = Plan("a");
  plan.retry.error_limit = 1;
  const core::RunId run = StartRun({plan});
  const core::AttemptId first{run, "a", 1}, second{run, "a", 2};
  const std::string paused = session_;
  EXPECT_TRUE(orchestrator_->MayAppend(paused, first).ok());
  Pass(Duration(31'000));
  Turn();
  Connect("i2");
  ASSERT_EQ(Leases(), std::vector<std::string>{core::ToText(second)});

  // The paused agent goes on: neither its old session nor another one brings its attempt back.
  EXPECT_EQ(orchestrator_->MayAppend(paused, first).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(orchestrator_->MayAppend(paused, second).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(orchestrator_->MayAppend(session_, first).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(orchestrator_->MayAppend(session_, second).ok());
}

TEST_F(Turns, AJumpOfTheWallClockLosesNothing) {
  Connect();
  const core::RunId run = StartRun({Plan("a")});

  now_ = now_ + Duration(10LL * 365 * 86'400'000);
  Turn();
  now_ = UtcTime{1};
  Turn();

  EXPECT_EQ(Stored(run).FindStage("a")->state, core::StageState::kLeased);
}

TEST_F(Turns, AnotherAgentOfTheSameNameIsRefusedUntilTheFirstHasBeenSilentForTooLong) {
  Connect("i1");
  const core::RunId run = StartRun({Plan("a")});

  Connect("i2");
  EXPECT_EQ(session_, "");
  EXPECT_EQ(Stored(run).FindStage("a")->latest()->state, AttemptState::kGranted);

  // One that has lost its state is such another one.
  Pass(Duration(31'000));
  Connect("i2");
  EXPECT_NE(session_, "");
  EXPECT_EQ(Stored(run).FindStage("a")->latest()->state, AttemptState::kLost);
}

TEST_F(Turns, ACancelledRunIsNoLongerDesiredAndEndsWhenItsAgentSaysSo) {
  Connect();
  const core::RunId run = StartRun({Plan("a")});

  Turn([&] { orchestrator_->CancelRun(run, "enough", [](const absl::StatusOr<core::Run>&) {}); });
  EXPECT_TRUE(Leases().empty());
  EXPECT_EQ(Stored(run).state, RunState::kRunning);
  ASSERT_TRUE(Finish(run, "a", AttemptState::kCancelled).ok());

  EXPECT_EQ(Stored(run).state, RunState::kCancelled);
}

TEST_F(Turns, TheSameKeyStartsOneRunAlsoAcrossARestart) {
  const core::RunId first = StartRun({Plan("a")}, "key");
  EXPECT_EQ(StartRun({Plan("a")}, "key"), first);

  Stop();
  Start();

  EXPECT_EQ(StartRun({Plan("a")}, "key"), first);
  EXPECT_EQ(StartRun({Plan("a")}, "other"), "p/2");
}

TEST_F(Turns, AKeyIsKnownInTheTurnThatStartsItsRunAndAnsweredAfterTheCommit) {
  std::vector<std::string> answers;
  const auto note = [&answers](const absl::StatusOr<core::Run>& run) {
    answers.push_back(run.ok() ? run->id : std::string(absl::StatusCodeToString(run.status().code())));
  };

  Turn([&] {
    orchestrator_->StartRun(Prepared({Plan("a")}, "key"), note);
    EXPECT_TRUE(orchestrator_->AnswerRepeated({"key", "p", {}, {}}, note));
    EXPECT_TRUE(orchestrator_->AnswerRepeated({"key", "q", {}, {}}, note));
    EXPECT_FALSE(orchestrator_->AnswerRepeated({"other", "p", {}, {}}, note));
    EXPECT_TRUE(answers.empty());
  });

  EXPECT_EQ(answers, (std::vector<std::string>{"p/1", "p/1", "ALREADY_EXISTS"}));
}

TEST_F(Turns, OneDeployAtATimeAndTheServiceIsDesiredAfterIt) {
  Connect();
  const core::RunId first = StartRun({Deploy("release")});
  StartRun({Deploy("release")});
  ASSERT_EQ(Leases(), Names{"p/1/release/1"});

  ASSERT_TRUE(Finish(first, "release").ok());

  EXPECT_EQ(Leases(), Names{"p/2/release/1"});
  ASSERT_EQ(desired_.services.size(), 1u);
  EXPECT_EQ(desired_.services[0].deployment, "p/1/release");
  EXPECT_EQ(desired_.leases[0]->target, "http://127.0.0.1:1234") << "the next deploy keeps the address";
  ASSERT_TRUE(Finish("p/2", "release").ok());
  ASSERT_EQ(desired_.services.size(), 1u);
  EXPECT_EQ(desired_.services[0].deployment, "p/2/release");
  Stop();
  Start();
  Connect();
  ASSERT_EQ(desired_.services.size(), 1u);
  EXPECT_EQ(desired_.services[0].deployment, "p/2/release");
}

TEST_F(Turns, AGateThatIsMadeAgainComparesWithWhatWasLiveThen) {
  Connect();
  const auto deploy = [&] { ASSERT_TRUE(Finish(StartRun({Deploy("release")}), "release").ok()); };
  core::StagePlan gate = Plan("gate", {}, StageKind::kModelGate);
  gate.environment = "production";
  deploy();
  Pass(Duration(1'000));
  const core::RunId judged = StartRun({gate});
  ASSERT_EQ(desired_.leases.at(0)->champion_deployment, "p/1/release");
  ASSERT_TRUE(Finish(judged, "gate").ok());
  Pass(Duration(1'000));
  deploy();

  PreparedRun again = Prepared({gate});
  again.command.trigger.kind = core::TriggerKind::kReproduce;
  again.command.retry_of = judged;
  Turn([&] { orchestrator_->StartRun(std::move(again), [](const absl::StatusOr<core::Run>&) {}); });

  ASSERT_EQ(Leases(), Names{"p/4/gate/1"});
  EXPECT_EQ(desired_.leases[0]->champion_deployment, "p/1/release");
  Stop();
  Start();
  Connect();
  ASSERT_EQ(Leases(), Names{"p/4/gate/1"});
  EXPECT_EQ(desired_.leases[0]->champion_deployment, "p/1/release");
  StartRun({gate});
  EXPECT_EQ(desired_.leases.at(1)->champion_deployment, "p/3/release");
}

TEST_F(Turns, EnvironmentsOfTwoPipelinesAreTwo) {
  Connect();
  ASSERT_EQ(StartRun({Deploy("release")}), "p/1");
  ASSERT_TRUE(Finish("p/1", "release").ok());
  Turn([&] {
    PipelineRecord other;
    other.name = "q";
    other.repo = "/repo";
    other.file = "q.cd4ml.yaml";
    orchestrator_->PutPipelines({other}, [](const absl::Status&) {});
    PreparedRun prepared = Prepared({Deploy("release")});
    prepared.command.pipeline = "q";
    orchestrator_->StartRun(std::move(prepared), [](const absl::StatusOr<core::Run>&) {});
  });
  ASSERT_TRUE(Finish("q/1", "release").ok());

  EXPECT_EQ(desired_.services.size(), 2u);
  Stop();
  Start();
  Connect();
  EXPECT_EQ(desired_.services.size(), 2u);
}

class Monitors : public Turns {
 protected:
  Monitors() {
    Connect();
    core::StagePlan watch = Plan("watch", {"release"}, StageKind::kMonitor);
    watch.environment = "production";
    StartRun({Deploy("release"), watch});
    EXPECT_TRUE(Finish("p/1", "release").ok());
    Turn();
  }

  JudgedCheck Breach() {
    core::CheckSpec check;
    check.name = "input-drift";
    JudgedCheck judged;
    judged.monitor = "p/watch";
    judged.deployment = "p/1/release";
    judged.spec.every = Duration(60'000);
    judged.spec.checks = {check};
    judged.spec.retrain = core::RetrainSpec{.lane = "production"};
    core::RuleResult rule;
    rule.name = "input-drift";
    rule.outcome = core::VerdictOutcome::kFail;
    rule.message = "age has moved";
    judged.verdict = core::Conclude({rule});
    judged.requests = 1'000;
    return judged;
  }
};

TEST_F(Monitors, AreCheckedWhenTheyAreArmedAndWhenTheyAreDue) {
  ASSERT_EQ(checks_.size(), 1u);
  JudgedCheck calm = Breach();
  calm.verdict.rules[0].outcome = core::VerdictOutcome::kPass;
  calm.verdict = core::Conclude(calm.verdict.rules);
  Turn([&] { orchestrator_->FinishCheck(calm); });

  EXPECT_EQ(orchestrator_->NextWait(), Duration(30'000)) << "the agent's silence comes first";
  Pass(Duration(60'000));
  Turn([&] { orchestrator_->Report(session_, {}, [](const absl::Status&) {}); });

  EXPECT_EQ(checks_.size(), 2u);
  EXPECT_EQ(checks_[1].deployment, "p/1/release");
}

TEST_F(Monitors, ABreachStartsARunInTheTransactionOfItsCheck) {
  Turn([&] { orchestrator_->FinishCheck(Breach()); });
  ASSERT_EQ(prepared_.size(), 1u);
  EXPECT_TRUE(history_->MonitorChecks("p/watch", 10)->empty()) << "nothing is on record before the run is";

  Turn([&] {
    PreparedRun prepared = Prepared({Plan("a")}, prepared_[0].first.key);
    prepared.command.trigger.kind = core::TriggerKind::kMonitor;
    prepared_[0].second(std::move(prepared));
  });

  const auto checks = *history_->MonitorChecks("p/watch", 10);
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_EQ(checks[0].retrain_run, "p/2");
  EXPECT_EQ(checks[0].breach, "input-drift: age has moved");
  EXPECT_EQ(Stored("p/2").trigger.kind, core::TriggerKind::kMonitor);
}

TEST_F(Monitors, ARunThatCannotBePreparedIsSaidAndTriedAgain) {
  Turn([&] { orchestrator_->FinishCheck(Breach()); });
  ASSERT_EQ(prepared_.size(), 1u);

  Turn([&] { prepared_[0].second(absl::NotFoundError("there is no file listings.csv")); });

  const auto checks = *history_->MonitorChecks("p/watch", 10);
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_NE(checks[0].held_back.find("listings.csv"), std::string::npos);
  EXPECT_TRUE(orchestrator_->monitors().at("p/watch").retrains.empty());
}

TEST_F(Monitors, AMeasurementOfAnOlderDeploymentIsDropped) {
  JudgedCheck old = Breach();
  old.deployment = "p/0/release";

  Turn([&] { orchestrator_->FinishCheck(old); });

  EXPECT_TRUE(prepared_.empty());
}

TEST_F(Monitors, PredictionsOfUnknownDeploymentsAreRefused) {
  absl::Status answer;
  PredictionRecord prediction;
  prediction.key = "k";
  prediction.at = now_;
  prediction.input = Value(Value::Map());
  Turn([&] {
    orchestrator_->RecordPredictions("p/9/release", {prediction},
                                     [&](const absl::StatusOr<int64_t>& count) { answer = count.status(); });
  });
  EXPECT_EQ(answer.code(), absl::StatusCode::kNotFound);

  Turn([&] {
    orchestrator_->RecordPredictions("p/1/release", {prediction},
                                     [&](const absl::StatusOr<int64_t>& count) { answer = count.status(); });
  });
  EXPECT_TRUE(answer.ok());
  EXPECT_EQ(history_->Predictions("p/1/release", UtcTime{0}, now_ + Duration(1), 10)->size(), 1u);
}

struct Disk {
  CrashVfs disk_{"daemon"};
};

// A disk without ballast, so that nothing at all can be recorded when it is full.
class FullDisk : protected Disk, public Turns {
 protected:
  FullDisk() : Turns(disk_.name()) {}
  ~FullDisk() override { Stop(); }

  void Fill() { disk_.FailWrite(1, CrashVfs::Times::kForGood); }

  absl::Status TryToStart(const std::string& key = "") {
    absl::Status answer = absl::UnknownError("no answer");
    Turn([&] {
      orchestrator_->StartRun(Prepared({Plan("a"), Plan("b", {"a"})}, key),
                              [&](const absl::StatusOr<core::Run>& run) { answer = run.status(); });
    });
    return answer;
  }

  absl::Status Beat() {
    absl::Status answer = absl::UnknownError("no answer");
    Turn([&] {
      AgentReport report;
      for (const TaskPtr& task : desired_.leases) report.held.push_back({.attempt = task->attempt, .started = true});
      orchestrator_->Report(session_, report, [&](const absl::Status& status) { answer = status; });
    });
    return answer;
  }

  // Does what an agent does with a result: keeps it until it is taken.
  void Perform() {
    for (const TaskPtr& task : std::vector<TaskPtr>(desired_.leases)) {
      const absl::Status answer = Finish(task->attempt.run, task->attempt.stage, AttemptState::kSucceeded,
                                         task->attempt.number);
      EXPECT_TRUE(answer.ok() || absl::IsUnavailable(answer)) << answer.ToString();
    }
  }
};

TEST_F(FullDisk, TakesNoNewWorkKeepsResultsForLaterAndGoesOnByItself) {
  Connect();
  ASSERT_TRUE(TryToStart().ok());
  Fill();

  EXPECT_TRUE(absl::IsUnavailable(Finish("p/1", "a"))) << "the agent keeps the result";
  EXPECT_TRUE(absl::IsResourceExhausted(orchestrator_->read_only()));
  EXPECT_TRUE(absl::IsResourceExhausted(TryToStart()));
  EXPECT_TRUE(Beat().ok());
  EXPECT_EQ(Stored("p/1").FindStage("a")->latest()->state, AttemptState::kGranted);
  EXPECT_EQ(Leases(), Names{"p/1/a/1"});
  EXPECT_LE(*orchestrator_->NextWait(), Duration(1'000));

  disk_.Heal();
  steady_ += Duration(1'000);
  Turn();

  EXPECT_TRUE(orchestrator_->read_only().ok());
  EXPECT_TRUE(Finish("p/1", "a").ok());
  EXPECT_EQ(Leases(), Names{"p/1/b/1"});
  ASSERT_TRUE(TryToStart().ok());
  EXPECT_EQ(Stored("p/2").FindStage("a")->state, core::StageState::kLeased) << "no number was used up";
  EXPECT_TRUE(stopped_.ok()) << stopped_.ToString();
}

TEST_F(FullDisk, GrantsNoLeasesAndSaysWhy) {
  ASSERT_TRUE(TryToStart().ok());
  disk_.FailWrite(1, CrashVfs::Times::kOnce);
  EXPECT_TRUE(absl::IsResourceExhausted(TryToStart()));

  Connect();

  EXPECT_TRUE(Leases().empty());
  EXPECT_NE(orchestrator_->Waiting("p/1").at("a").find("full"), std::string::npos);
  steady_ += Duration(1'000);
  Turn();
  EXPECT_EQ(Leases(), Names{"p/1/a/1"});
}

TEST_F(FullDisk, LosesNoAgentThatGoesOnBeating) {
  Connect();
  ASSERT_TRUE(TryToStart().ok());
  Fill();
  (void)Finish("p/1", "a");
  for (int second = 0; second < 100; ++second) {
    steady_ += Duration(1'000);
    ASSERT_TRUE(Beat().ok());
  }
  disk_.Heal();
  steady_ += Duration(1'000);
  ASSERT_TRUE(Beat().ok());

  EXPECT_EQ(Stored("p/1").FindStage("a")->latest()->state, AttemptState::kStarted);
  EXPECT_TRUE(Finish("p/1", "a").ok());
}

TEST_F(FullDisk, OfALostAgentIsDealtWithWhenThereIsSpaceAndNotInABusyLoop) {
  Connect();
  ASSERT_TRUE(TryToStart().ok());
  Fill();
  (void)Finish("p/1", "a");
  steady_ += Duration(40'000);
  Turn();
  EXPECT_GT(*orchestrator_->NextWait(), Duration(900));
  EXPECT_EQ(Stored("p/1").FindStage("a")->latest()->state, AttemptState::kGranted);

  disk_.Heal();
  steady_ += Duration(1'000);
  Turn();

  EXPECT_EQ(Stored("p/1").FindStage("a")->latest()->state, AttemptState::kLost);
}

// The disk is full at the first, second ... write of a whole run, once or until it is emptied.
TEST_F(FullDisk, AtAnyWriteEndsInOneWholeRun) {
  int64_t points = 0, refused = 0;
  Duration longest{0};
  for (const auto times : {CrashVfs::Times::kOnce, CrashVfs::Times::kForGood}) {
    int64_t nth = 1;
    for (bool has_struck = true; has_struck; ++nth, ++points) {
      Stop();
      disk_.Restore({});
      Start();
      Register("p");
      Connect();
      const int64_t before = disk_.writes();
      disk_.FailWrite(nth, times);
      bool started = false;
      Duration healed{-1};   // When the disk was mended; negative: not yet, or noticed.
      for (int second = 0; second < 30; ++second) {
        if (!started) {
          started = TryToStart("key").ok();
          refused += !started;
        }
        ASSERT_TRUE(Beat().ok());
        Perform();
        if (second == 12) {
          has_struck = disk_.writes() - before >= nth;
          disk_.Heal();
          healed = steady_;
        }
        if (healed >= Duration(0) && orchestrator_->read_only().ok()) {
          longest = std::max(longest, steady_ - healed);
          healed = Duration(-1);
        }
        steady_ += Duration(1'000);
        now_ = now_ + Duration(1'000);
      }
      ASSERT_TRUE(stopped_.ok()) << "write " << nth << ": " << stopped_.ToString();
      const core::Run run = Stored("p/1");
      ASSERT_EQ(run.state, RunState::kSucceeded) << "write " << nth;
      for (const core::StageRun& stage : run.stages) EXPECT_EQ(stage.attempts.size(), 1u);
      EXPECT_EQ(store_->Load()->last_run_number.at("p"), 1);
    }
  }
  printf("writes to a full disk: %lld, refused starts %lld, longest to recover %s\n", static_cast<long long>(points),
         static_cast<long long>(refused), FormatDuration(longest).c_str());
  EXPECT_GT(refused, 20);
  EXPECT_LE(longest, Duration(5'000));
}

}  // namespace
}  // namespace cd4ml::daemon
