// What is made again, and when it is the same.
#include "cd4ml/core/reproduce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "cd4ml/core/decide.h"

namespace cd4ml::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr UtcTime kStart{1'772'452'800'000};

StageRun MakeStage(const std::string& name, StageKind kind, std::vector<std::string> needs,
                   const std::vector<std::string>& outputs, std::map<std::string, double> metrics = {}) {
  StageRun stage;
  stage.plan.name = name;
  stage.plan.kind = kind;
  stage.plan.needs = std::move(needs);
  stage.plan.recipe = {{"code", "1"}};
  stage.plan.reuse = true;
  stage.state = StageState::kSucceeded;
  Attempt attempt{.number = 1, .agent = "a", .state = AttemptState::kSucceeded};
  attempt.outcome.state = AttemptState::kSucceeded;
  attempt.outcome.metrics = std::move(metrics);
  attempt.outcome.environment = Value::Map{{"python", "3.11.2"}};
  for (const std::string& output : outputs) {
    ProducedOutput made;
    made.name = made.path = output;
    made.artifact.digest = Sha256(name + "." + output);
    attempt.outcome.outputs.push_back(made);
  }
  stage.attempts.push_back(attempt);
  return stage;
}

Run MakeRun() {
  Run run;
  run.id = "car/1";
  run.pipeline = "car";
  run.state = RunState::kSucceeded;
  run.created = kStart;
  run.stages = {MakeStage("clean", StageKind::kDataGate, {}, {"clean", "rejects"}),
                MakeStage("train", StageKind::kTrain, {"clean"}, {"model"}, {{"mae", 1500}, {"bias", 0}}),
                MakeStage("gate", StageKind::kModelGate, {"train"}, {}, {{"r2", 0.8}}),
                MakeStage("package", StageKind::kPackage, {"gate", "train"}, {"service"}),
                MakeStage("contract", StageKind::kContractGate, {"package"}, {}, {{"p95", 12}}),
                MakeStage("release", StageKind::kDeploy, {"contract"}, {}),
                MakeStage("smoke", StageKind::kCommand, {"release"}, {"report"}),
                MakeStage("watch", StageKind::kMonitor, {"release"}, {})};
  Reindex(run);
  return run;
}

// As if it had been made again, to the same.
Run MakeAgain(const Run& original) {
  const ReproductionPlan plan = PlanReproduction(original).value();
  Run again = original;
  again.id = "car/2";
  again.trigger.kind = TriggerKind::kReproduce;
  again.retry_of = original.id;
  for (StageRun& stage : again.stages) {
    if (!plan.left_out.contains(stage.plan.name)) continue;
    stage.state = StageState::kSkipped;
    stage.reason = Reason::kNotSelected;
    stage.attempts.clear();
  }
  return again;
}

Outcome& OutcomeOf(Run& run, const std::string& stage) { return run.FindStage(stage)->attempts.back().outcome; }

void Fail(Run& run, const std::string& name, Reason reason, const std::string& message) {
  StageRun& stage = *run.FindStage(name);
  stage.state = StageState::kFailed;
  stage.reason = reason;
  stage.message = message;
  run.state = RunState::kFailed;
  run.reason = reason;
}

// --- the plan ------------------------------------------------------------------------------------

TEST(PlanReproduction, LeavesOutWhatChangesTheWorldAndAllThatNeedsIt) {
  const auto plan = PlanReproduction(MakeRun());

  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->left_out, ElementsAre("release", "smoke", "watch"));
  EXPECT_EQ(plan->stages.size(), 8u);
}

TEST(PlanReproduction, TakesNothingOverAndGivesNothing) {
  const auto plan = PlanReproduction(MakeRun());

  ASSERT_TRUE(plan.ok()) << plan.status();
  for (const StagePlan& stage : plan->stages) {
    EXPECT_FALSE(stage.reuse) << stage.name;
    EXPECT_THAT(stage.recipe, IsEmpty()) << stage.name;
  }
}

TEST(PlanReproduction, RepeatsNoFailureButWhatSucceededInSpiteOfIt) {
  core::Run ended = MakeRun();
  Fail(ended, "gate", Reason::kGateRejected, "mae");
  StageRun& report = *ended.FindStage("package");
  report.plan.condition = "failed('gate')";
  for (const char* skipped : {"contract", "release", "smoke", "watch"}) {
    ended.FindStage(skipped)->state = StageState::kSkipped;
  }

  const auto plan = PlanReproduction(ended);

  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->left_out, ElementsAre("contract", "gate", "release", "smoke", "watch"));
  EXPECT_EQ(plan->stages[3].condition, "always()");
}

TEST(PlanReproduction, IsARunThatDeploysNothing) {
  core::Run ended = MakeRun();
  ended.FindStage("train")->plan.condition = "run.trigger == 'monitor'";  // True then: a monitor had asked.
  ReproductionPlan plan = PlanReproduction(ended).value();
  StartRun start{.id = "car/2", .pipeline = "car", .number = 2, .lane = "production"};
  start.retry_of = ended.id;
  start.trigger.kind = TriggerKind::kReproduce;
  start.stages = plan.stages;
  start.left_out = plan.left_out;
  core::Run run;
  const auto follow = [&](const Command& command) {
    const auto events = Decide(run, command, kStart);
    ASSERT_TRUE(events.ok()) << events.status();
    for (const Event& event : *events) {
      EXPECT_FALSE(std::holds_alternative<Deployed>(event));
      EXPECT_FALSE(std::holds_alternative<MonitorArmed>(event));
      Apply(event, kStart, run);
    }
  };

  follow(start);
  for (const char* stage : {"clean", "train", "gate", "package", "contract"}) {
    ASSERT_EQ(run.FindStage(stage)->state, StageState::kReady) << stage;
    Outcome outcome = OutcomeOf(ended, stage);
    outcome.verdict = Conclude({RuleResult{.name = "rule"}});
    follow(GrantLease{stage, "a", {}, ""});
    follow(ReportFinished{stage, 1, "a", outcome});
  }

  EXPECT_EQ(run.state, RunState::kSucceeded);
  EXPECT_THAT(run.FindStage("release")->message, HasSubstr("left out: making run car/1 again"));
  EXPECT_EQ(JudgeReproduction(ended, run, std::nullopt).sameness, Sameness::kIdentical);
}

TEST(PlanReproduction, RefusesWhatCannotBeCompared) {
  core::Run open = MakeRun();
  open.state = RunState::kRunning;
  EXPECT_EQ(PlanReproduction(open).status().code(), absl::StatusCode::kFailedPrecondition);

  core::Run barren = MakeRun();
  for (StageRun& stage : barren.stages) {
    if (stage.plan.name != "smoke") OutcomeOf(barren, stage.plan.name).outputs.clear();
  }
  EXPECT_THAT(std::string(PlanReproduction(barren).status().message()), HasSubstr("made nothing that could be made again"));
}

// --- the judgement -------------------------------------------------------------------------------

TEST(JudgeReproduction, IsIdenticalWhenEveryOutputHasTheSameBytes) {
  const core::Run original = MakeRun();

  const Reproduction found = JudgeReproduction(original, MakeAgain(original), std::nullopt);

  EXPECT_EQ(found.sameness, Sameness::kIdentical);
  EXPECT_EQ(found.stage, "");
  EXPECT_EQ(found.outputs, 4);
  EXPECT_THAT(found.differences, IsEmpty());
  EXPECT_THAT(found.left_out, ElementsAre("release", "smoke", "watch"));
}

TEST(JudgeReproduction, NamesTheFirstStageWhoseOutputDiffers) {
  const core::Run original = MakeRun();
  core::Run again = MakeAgain(original);
  OutcomeOf(again, "package").outputs[0].artifact.digest = Sha256("other service");
  OutcomeOf(again, "train").outputs[0].artifact.digest = Sha256("other model");

  const Reproduction found = JudgeReproduction(original, again, std::nullopt);

  EXPECT_EQ(found.sameness, Sameness::kDifferent);
  EXPECT_EQ(found.stage, "train");
  EXPECT_THAT(found.why, HasSubstr("its output \"model\" was sha256:" + Sha256("train.model").hex().substr(0, 12)));
  ASSERT_EQ(found.differences.size(), 2u);
  EXPECT_EQ(found.differences[0].name, "train.model");
  EXPECT_EQ(found.differences[1].name, "package.service");
}

TEST(JudgeReproduction, MissesAnOutputThatIsNotThere) {
  const core::Run original = MakeRun();
  core::Run again = MakeAgain(original);
  OutcomeOf(again, "clean").outputs.pop_back();

  EXPECT_EQ(JudgeReproduction(original, again, std::nullopt).sameness, Sameness::kDifferent);
  EXPECT_EQ(JudgeReproduction(original, again, std::nullopt).stage, "clean");
}

TEST(JudgeReproduction, ForgivesBytesWhereTheMetricsAreWithinTheTolerance) {
  const core::Run original = MakeRun();
  core::Run again = MakeAgain(original);
  OutcomeOf(again, "train").outputs[0].artifact.digest = Sha256("other model");
  OutcomeOf(again, "train").metrics = {{"mae", 1501.5}, {"bias", 0.001}};  // 0.1 % of a large one, 0.001 of a small one.
  OutcomeOf(again, "contract").metrics["p95"] = 99;                       // How long answers took.

  const Reproduction equivalent = JudgeReproduction(original, again, 0.001);
  EXPECT_EQ(equivalent.sameness, Sameness::kEquivalent);
  EXPECT_EQ(equivalent.stage, "train");
  EXPECT_EQ(equivalent.metrics, 3);
  EXPECT_EQ(JudgeReproduction(original, again, std::nullopt).sameness, Sameness::kDifferent);
  const Reproduction beyond = JudgeReproduction(original, again, 0.00099);
  EXPECT_EQ(beyond.sameness, Sameness::kDifferent);
  EXPECT_THAT(beyond.why, HasSubstr("train: its metric \"bias\" is beyond the tolerance"));
}

TEST(JudgeReproduction, FindsAMetricBeyondTheToleranceAlsoWhereNoOutputTells) {
  const core::Run original = MakeRun();
  core::Run again = MakeAgain(original);
  OutcomeOf(again, "gate").metrics["r2"] = 0.7;

  const Reproduction found = JudgeReproduction(original, again, 0.01);

  EXPECT_EQ(found.sameness, Sameness::kDifferent);
  EXPECT_EQ(found.stage, "gate");
}

TEST(JudgeReproduction, NeverTakesAMetricThatIsGoneOrNoNumberForWithin) {
  const core::Run original = MakeRun();
  using Metrics = std::map<std::string, double>;
  for (const Metrics& metrics : {Metrics{{"mae", 1500}},
                                 Metrics{{"mae", std::numeric_limits<double>::quiet_NaN()}, {"bias", 0}},
                                 Metrics{{"mae", std::numeric_limits<double>::infinity()}, {"bias", 0}}}) {
    core::Run again = MakeAgain(original);
    OutcomeOf(again, "train").metrics = metrics;
    EXPECT_EQ(JudgeReproduction(original, again, 0.5).sameness, Sameness::kDifferent);
  }
  core::Run undefined = MakeRun();
  OutcomeOf(undefined, "train").metrics["mae"] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(JudgeReproduction(undefined, MakeAgain(undefined), 0).sameness, Sameness::kIdentical);
}

TEST(JudgeReproduction, ForgivesNothingWhereThereIsNoMetric) {
  core::Run original = MakeRun();
  for (const char* stage : {"train", "gate"}) OutcomeOf(original, stage).metrics.clear();
  core::Run again = MakeAgain(original);
  OutcomeOf(again, "train").outputs[0].artifact.digest = Sha256("other model");

  const Reproduction found = JudgeReproduction(original, again, 0.5);

  EXPECT_EQ(found.sameness, Sameness::kDifferent);
  EXPECT_THAT(found.why, HasSubstr("no metric is recorded"));
}

TEST(JudgeReproduction, IsDifferentWhereAStageFailsThatSucceededThen) {
  const core::Run original = MakeRun();
  core::Run again = MakeAgain(original);
  Fail(again, "gate", Reason::kGateRejected, "mae: 1700, must be <= 1650");
  for (const char* skipped : {"package", "contract"}) {
    again.FindStage(skipped)->state = StageState::kSkipped;
    again.FindStage(skipped)->reason = Reason::kNeedFailed;
  }

  for (const std::optional<double> tolerance : {std::optional<double>(), std::optional<double>(0.5)}) {
    const Reproduction found = JudgeReproduction(original, again, tolerance);
    EXPECT_EQ(found.sameness, Sameness::kDifferent);
    EXPECT_EQ(found.stage, "gate");
    EXPECT_THAT(found.why, HasSubstr("failed: mae: 1700"));
  }
}

TEST(JudgeReproduction, SaysNothingWhereOurSideFailedOrItDidNotEnd) {
  const core::Run original = MakeRun();
  core::Run broken = MakeAgain(original);
  Fail(broken, "train", Reason::kAgentLost, "agent \"a\" has been silent");
  EXPECT_EQ(JudgeReproduction(original, broken, std::nullopt).sameness, Sameness::kUnknown);

  for (const RunState state : {RunState::kRunning, RunState::kQueued, RunState::kCancelled}) {
    core::Run again = MakeAgain(original);
    again.state = state;
    const Reproduction found = JudgeReproduction(original, again, std::nullopt);
    EXPECT_EQ(found.sameness, Sameness::kUnknown);
    EXPECT_NE(found.why, "");
  }
}

TEST(JudgeReproduction, TellsWhatTheStagesRanWithWhenThatDiffers) {
  const core::Run original = MakeRun();
  core::Run again = MakeAgain(original);
  for (StageRun& stage : again.stages) {
    if (!stage.attempts.empty()) SetPath(stage.attempts.back().outcome.environment, "python", "3.12.1");
  }

  const Reproduction found = JudgeReproduction(original, again, std::nullopt);

  EXPECT_EQ(found.sameness, Sameness::kIdentical);
  ASSERT_EQ(found.differences.size(), 1u);
  EXPECT_EQ(found.differences[0].kind, DifferenceKind::kEnvironment);
}

}  // namespace
}  // namespace cd4ml::core
