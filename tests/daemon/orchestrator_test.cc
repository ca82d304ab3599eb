// Turns of the loop over a real store: what agents are told, what survives a restart, what monitors lead to.
#include "daemon/orchestrator.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "cd4ml/core/override.h"
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
  // The same, with the turns that the loop has meanwhile.
  void GoOn(Duration span) {
    for (const Duration end = steady_ + span; steady_ < end;) {
      const std::optional<Duration> wait = orchestrator_->NextWait();
      Pass(std::clamp(wait.value_or(span), Duration(1), end - steady_));
      Turn();
    }
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

// Cells a, b, … of a stage "t" and a package of its winner.
std::vector<core::StagePlan> MatrixPlans(const std::string& cells, int max_parallel = 0) {
  std::vector<core::StagePlan> plans;
  core::MatrixSpec matrix;
  matrix.select = "mae";
  matrix.max_parallel = max_parallel;
  for (char cell : cells) {
    core::StagePlan& plan = plans.emplace_back(Plan(std::string("t@") + cell));
    plan.cell_of = "t";
    plan.cell_params = {{"depth", std::string(1, cell)}};
    plan.recipe = {{"params", std::string(1, cell)}};
    plan.reuse = true;
    matrix.cells.push_back(plan.name);
  }
  plans.push_back(Plan("t", matrix.cells));
  plans.back().matrix = matrix;
  plans.push_back(Plan("package", {"t"}));
  plans.back().references = {"t.model"};
  plans.back().recipe = {{"definition", "d"}};
  plans.back().reuse = true;
  return plans;
}

class Matrices : public Turns {
 protected:
  absl::Status Train(const core::RunId& run, const std::string& cell, double mae) {
    absl::Status answer = absl::UnknownError("no answer");
    core::Outcome outcome;
    outcome.state = AttemptState::kSucceeded;
    outcome.metrics["mae"] = mae;
    outcome.outputs = {{"model", "m", core::OutputType::kModel, {Sha256(cell), false, 1, 1}, std::nullopt}};
    Turn([&] {
      orchestrator_->Finish(session_, {run, cell, 1}, outcome,
                            [&answer](const absl::StatusOr<int64_t>& revision) { answer = revision.status(); });
    });
    return answer;
  }
  // What the package stage was leased with.
  Digest PackagedModel() const {
    for (const TaskPtr& task : desired_.leases) {
      if (task->attempt.stage == "package") return task->inputs.at("t.model").artifact.digest;
    }
    return {};
  }
};

TEST_F(Matrices, NoMoreCellsAreLeasedThanMayBeAlsoAfterARestart) {
  Connect();
  const core::RunId run = StartRun(MatrixPlans("abcd", 2));
  EXPECT_EQ(Leases(), (Names{"p/1/t@a/1", "p/1/t@b/1"}));
  EXPECT_EQ(orchestrator_->Waiting(run).at("t@c"), "2 cells of its matrix are under way, as many as max_parallel allows");

  Stop();
  Start();
  Connect();
  EXPECT_EQ(Leases(), (Names{"p/1/t@a/1", "p/1/t@b/1"}));
  ASSERT_TRUE(Train(run, "t@b", 2).ok());
  EXPECT_EQ(Leases(), (Names{"p/1/t@a/1", "p/1/t@c/1"}));
  ASSERT_TRUE(Finish(run, "t@a", AttemptState::kFailed).ok());

  EXPECT_EQ(Leases(), Names{}) << "a failed cell ends the others";
  EXPECT_TRUE(Stored(run).FindStage("t@c")->stop.has_value());
  EXPECT_EQ(Stored(run).FindStage("t@d")->state, core::StageState::kCancelled);
}

TEST_F(Matrices, AnotherRunHasPlacesOfItsOwn) {
  Connect();
  StartRun(MatrixPlans("ab", 1));
  StartRun(MatrixPlans("cd", 1));

  EXPECT_EQ(Leases(), (Names{"p/1/t@a/1", "p/2/t@c/1"}));
}

TEST_F(Matrices, TheWinnerIsChosenInTheTurnOfTheLastCellAndStaysIt) {
  Connect();
  const core::RunId run = StartRun(MatrixPlans("abc"));
  for (const TaskPtr& task : desired_.leases) {
    EXPECT_EQ(task->params, Value(Value::Map{{"depth", task->attempt.stage.substr(2)}})) << "a cell gets its own parameters";
  }
  for (const auto& [cell, mae] : {std::pair("t@c", 3.0), {"t@a", 5.0}, {"t@b", 2.0}}) ASSERT_TRUE(Train(run, cell, mae).ok());

  EXPECT_EQ(PackagedModel(), Sha256("t@b"));
  Stop();
  Start();
  Connect();
  EXPECT_EQ(PackagedModel(), Sha256("t@b"));
  const core::Run stored = Stored(run);
  EXPECT_EQ(stored.FindStage("t")->carried->cell, "t@b");
  EXPECT_EQ(stored.FindStage("t")->carried->why, "lowest mae of 3 cells: t@b 2.0, t@c 3.0, t@a 5.0");
  ASSERT_TRUE(Finish(run, "package").ok());
  EXPECT_EQ(Stored(run).state, RunState::kSucceeded);
}

TEST_F(Matrices, UnchangedCellsAreReusedAndOneMoreRunsAlone) {
  Connect();
  const core::RunId first = StartRun(MatrixPlans("abc"));
  for (const auto& [cell, mae] : {std::pair("t@a", 3.0), {"t@b", 2.0}, {"t@c", 5.0}}) ASSERT_TRUE(Train(first, cell, mae).ok());
  ASSERT_TRUE(Finish(first, "package").ok());

  const core::RunId same = StartRun(MatrixPlans("abc"));
  EXPECT_EQ(Leases(), Names{});
  EXPECT_EQ(Stored(same).state, RunState::kSucceeded);
  EXPECT_EQ(Stored(same).FindStage("t")->carried->cell, "t@b");
  EXPECT_EQ(Stored(same).FindStage("t")->carried->from, (core::AttemptId{"p/1", "t@b", 1}));

  const auto would = orchestrator_->WhatWouldBeReused(Prepared(MatrixPlans("abc")).command);
  EXPECT_EQ(would.at("t"), "takes over t@b: lowest mae of 3 cells: t@b 2.0, t@a 3.0, t@c 5.0");
  EXPECT_EQ(would.at("package"), "reuses p/1");
  EXPECT_EQ(orchestrator_->WhatWouldBeReused(Prepared(MatrixPlans("dabc")).command).at("t"), "depends on what t@d makes");

  const core::RunId more = StartRun(MatrixPlans("dabc"));
  EXPECT_EQ(Leases(), (Names{"p/3/t@d/1"}));
  ASSERT_TRUE(Train(more, "t@d", 1).ok());
  EXPECT_EQ(Stored(more).FindStage("t")->carried->cell, "t@d");
  EXPECT_EQ(Leases(), (Names{"p/3/package/1"})) << "it has another model now";
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

  GoOn(Duration(30'000));

  EXPECT_EQ(Stored(run).reason, core::Reason::kAgentLost);
  Connect();
  EXPECT_TRUE(Leases().empty());
  EXPECT_EQ(Finish(run, "a").code(), absl::StatusCode::kAborted);
}

TEST_F(Turns, ADaemonThatWasStoppedTakesItsOwnSilenceForNobodyElses) {
  Connect();
  const core::RunId run = StartRun({Plan("a")});
  GoOn(Duration(4'000));

  // Stopped, or suspended with its machine; what agents have sent meanwhile is read after the turn that is due.
  Pass(Duration(75'000));
  Turn();
  EXPECT_EQ(Stored(run).FindStage("a")->state, core::StageState::kLeased);
  Turn([&] {
    orchestrator_->Report(session_, {}, [](const absl::Status& status) { EXPECT_TRUE(status.ok()); });
  });
  EXPECT_TRUE(Finish(run, "a").ok());
}

TEST_F(Turns, AgentsThatDoNotComeBackAfterTheDaemonWasStoppedAreGivenUp) {
  Connect();
  const core::RunId run = StartRun({Plan("a")});
  Pass(Duration(75'000));
  Turn();
  GoOn(Duration(24'000));
  EXPECT_EQ(Stored(run).FindStage("a")->state, core::StageState::kLeased);

  GoOn(Duration(1'000));

  EXPECT_EQ(Stored(run).FindStage("a")->latest()->state, AttemptState::kLost);
}

TEST_F(Turns, TurnsThatAreSlowForTheirOwnSakeStillEndWhatIsSilent) {
  Connect();
  const core::RunId run = StartRun({Plan("a")});

  for (int i = 0; i < 6; ++i) {   // Each on a disk that takes ten seconds.
    EXPECT_EQ(Stored(run).FindStage("a")->state, core::StageState::kLeased);
    Pass(Duration(10'000));
    Turn();
  }

  EXPECT_EQ(Stored(run).FindStage("a")->latest()->state, AttemptState::kLost);
}

TEST_F(Turns, ALogIsAppendedToByTheAgentOfTheLatestAttemptAlone) {
  Connect();
  core::StagePlan plan = Plan("a");
  plan.retry.error_limit = 1;
  const core::RunId run = StartRun({plan});
  const core::AttemptId first{run, "a", 1}, second{run, "a", 2};
  const std::string paused = session_;
  EXPECT_TRUE(orchestrator_->MayAppend(paused, first).ok());
  GoOn(Duration(31'000));
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

TEST_F(Turns, AJumpOfTheWallClockWhileTheDaemonIsAwayMovesNoDeadline) {
  settings_.boot = "m1";
  Connect();
  core::StagePlan plan = Plan("a");
  plan.total_timeout = Duration(3'600'000);
  const core::RunId run = StartRun({plan});
  Stop();
  Pass(Duration(60'000));
  now_ = now_ + Duration(10LL * 365 * 86'400'000);
  Start();
  Connect();
  GoOn(Duration(10'000));
  EXPECT_EQ(Stored(run).FindStage("a")->state, core::StageState::kLeased);

  // What passed while nobody was there counts.
  Stop();
  Pass(Duration(3'500'000));
  now_ = UtcTime{1'700'000'000'000};
  Start();
  Connect();
  GoOn(Duration(10'000));
  EXPECT_EQ(Stored(run).FindStage("a")->state, core::StageState::kLeased);
  Pass(Duration(30'000));
  Turn();
  EXPECT_TRUE(Leases().empty());
}

TEST_F(Turns, WhenTheMachineWasOffTheDateTellsForHowLong) {
  settings_.boot = "m1";
  Connect();
  core::StagePlan plan = Plan("a");
  plan.total_timeout = Duration(3'600'000);
  const core::RunId run = StartRun({plan});
  Stop();
  now_ = now_ + Duration(2 * 3'600'000);
  steady_ = Duration(1'000);
  settings_.boot = "m2";
  Start();
  Connect();
  EXPECT_TRUE(Leases().empty());
}

TEST_F(Turns, AnAgentOfAnotherProtocolIsRefusedWithBothVersions) {
  for (const int protocol : {kAgentProtocol - 1, kAgentProtocol + 1}) {
    absl::Status refused;
    Turn([&] {
      AgentHello hello;
      hello.name = "a";
      hello.instance = "i1";
      hello.slots = 1;
      hello.protocol = protocol;
      orchestrator_->OpenSession(
          hello, [](DesiredState) {}, [](absl::Status) {},
          [&](const absl::StatusOr<SessionGrant>& grant) { refused = grant.status(); });
    });
    EXPECT_EQ(refused, absl::FailedPreconditionError("agent \"a\" speaks protocol " + std::to_string(protocol) +
                                                     ", this daemon speaks " + std::to_string(kAgentProtocol)));
  }
  EXPECT_TRUE(orchestrator_->Agents().empty());
}

TEST_F(Turns, AnotherAgentOfTheSameNameIsRefusedUntilTheFirstHasBeenSilentForTooLong) {
  Connect("i1");
  const core::RunId run = StartRun({Plan("a")});

  Connect("i2");
  EXPECT_EQ(session_, "");
  EXPECT_EQ(Stored(run).FindStage("a")->latest()->state, AttemptState::kGranted);

  // One that has lost its state is such another one.
  GoOn(Duration(31'000));
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

// --- gates -----------------------------------------------------------------------------------------

class JudgedGates : public Turns {
 protected:
  JudgedGates() {
    settings_.session_ttl = Duration(7 * 86'400'000);   // Hours pass here.
    Stop();
    Turns::Start();
    Connect();
  }

  static core::StagePlan Gate(std::vector<std::string> baselines = {}, StageKind kind = StageKind::kModelGate) {
    core::StagePlan plan = Plan("gate", {}, kind);
    plan.baselines = std::move(baselines);
    return plan;
  }

  // Every run is a second after the one before.
  core::RunId Start(core::StagePlan gate, const std::string& lane = "production",
                    core::TriggerKind trigger = core::TriggerKind::kDispatch, const core::RunId& again = "",
                    const std::string& pipeline = "p") {
    Pass(Duration(1'000));
    PreparedRun prepared = Prepared({std::move(gate)});
    prepared.command.pipeline = pipeline;
    prepared.command.lane = lane;
    prepared.command.trigger.kind = trigger;
    prepared.command.retry_of = again;
    core::RunId id;
    Turn([&] { orchestrator_->StartRun(std::move(prepared), [&id](absl::StatusOr<core::Run> run) { id = run->id; }); });
    return id;
  }

  const Task& TaskOf(const core::RunId& run) const {
    for (const TaskPtr& task : desired_.leases) {
      if (task->attempt.run == run) return *task;
    }
    ADD_FAILURE() << run << " is not leased";
    static const Task kNone;
    return kNone;
  }

  static core::Outcome Judgement(core::VerdictOutcome found, double mae = 0) {
    core::Outcome outcome;
    outcome.state = AttemptState::kSucceeded;
    core::RuleResult rule;
    rule.name = "mae";
    rule.outcome = found;
    rule.observed = "2710";
    rule.bound = "<= 1200";
    outcome.verdict = core::Conclude({rule});
    outcome.metrics = {{"mae", mae}};
    core::ProducedOutput clean{.name = "clean", .path = "clean.csv", .type = core::OutputType::kDataset,
                               .artifact = {.digest = Sha256("clean")}, .profile = ArtifactRef{.digest = Sha256(std::to_string(mae))}};
    outcome.outputs = {clean};
    return outcome;
  }

  // The agent judges, and applies what its task says about overrides.
  void Judge(const core::RunId& run, core::Outcome outcome) {
    const core::Verdict judged = core::ApplyOverrides(*outcome.verdict, TaskOf(run).overrides);
    outcome.verdict = judged;
    outcome.state = core::Blocks(judged.outcome) ? AttemptState::kFailed : AttemptState::kSucceeded;
    if (core::Blocks(judged.outcome)) outcome.reason = core::Reason::kGateRejected;
    Pass(Duration(1'000));
    Turn([&] { orchestrator_->Finish(session_, {run, "gate", 1}, outcome, [](const absl::StatusOr<int64_t>&) {}); });
  }

  core::RunId Judged(core::VerdictOutcome found, double mae, const std::string& lane = "production") {
    const core::RunId run = Start(Gate(), lane);
    Judge(run, Judgement(found, mae));
    return run;
  }

  absl::StatusOr<core::OverrideRecord> Override(const std::string& by, Duration lasting, const std::string& gate = "gate") {
    core::OverrideRecord record;
    record.pipeline = "p";
    record.gate = gate;
    record.rule = "mae";
    record.run = "p/1";
    record.by = by;
    record.reason = "a new tax";
    return Put(std::move(record), lasting);
  }
  absl::StatusOr<core::OverrideRecord> Put(core::OverrideRecord record, Duration lasting) {
    absl::StatusOr<core::OverrideRecord> answer = absl::UnknownError("no answer");
    Pass(Duration(1'000));
    Turn([&] {
      orchestrator_->PutOverride(std::move(record), lasting,
                                 [&](absl::StatusOr<core::OverrideRecord> put) { answer = std::move(put); });
    });
    return answer;
  }
};

using enum core::VerdictOutcome;

constexpr Duration kHour{3'600'000};

TEST_F(JudgedGates, AreComparedWithTheLastRunThatPassed) {
  Judged(kPass, 1);
  Judged(kPass, 2);
  Judged(kFail, 3);

  const core::RunId run = Start(Gate({"last_accepted.clean", "last_passed"}));

  const auto& baselines = TaskOf(run).baselines;
  ASSERT_EQ(baselines.size(), 2u);
  EXPECT_EQ(baselines.at("last_passed").identity, "p/2 gate");
  EXPECT_EQ(baselines.at("last_passed").metrics.at("mae"), 2);
  EXPECT_EQ(baselines.at("last_accepted.clean").profile.digest, Sha256(std::to_string(2.0)));
  EXPECT_EQ(baselines.at("last_accepted.clean").identity, "p/2 gate.clean sha256:" + Sha256("clean").brief());
  EXPECT_EQ(TaskOf(run).created_at, Stored(run).created);
}

TEST_F(JudgedGates, NothingIsLookedUpThatNoRuleNames) {
  Judged(kPass, 1);

  EXPECT_TRUE(TaskOf(Start(Gate())).baselines.empty());
  EXPECT_TRUE(TaskOf(Start(Gate({"last_accepted.other"}))).baselines.empty()) << "there is no profile of that table";
}

TEST_F(JudgedGates, AreNotComparedWithALaterRunThatPassedBefore) {
  Judged(kPass, 1);
  // The second waits while the third overtakes it.
  core::StagePlan waiting = Gate({"last_passed"});
  waiting.labels = {"gpu"};
  const core::RunId second = Start(waiting);
  Judged(kPass, 3);

  Turn([&] {
    AgentHello hello;
    hello.name = "b";
    hello.instance = "i2";
    hello.slots = 1;
    hello.labels = {"gpu"};
    orchestrator_->OpenSession(
        hello, [this](DesiredState state) { desired_ = std::move(state); }, [](absl::Status) {},
        [](const absl::StatusOr<SessionGrant>&) {});
  });

  EXPECT_EQ(TaskOf(second).baselines.at("last_passed").identity, "p/1 gate");
}

TEST_F(JudgedGates, AnotherPipelinesGateOfTheSameNameIsNoBaseline) {
  Register("q");
  const core::RunId other = Start(Gate(), "production", core::TriggerKind::kDispatch, "", "q");
  Judge(other, Judgement(kPass, 9));

  EXPECT_TRUE(TaskOf(Start(Gate({"last_passed"}))).baselines.empty());
}

TEST_F(JudgedGates, ARunThatARuleNamesIsTheBaseline) {
  Judged(kFail, 1);
  Judged(kPass, 2);

  const auto& baselines = TaskOf(Start(Gate({"run:1", "run:1.clean", "run:p/2", "run:7"}))).baselines;

  ASSERT_EQ(baselines.size(), 3u);
  EXPECT_EQ(baselines.at("run:1").metrics.at("mae"), 1);
  EXPECT_EQ(baselines.at("run:1.clean").profile.digest, Sha256(std::to_string(1.0)));
  EXPECT_EQ(baselines.at("run:p/2").metrics.at("mae"), 2);
}

TEST_F(JudgedGates, ARetryAndAReproductionAreComparedWithWhatTheirRunWasComparedWith) {
  Judged(kPass, 1);
  const core::RunId second = Start(Gate({"last_passed"}));
  Judge(second, Judgement(kFail, 2));
  Judged(kPass, 3);

  const core::RunId retry = Start(Gate({"last_passed"}), "production", core::TriggerKind::kRetry, second);
  EXPECT_EQ(TaskOf(retry).baselines.at("last_passed").identity, "p/1 gate");
  const core::RunId again = Start(Gate({"last_passed"}), "production", core::TriggerKind::kReproduce, retry);
  EXPECT_EQ(TaskOf(again).baselines.at("last_passed").identity, "p/1 gate");
  EXPECT_EQ(TaskOf(again).created_at, Stored(second).created) << "what is fresh is so by the run that is made again";
  EXPECT_EQ(TaskOf(Start(Gate({"last_passed"}))).baselines.at("last_passed").identity, "p/3 gate");
}

TEST_F(JudgedGates, ARestartTellsTheSameBaselineAgain) {
  Judged(kPass, 1);
  const core::RunId third = Start(Gate());   // Passes after the second was leased.
  const core::RunId second = Start(Gate({"last_passed"}));
  Judge(third, Judgement(kPass, 3));
  Pass(Duration(1'000));

  Stop();
  Turns::Start();
  Connect();

  EXPECT_EQ(TaskOf(second).baselines.at("last_passed").identity, "p/1 gate");
}

TEST_F(JudgedGates, AModelGateGetsWhatTheChampionsGateMeasured) {
  core::StagePlan release = Deploy("release");
  release.needs = {"gate"};
  PreparedRun prepared = Prepared({Gate(), release});
  core::RunId id;
  Turn([&] { orchestrator_->StartRun(std::move(prepared), [&id](absl::StatusOr<core::Run> run) { id = run->id; }); });
  Judge(id, Judgement(kPass, 7));
  ASSERT_TRUE(Finish(id, "release").ok());
  core::StagePlan gate = Gate();
  gate.environment = "production";

  const core::RunId next = Start(gate);

  EXPECT_EQ(TaskOf(next).baselines.at("champion").metrics.at("mae"), 7);
  EXPECT_EQ(TaskOf(next).baselines.at("champion").identity, "p/1 gate");
  gate.kind = StageKind::kContractGate;
  EXPECT_FALSE(TaskOf(Start(gate)).baselines.contains("champion"));
}

TEST_F(JudgedGates, WhatAGateWasComparedWithIsPartOfItsRecipe) {
  core::StagePlan gate = Gate({"last_passed"});
  gate.recipe = {{"definition", "d"}};
  gate.reuse = true;
  const auto recipe = [&] {
    const core::RunId run = Start(gate);
    const core::Recipe taken = Stored(run).FindStage("gate")->latest()->recipe;
    return std::pair(run, taken);
  };

  const auto [first, without] = recipe();
  EXPECT_FALSE(without.contains("baseline last_passed"));
  Judge(first, Judgement(kPass, 1));
  const auto [second, with_first] = recipe();
  ASSERT_TRUE(with_first.contains("baseline last_passed"));
  Judge(second, Judgement(kPass, 2));
  const auto [third, with_second] = recipe();
  EXPECT_NE(with_second.at("baseline last_passed"), with_first.at("baseline last_passed"));
  Judge(third, Judgement(kPass, 2));
  Start(gate);
  EXPECT_EQ(Stored("p/4").FindStage("gate")->carried->from.run, "p/3") << "the third was compared with the same metrics";
}

TEST_F(JudgedGates, AResultThatPassedByAnOverrideIsNotTakenOverWithoutIt) {
  core::StagePlan gate = Gate();
  gate.recipe = {{"definition", "d"}};
  gate.reuse = true;
  ASSERT_TRUE(Override("ana", kHour).ok());
  const core::RunId first = Start(gate);
  Judge(first, Judgement(kFail));
  ASSERT_EQ(Stored(first).state, RunState::kSucceeded);
  EXPECT_TRUE(Stored(Start(gate)).FindStage("gate")->carried.has_value()) << "while it is in force";

  Pass(kHour);

  const core::RunId third = Start(gate);
  EXPECT_FALSE(Stored(third).FindStage("gate")->carried.has_value());
  EXPECT_TRUE(TaskOf(third).overrides.empty());
}

TEST_F(JudgedGates, AnOverriddenRuleOnlyWarnsUntilTheOverrideExpires) {
  EXPECT_EQ(Stored(Judged(kFail, 1)).state, RunState::kFailed);
  ASSERT_TRUE(Override("ana", kHour).ok());
  ASSERT_TRUE(Override("bo", kHour, "another-gate").ok());

  const core::RunId run = Judged(kFail, 1);

  const core::Run stored = Stored(run);
  EXPECT_EQ(stored.state, RunState::kSucceeded);
  const core::Verdict& verdict = *stored.FindStage("gate")->result()->verdict;
  EXPECT_EQ(verdict.outcome, kWarn);
  ASSERT_EQ(verdict.overrides.size(), 1u);
  EXPECT_EQ(verdict.overrides[0].by, "ana");
  EXPECT_EQ(verdict.overrides[0].reason, "a new tax");
  Pass(kHour);
  EXPECT_EQ(Stored(Judged(kFail, 1)).state, RunState::kFailed);
}

TEST_F(JudgedGates, AnOverrideThatExpiresWhileTheGateRunsDoesNotCount) {
  ASSERT_TRUE(Override("ana", kHour).ok());
  const core::RunId run = Start(Gate());
  ASSERT_EQ(TaskOf(run).overrides.size(), 1u);
  Pass(kHour);

  Judge(run, Judgement(kFail));

  const core::Run stored = Stored(run);
  EXPECT_EQ(stored.state, RunState::kFailed);
  EXPECT_EQ(stored.reason, core::Reason::kGateRejected);
  EXPECT_TRUE(stored.FindStage("gate")->result()->verdict->overrides.empty());
}

TEST_F(JudgedGates, ARevokedOverrideDoesNotCount) {
  absl::StatusOr<core::OverrideRecord> put = Override("ana", kHour);
  ASSERT_TRUE(put.ok());
  const core::RunId run = Start(Gate());
  put->revoked_by = "bo";
  ASSERT_TRUE(Put(*put, Duration(0)).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Put(*put, Duration(0)).status())) << "twice";

  Judge(run, Judgement(kFail));

  EXPECT_EQ(Stored(run).state, RunState::kFailed);
  EXPECT_TRUE(TaskOf(Start(Gate())).overrides.empty());
}

TEST_F(JudgedGates, AnAgentCannotMakeUpAnOverride) {
  const core::RunId run = Start(Gate());
  core::Outcome outcome = Judgement(kFail);
  outcome.verdict = core::ApplyOverrides(*outcome.verdict, {{.rule = "mae", .by = "ana", .reason = "r", .at = now_, .expires = now_ + kHour}});
  Turn([&] { orchestrator_->Finish(session_, {run, "gate", 1}, outcome, [](const absl::StatusOr<int64_t>&) {}); });

  EXPECT_EQ(Stored(run).state, RunState::kFailed);
}

TEST_F(JudgedGates, WhereTwoPeopleMustAgreeOneIsNotEnough) {
  core::StagePlan gate = Gate();
  gate.override_people = 2;
  ASSERT_TRUE(Override("ana", kHour).ok());
  ASSERT_TRUE(Override("Ana", kHour).ok());
  EXPECT_TRUE(TaskOf(Start(gate)).overrides.empty());
  ASSERT_TRUE(Override("bo", kHour).ok());
  EXPECT_EQ(TaskOf(Start(gate)).overrides.at(0).by, "Ana, bo");

  gate.override_people = core::kNobodyOverrides;
  EXPECT_TRUE(TaskOf(Start(gate)).overrides.empty());
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

  EXPECT_EQ(orchestrator_->NextWait(), settings_.heartbeat) << "where agents are, it listens for them";
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
  GoOn(Duration(40'000));
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
