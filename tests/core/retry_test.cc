// What a retry of a run does again, takes over or leaves out.
#include "cd4ml/core/retry.h"

#include <gtest/gtest.h>

#include "cd4ml/core/decide.h"

namespace cd4ml::core {
namespace {

constexpr UtcTime kNow{1'000'000};

StagePlan Plan(std::string name, std::vector<std::string> needs = {}) {
  StagePlan plan;
  plan.name = std::move(name);
  plan.needs = std::move(needs);
  return plan;
}

// clean → train → gate → deploy, and report beside; the gate has failed.
const std::vector<StagePlan> kStages = {Plan("clean"), Plan("report", {"clean"}), Plan("train", {"clean"}),
                                        Plan("gate", {"train"}), Plan("deploy", {"gate"})};

void Do(Run& run, const Command& command) {
  const absl::StatusOr<std::vector<Event>> events = Decide(run, command, kNow);
  ASSERT_TRUE(events.ok()) << events.status();
  for (const Event& event : *events) Apply(event, kNow, run);
}

StartRun Start(RunId id) {
  StartRun start;
  start.id = std::move(id);
  start.pipeline = "p";
  start.stages = kStages;
  return start;
}

Run Ended() {
  Run run;
  Do(run, Start("p/1"));
  for (const char* stage : {"clean", "report", "train", "gate"}) {
    Do(run, GrantLease{stage, "a"});
    Outcome outcome;
    outcome.state = std::string(stage) == "gate" ? AttemptState::kFailed : AttemptState::kSucceeded;
    outcome.reason = std::string(stage) == "gate" ? Reason::kExitCode : Reason::kNone;
    outcome.metrics["seen"] = 1;
    Do(run, ReportFinished{stage, 1, "a", outcome});
  }
  EXPECT_EQ(run.state, RunState::kFailed);
  return run;
}

std::set<std::string> Names(const std::map<std::string, Carried>& carried) {
  std::set<std::string> names;
  for (const auto& [name, result] : carried) names.insert(name);
  return names;
}

using Set = std::set<std::string>;

TEST(SelectForRetry, FailedDoesAgainWhatDidNotSucceed) {
  const auto selection = SelectForRetry(Ended(), kStages, RetryScope::kFailed, "");

  ASSERT_TRUE(selection.ok());
  EXPECT_EQ(Names(selection->carried), (Set{"clean", "report", "train"}));
  EXPECT_EQ(selection->left_out, Set{});
  EXPECT_EQ(selection->carried.at("train").from, (AttemptId{"p/1", "train", 1}));
}

TEST(SelectForRetry, FromDoesAgainEverythingAfterIt) {
  const auto selection = SelectForRetry(Ended(), kStages, RetryScope::kFrom, "train");

  ASSERT_TRUE(selection.ok());
  EXPECT_EQ(Names(selection->carried), (Set{"clean", "report"}));
}

TEST(SelectForRetry, OnlyLeavesOutWhatComesAfter) {
  const auto selection = SelectForRetry(Ended(), kStages, RetryScope::kOnly, "train");

  ASSERT_TRUE(selection.ok());
  EXPECT_EQ(Names(selection->carried), Set{"clean"});
  EXPECT_EQ(selection->left_out, (Set{"report", "gate", "deploy"}));
}

TEST(SelectForRetry, WhatHasOtherParametersNowIsNotTakenOverAndNeitherIsWhatComesAfter) {
  const auto failed = SelectForRetry(Ended(), kStages, RetryScope::kFailed, "", {"train"});
  const auto only = SelectForRetry(Ended(), kStages, RetryScope::kOnly, "report", {"clean"});

  ASSERT_TRUE(failed.ok());
  EXPECT_EQ(Names(failed->carried), (Set{"clean", "report"}));
  EXPECT_EQ(only.status().message(),
            "stage \"report\" needs \"clean\", which has other parameters now than in run p/1; retry from there: "
            "--from clean");
}

TEST(SelectForRetry, AStageHasOtherParametersWhenOneThatItNamesIsAnotherAndAnyIfItNamesNone) {
  PipelineSpec spec;
  spec.stages.resize(5);
  spec.stages[0] = {.name = "depth", .params = {"train.depth"}};
  spec.stages[1] = {.name = "seed", .params = {"seed"}};
  spec.stages[2] = {.name = "all"};
  spec.stages[3] = {.name = "cell", .cell_params = {{"train.depth", 8}}};
  spec.stages[4] = {.name = "tree", .params = {"train"}};
  const Value before = Value::Map{{"train", Value::Map{{"depth", 3}}}};
  const Value now = Value::Map{{"train", Value::Map{{"depth", 4}}}};

  EXPECT_EQ(StagesOfOtherParams(spec, before, now), (Set{"depth", "all", "tree"})) << "a cell has its own depth";
  EXPECT_EQ(StagesOfOtherParams(spec, before, before), Set{});
}

TEST(SelectForRetry, AMatrixHasTheParametersOfItsCells) {
  PipelineSpec spec;
  spec.stages.resize(2);
  spec.stages[0] = {.name = "train@8", .params = {"train"}, .cell_of = "train"};
  spec.stages[1] = {.name = "train", .matrix = MatrixSpec{.cells = {"train@8"}}};

  EXPECT_EQ(StagesOfOtherParams(spec, *ParseJson(R"({"limit": 3})"), *ParseJson(R"({"limit": 4})")), Set{});
}

TEST(SelectForRetry, AConditionDependsOnTheParametersThatItNames) {
  PipelineSpec spec;
  spec.stages.resize(4);
  spec.stages[0] = {.name = "limited", .params = {"seed"}, .condition = "params.limit > 1"};
  spec.stages[1] = {.name = "lane", .params = {"seed"}, .condition = "run.lane == 'params.limit'"};
  spec.stages[2] = {.name = "deep", .params = {"seed"}, .condition = "params.train.depth > 1"};
  spec.stages[3] = {.name = "cell", .params = {"seed"}, .condition = "params.train.depth > 1", .cell_params = {{"train.depth", 8}}};
  const auto others = [&](const char* before, const char* now) {
    return StagesOfOtherParams(spec, *ParseJson(before), *ParseJson(now));
  };

  EXPECT_EQ(others(R"({"limit": 3})", R"({"limit": 4})"), Set{"limited"});
  EXPECT_EQ(others(R"({"train": {"depth": 3}})", R"({"train": {"depth": 4}})"), Set{"deep"}) << "a cell has its own depth";
}

TEST(SelectForRetry, OnlyNeedsWhatItNeeds) {
  const auto selection = SelectForRetry(Ended(), kStages, RetryScope::kOnly, "deploy");

  EXPECT_EQ(selection.status().message(),
            "stage \"deploy\" needs \"gate\", which did not succeed in run p/1; retry from there: --from gate");
}

TEST(SelectForRetry, LeavesReproductionsAlone) {
  core::Run again = Ended();
  again.trigger.kind = TriggerKind::kReproduce;
  again.retry_of = "p/0";

  const absl::Status status = SelectForRetry(again, kStages, RetryScope::kFailed, "").status();

  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("p/0"), std::string::npos);
}

TEST(SelectForRetry, SaysWhatIsWrong) {
  core::Run running;
  Do(running, Start("p/2"));

  EXPECT_TRUE(absl::IsFailedPrecondition(SelectForRetry(running, kStages, RetryScope::kFailed, "").status()));
  EXPECT_EQ(SelectForRetry(Ended(), kStages, RetryScope::kFrom, "trai").status().message(),
            "run p/1 has no stage \"trai\"; did you mean \"train\"?");
}

TEST(Retry, CarriedResultsAreInputsOfWhatIsDoneAgainAndTheOldRunIsUntouched) {
  const core::Run ended = Ended();
  const auto selection = SelectForRetry(ended, kStages, RetryScope::kFailed, "");
  StartRun start = Start("p/2");
  start.retry_of = "p/1";
  start.carried = selection->carried;

  core::Run run;
  Do(run, start);

  EXPECT_EQ(run.FindStage("gate")->state, StageState::kReady);
  EXPECT_EQ(run.FindStage("train")->state, StageState::kSucceeded);
  EXPECT_EQ(run.FindStage("train")->result()->metrics.at("seen"), 1);
  EXPECT_TRUE(run.FindStage("train")->attempts.empty());
  Do(run, GrantLease{"gate", "a"});
  Outcome passed;
  passed.state = AttemptState::kSucceeded;
  Do(run, ReportFinished{"gate", 1, "a", passed});
  Do(run, GrantLease{"deploy", "a"});
  Do(run, ReportFinished{"deploy", 1, "a", passed});
  EXPECT_EQ(run.state, RunState::kSucceeded);

  // A retry of a retry names the attempt that really made the result.
  const auto again = SelectForRetry(run, kStages, RetryScope::kFrom, "deploy");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->carried.at("train").from, (AttemptId{"p/1", "train", 1}));
  EXPECT_EQ(again->carried.at("gate").from, (AttemptId{"p/2", "gate", 1}));
}

TEST(Retry, AQueuedRetryStartsNothingBeforeItsTurnAndLeftOutStagesAreSkipped) {
  const auto selection = SelectForRetry(Ended(), kStages, RetryScope::kOnly, "train");
  StartRun start = Start("p/2");
  start.queued = true;
  start.retry_of = "p/1";
  start.carried = selection->carried;
  start.left_out = selection->left_out;

  core::Run run;
  Do(run, start);
  EXPECT_EQ(run.FindStage("train")->state, StageState::kBlocked);
  EXPECT_EQ(run.FindStage("deploy")->reason, Reason::kNotSelected);
  Do(run, AdmitRun{});

  EXPECT_EQ(run.FindStage("train")->state, StageState::kReady);
}

}  // namespace
}  // namespace cd4ml::core
