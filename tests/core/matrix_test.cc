// Cells of a matrix: their names, what they come to, and how a run with them goes.
#include "cd4ml/core/matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "cd4ml/core/decide.h"
#include "cd4ml/core/plan.h"
#include "cd4ml/core/recipe.h"
#include "cd4ml/core/retry.h"

namespace cd4ml::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;

constexpr UtcTime kNow{1'000'000};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// prep → train@a, train@b, train@c → train → package
std::vector<StagePlan> Plans(MatrixSpec matrix) {
  std::vector<StagePlan> plans;
  const auto add = [&](std::string name, std::vector<std::string> needs) -> StagePlan& {
    StagePlan& plan = plans.emplace_back();
    plan.name = std::move(name);
    plan.needs = std::move(needs);
    return plan;
  };
  add("prep", {});
  matrix.cells = {"train@a", "train@b", "train@c"};
  for (const std::string& cell : matrix.cells) {
    StagePlan& plan = add(cell, {"prep"});
    plan.kind = StageKind::kTrain;
    plan.cell_of = "train";
    plan.cell_params = {{"algorithm", cell.substr(6)}};
    plan.references = {"prep.data"};
  }
  StagePlan& train = add("train", matrix.cells);
  train.kind = StageKind::kTrain;
  train.matrix = matrix;
  add("package", {"train"}).references = {"train.model"};
  return plans;
}

MatrixSpec ByMae(bool goes_on = false) {
  MatrixSpec matrix;
  matrix.select = "mae";
  matrix.goes_on = goes_on;
  return matrix;
}

Outcome Success(std::map<std::string, double> metrics, const std::string& bytes) {
  Outcome outcome;
  outcome.state = AttemptState::kSucceeded;
  outcome.metrics = std::move(metrics);
  outcome.outputs = {{"model", "model.json", OutputType::kModel, {Sha256(bytes), false, 1, 1}, std::nullopt}};
  return outcome;
}

Outcome Failure() {
  Outcome outcome;
  outcome.state = AttemptState::kFailed;
  outcome.reason = Reason::kExitCode;
  outcome.message = "exit code 1";
  return outcome;
}

struct Fixture {
  Run run;
  std::vector<Event> events;

  explicit Fixture(std::vector<StagePlan> plans, StartRun start = {}) {
    start.id = start.id.empty() ? "p/1" : start.id;
    start.pipeline = "p";
    start.lane = "production";
    start.pins.params = *ParseJson(R"({"algorithm": "none", "seed": 1})");
    start.stages = std::move(plans);
    Do(start);
  }

  void Do(const Command& command) {
    const auto decided = Decide(run, command, kNow);
    ASSERT_TRUE(decided.ok()) << decided.status();
    for (const Event& event : *decided) {
      Apply(event, kNow, run);
      events.push_back(event);
    }
  }
  void Lease(const std::string& stage) { Do(GrantLease{stage, "a"}); }
  void End(const std::string& stage, Outcome outcome) {
    if (run.FindStage(stage)->state == StageState::kReady) Lease(stage);
    Do(ReportFinished{stage, run.FindStage(stage)->latest()->number, "a", std::move(outcome)});
  }
  void Train(const std::string& cell, double mae) { End("train@" + cell, Success({{"mae", mae}}, "model of " + cell)); }

  const StageRun& Stage(const std::string& name) const { return *run.FindStage(name); }
  StageState State(const std::string& name) const { return Stage(name).state; }
};

TEST(CellName, SaysTheValuesAndNothingElse) {
  EXPECT_EQ(CellName("train", {Value("ridge"), Value(8)}), "train@ridge,8");
  EXPECT_EQ(CellName("train", {Value(0.1), Value(true), Value(-3)}), "train@0.1,true,-3");
}

TEST(CellName, IsReadableAndItsOwnWhateverTheValueIs) {
  std::set<std::string> names;
  for (const char* text : {"a b", "a/b", "a@b", "a,b", "", "ä", "$(x)"}) {
    const std::string name = CellName("t", {Value(text)});
    EXPECT_EQ(name.find_first_of(" /$()"), std::string::npos) << name;
    EXPECT_EQ(name.find('@', 2), std::string::npos) << name;
    names.insert(name);
  }
  names.insert(CellName("t", {Value("a"), Value("b")}));
  names.insert(CellName("t", {Value("a"), Value("b,c")}));
  names.insert(CellName("t", {Value("a,b"), Value("c")}));
  names.insert(CellName("t", {Value(std::string(500, 'x') + "1")}));
  names.insert(CellName("t", {Value(std::string(500, 'x') + "2")}));
  EXPECT_EQ(names.size(), 12u);
  for (const std::string& name : names) EXPECT_LE(name.size(), 70u);
}

TEST(Reference, TellsTheDotsOfACellFromThatOfItsOutput) {
  const Reference cell = ParseReference("train@0.1,2.5.model");
  EXPECT_EQ(cell.stage, "train@0.1,2.5");
  EXPECT_EQ(cell.output, "model");
  EXPECT_EQ(ParseReference("table.a.b@c").stage, "table");
}

TEST(Matrix, TheStageWaitsForAllCellsAndHasTheResultOfTheBest) {
  Fixture f(Plans(ByMae()));
  f.End("prep", Success({}, "data"));
  f.Train("c", 3);
  f.Train("a", 5);
  EXPECT_EQ(f.State("train"), StageState::kBlocked);
  f.Train("b", 4);

  ASSERT_EQ(f.State("train"), StageState::kSucceeded);
  const Carried& taken = *f.Stage("train").carried;
  EXPECT_EQ(taken.cell, "train@c");
  EXPECT_EQ(taken.from, (AttemptId{"p/1", "train@c", 1}));
  EXPECT_EQ(taken.why, "lowest mae of 3 cells: train@c 3.0, train@b 4.0, train@a 5.0");
  EXPECT_EQ(FindOutput(f.run, "train.model")->artifact.digest, Sha256("model of c"));
  EXPECT_EQ(FindVersion(f.run, "train.model")->name, "p/train@c.model") << "as its maker has called it";
  EXPECT_EQ(f.State("package"), StageState::kReady);
}

TEST(Matrix, TheLastCellThatEndsMayWin) {
  Fixture f(Plans(ByMae()));
  f.End("prep", Success({}, "data"));
  f.Train("a", 5);
  f.Train("c", 4);
  f.Train("b", 1);

  EXPECT_EQ(f.Stage("train").carried->cell, "train@b");
  EXPECT_EQ(f.Stage("train").result()->metrics.at("mae"), 1);
}

TEST(Matrix, TheHighestWinsWhereMoreIsBetter) {
  MatrixSpec matrix = ByMae();
  matrix.select_highest = true;
  Fixture f(Plans(matrix));
  f.End("prep", Success({}, "data"));
  for (const auto& [cell, value] : {std::pair("a", -1.0), {"b", 7.0}, {"c", 2.0}}) f.Train(cell, value);

  EXPECT_EQ(f.Stage("train").carried->cell, "train@b");
  EXPECT_THAT(f.Stage("train").carried->why, HasSubstr("highest mae of 3 cells: train@b 7.0, train@c 2.0, train@a -1.0"));
}

TEST(Matrix, OfEqualOnesTheFirstOfTheFileWinsWhoeverEndedFirst) {
  Fixture f(Plans(ByMae()));
  f.End("prep", Success({}, "data"));
  for (const char* cell : {"c", "b"}) f.Train(cell, 2);
  f.Train("a", 3);

  EXPECT_EQ(f.Stage("train").carried->cell, "train@b");
  EXPECT_THAT(f.Stage("train").carried->why, HasSubstr("of equal ones the first in the file's order wins"));
}

TEST(Matrix, ACellWithoutANumberCannotWin) {
  Fixture f(Plans(ByMae()));
  f.End("prep", Success({}, "data"));
  f.Train("a", kNan);
  f.End("train@b", Success({{"rmse", 1}}, "b"));
  f.Train("c", 9);

  EXPECT_EQ(f.Stage("train").carried->cell, "train@c");
  EXPECT_THAT(f.Stage("train").carried->why, HasSubstr("not compared: train@a (mae is NaN), train@b (no mae)"));
}

TEST(Matrix, AnInfiniteMetricIsNoNumberEither) {
  MatrixSpec matrix = ByMae();
  matrix.cells = {"t@a", "t@b"};
  const Outcome best = Success({{"mae", -std::numeric_limits<double>::infinity()}}, "a"), other = Success({{"mae", 3}}, "b");
  const Joined joined = JoinCells(matrix, {{"t@a", StageState::kSucceeded, Reason::kNone, &best, {}},
                                           {"t@b", StageState::kSucceeded, Reason::kNone, &other, {}}});
  EXPECT_EQ(joined.winner->cell, "t@b");
}

TEST(Matrix, WithoutAnyNumberNobodyWinsAndWhatFollowsIsBlocked) {
  Fixture f(Plans(ByMae()));
  f.End("prep", Success({}, "data"));
  f.Train("a", kNan);
  f.Train("b", kNan);
  f.End("train@c", Success({{"meae", 1}}, "c"));

  EXPECT_EQ(f.State("train"), StageState::kFailed);
  EXPECT_EQ(f.Stage("train").reason, Reason::kMetricsUnreadable);
  EXPECT_THAT(f.Stage("train").message, HasSubstr("no cell can win"));
  EXPECT_THAT(f.Stage("train").message, HasSubstr("train@c (no mae)"));
  EXPECT_THAT(f.Stage("train").message, Not(HasSubstr("did you mean"))) << "it is the name";
  EXPECT_EQ(f.State("package"), StageState::kSkipped);
  EXPECT_EQ(f.run.state, RunState::kFailed);
}

TEST(Matrix, AFailedCellEndsTheOthersUnlessToldNotTo) {
  Fixture f(Plans(ByMae()));
  f.End("prep", Success({}, "data"));
  f.Lease("train@b");
  f.End("train@a", Failure());

  EXPECT_EQ(f.State("train@c"), StageState::kCancelled) << "it had not begun";
  ASSERT_TRUE(f.Stage("train@b").stop.has_value()) << "its agent is told";
  Outcome cancelled;
  cancelled.state = AttemptState::kCancelled;
  f.End("train@b", cancelled);

  EXPECT_EQ(f.State("train@b"), StageState::kCancelled);
  EXPECT_THAT(f.Stage("train@b").message, HasSubstr("cell train@a failed"));
  EXPECT_EQ(f.State("train"), StageState::kFailed);
  EXPECT_EQ(f.run.state, RunState::kFailed);
  EXPECT_EQ(f.run.message, "train@a: exit code 1");
}

TEST(Matrix, TwoCellsThatFailAtOnceAskTheThirdToEndOnce) {
  std::vector<StagePlan> plans = Plans(ByMae());
  for (StagePlan& plan : plans) {
    if (plan.name == "train@a" || plan.name == "train@b") plan.total_timeout = Duration(1);
  }
  Fixture f(std::move(plans));
  f.End("prep", Success({}, "data"));
  f.Lease("train@c");
  core::Run late = f.run;
  const auto decided = Decide(late, Tick{}, kNow + Duration(1'000));
  ASSERT_TRUE(decided.ok());
  for (const Event& event : *decided) Apply(event, kNow + Duration(1'000), late);

  EXPECT_EQ(late.FindStage("train@b")->state, StageState::kFailed);
  EXPECT_TRUE(late.FindStage("train@c")->stop.has_value());
}

TEST(Matrix, ThatGoesOnChoosesAmongThoseThatPassed) {
  Fixture f(Plans(ByMae(true)));
  f.End("prep", Success({}, "data"));
  f.End("train@a", Failure());
  EXPECT_EQ(f.State("train@b"), StageState::kReady);
  f.Train("b", 4);
  f.Train("c", 3);

  EXPECT_EQ(f.Stage("train").carried->cell, "train@c");
  EXPECT_THAT(f.Stage("train").carried->why, HasSubstr("not compared: train@a (failed)"));
  f.End("package", Success({}, "package"));
  EXPECT_EQ(f.run.state, RunState::kSucceeded) << "another cell has made up for it";
}

TEST(Matrix, ThatGoesOnFailsWhenNoCellPassed) {
  Fixture f(Plans(ByMae(true)));
  f.End("prep", Success({}, "data"));
  for (const char* cell : {"train@a", "train@b", "train@c"}) f.End(cell, Failure());

  EXPECT_EQ(f.State("train"), StageState::kFailed);
  EXPECT_EQ(f.run.state, RunState::kFailed);
}

TEST(Matrix, WithoutSelectAllCellsMustPass) {
  MatrixSpec matrix;
  matrix.goes_on = true;
  Fixture good(Plans(matrix)), bad(Plans(matrix));
  for (Fixture* f : {&good, &bad}) f->End("prep", Success({}, "data"));
  for (const char* cell : {"a", "b", "c"}) good.Train(cell, 1);
  bad.Train("a", 1);
  bad.Train("b", 1);
  bad.End("train@c", Failure());

  EXPECT_EQ(good.State("train"), StageState::kSucceeded);
  EXPECT_EQ(good.Stage("train").message, "3 cells passed");
  EXPECT_EQ(FindOutput(good.run, "train.model"), nullptr);
  EXPECT_EQ(bad.State("train"), StageState::kFailed);
  EXPECT_THAT(bad.Stage("train").message, HasSubstr("train@c (failed)"));
}

TEST(Matrix, IsSkippedWithItsCellsAndHasOnlyThoseThatTheirConditionLets) {
  std::vector<StagePlan> plans = Plans(ByMae());
  for (StagePlan& plan : plans) {
    if (!plan.cell_of.empty()) plan.condition = "params.algorithm != 'a'";
  }
  Fixture some(plans);
  some.End("prep", Success({}, "data"));
  EXPECT_EQ(some.State("train@a"), StageState::kSkipped) << "a condition knows the cell's parameters";
  some.Train("b", 2);
  some.Train("c", 1);
  EXPECT_EQ(some.Stage("train").carried->cell, "train@c");

  Fixture none(plans);
  none.End("prep", Failure());
  EXPECT_EQ(none.State("train"), StageState::kSkipped);
  EXPECT_EQ(none.State("package"), StageState::kSkipped);
  EXPECT_EQ(none.run.message, "prep: exit code 1");
}

TEST(Matrix, IsCancelledWithItsRun) {
  Fixture f(Plans(ByMae()));
  f.End("prep", Success({}, "data"));
  f.Lease("train@a");
  f.Do(CancelRun{"enough", ""});
  Outcome cancelled;
  cancelled.state = AttemptState::kCancelled;
  f.End("train@a", cancelled);

  EXPECT_EQ(f.run.state, RunState::kCancelled);
}

TEST(Matrix, ReusedCellsChooseAgain) {
  Fixture f(Plans(ByMae()));
  f.End("prep", Success({}, "data"));
  for (StageRun& stage : f.run.stages) stage.plan.reuse = !stage.plan.matrix;
  for (const auto& [cell, mae] : {std::pair("a", 5.0), {"b", 2.0}, {"c", 7.0}}) {
    const std::string name = "train@" + std::string(cell);
    f.Do(OfferResult{name, {{"p/0", name, 2}, Success({{"mae", mae}}, cell), true, "", ""}});
  }

  EXPECT_EQ(f.Stage("train").carried->cell, "train@b");
  EXPECT_EQ(f.Stage("train").carried->from, (AttemptId{"p/0", "train@b", 2})) << "who has made it";
  EXPECT_FALSE(f.Stage("train").carried->reused);
}

TEST(Matrix, WhatAnotherRunMadeKeepsTheNameThatItsMakerGaveIt) {
  std::vector<StagePlan> plans = Plans(ByMae());
  for (StagePlan& plan : plans) plan.reuse = plan.name == "train@b";
  Fixture f(plans);
  f.End("prep", Success({}, "data"));
  f.Train("a", 5);
  f.Train("c", 6);
  f.Do(OfferResult{"train@b", {{"old/7", "fit@b", 2}, Success({{"mae", 1}}, "model"), true, "", ""}});

  EXPECT_EQ(FindVersion(f.run, "train@b.model")->name, "old/fit@b.model");
  EXPECT_EQ(FindVersion(f.run, "train.model")->name, "old/fit@b.model");
  EXPECT_EQ(FindModel(f.run, "train.model")->name, "old/fit@b.model");
  EXPECT_EQ(FindVersion(f.run, "train@a.model")->name, "p/train@a.model");
}

TEST(Matrix, EveryAttemptOfACellUsedTheCellsParameters) {
  Fixture f(Plans(ByMae()));
  f.End("prep", Success({}, "data"));
  f.Train("a", 1);

  const auto used = [&](const std::string& stage) {
    for (const Event& event : f.events) {
      const auto* versions = std::get_if<VersionsProduced>(&event);
      if (versions == nullptr || versions->stage != stage) continue;
      for (const Version& version : versions->used) {
        if (version.kind == VersionKind::kParams) return version.digest;
      }
    }
    return std::string();
  };
  EXPECT_EQ(used("train@a"), Sha256(R"({"algorithm":"a","seed":1})").hex());
  EXPECT_EQ(ParamsOf(f.run.pins, f.Stage("train@b").plan), *ParseJson(R"({"algorithm": "b", "seed": 1})"));
  EXPECT_EQ(ParamsOf(f.run.pins, f.Stage("prep").plan), f.run.pins.params);
}

TEST(Matrix, TheTotalTimeoutOfACellThatMaxParallelHoldsBackCountsFromItsLease) {
  const auto deadline = [](int max_parallel) {
    MatrixSpec matrix = ByMae();
    matrix.max_parallel = max_parallel;
    std::vector<StagePlan> plans = Plans(matrix);
    for (StagePlan& plan : plans) plan.total_timeout = plan.name == "train@b" ? Duration(60'000) : Duration(0);
    Fixture f(plans);
    f.End("prep", Success({}, "data"));
    const std::optional<UtcTime> waiting = NextDeadline(f.run);
    core::Run later = f.run;
    const UtcTime at = kNow + Duration(60'000);
    for (const Command& command : {Command(Tick{{"train@a", "train@b", "train@c"}}), Command(GrantLease{"train@b", "a"})}) {
      const auto decided = Decide(later, command, at);
      if (!decided.ok()) break;
      for (const Event& event : *decided) Apply(event, at, later);
    }
    Reindex(later);   // As after a restart.
    return std::pair(waiting, NextDeadline(later));
  };

  EXPECT_EQ(deadline(1), std::pair(std::optional<UtcTime>(), std::optional(kNow + Duration(120'000))));
  EXPECT_EQ(deadline(0), std::pair(std::optional(kNow + Duration(60'000)), std::optional<UtcTime>())) << "ended by then";
}

// --- retries ---

Fixture OneFailed(bool goes_on) {
  Fixture f(Plans(ByMae(goes_on)));
  f.End("prep", Success({}, "data"));
  f.Train("b", 4);
  f.Train("c", 3);
  f.End("train@a", Failure());
  if (goes_on) f.End("package", Success({}, "package"));
  return f;
}

std::set<std::string> CarriedBy(const absl::StatusOr<RetrySelection>& selection) {
  std::set<std::string> names;
  EXPECT_TRUE(selection.ok()) << selection.status();
  if (!selection.ok()) return names;
  for (const auto& [name, carried] : selection->carried) names.insert(name);
  return names;
}

TEST(RetryOfAMatrix, DoesTheFailedCellAgainAndChoosesAnew) {
  const Fixture f = OneFailed(false);
  const auto selection = SelectForRetry(f.run, Plans(ByMae()), RetryScope::kFailed, "");
  EXPECT_THAT(CarriedBy(selection), UnorderedElementsAre("prep", "train@b", "train@c"));

  StartRun start;
  start.id = "p/2";
  start.carried = selection->carried;
  Fixture again(Plans(ByMae()), start);
  again.Train("a", 1);

  EXPECT_EQ(again.Stage("train").carried->cell, "train@a");
  EXPECT_EQ(again.State("package"), StageState::kReady);
}

TEST(RetryOfAMatrix, ThatWentOnDoesAgainWhatFollowsFromTheChoice) {
  const Fixture f = OneFailed(true);
  ASSERT_EQ(f.run.state, RunState::kSucceeded);

  EXPECT_THAT(CarriedBy(SelectForRetry(f.run, Plans(ByMae(true)), RetryScope::kFailed, "")),
              UnorderedElementsAre("prep", "train@b", "train@c"));
}

TEST(RetryOfAMatrix, OfTheStageMeansAllOfItsCells) {
  const Fixture f = OneFailed(true);
  const auto plans = Plans(ByMae(true));

  EXPECT_THAT(CarriedBy(SelectForRetry(f.run, plans, RetryScope::kFrom, "train")), UnorderedElementsAre("prep"));
  const auto only = SelectForRetry(f.run, plans, RetryScope::kOnly, "train");
  EXPECT_THAT(CarriedBy(only), UnorderedElementsAre("prep"));
  EXPECT_THAT(only->left_out, UnorderedElementsAre("package"));
}

TEST(RetryOfAMatrix, OfOneCellTakesOverTheOthers) {
  Fixture f(Plans(ByMae()));
  f.End("prep", Success({}, "data"));
  for (const auto& [cell, mae] : {std::pair("a", 5.0), {"b", 2.0}, {"c", 7.0}}) f.Train(cell, mae);
  f.End("package", Success({}, "package"));
  const auto plans = Plans(ByMae());

  EXPECT_THAT(CarriedBy(SelectForRetry(f.run, plans, RetryScope::kFrom, "train@c")),
              UnorderedElementsAre("prep", "train@a", "train@b"));
  const auto only = SelectForRetry(f.run, plans, RetryScope::kOnly, "train@c");
  EXPECT_THAT(CarriedBy(only), UnorderedElementsAre("prep"));
  EXPECT_THAT(only->left_out, UnorderedElementsAre("train@a", "train@b", "train", "package"));
}

TEST(RetryOfAMatrix, OfWhatFollowsKeepsTheChoiceAndLeavesTheLostCellOut) {
  const Fixture f = OneFailed(true);
  const auto selection = SelectForRetry(f.run, Plans(ByMae(true)), RetryScope::kOnly, "package");
  EXPECT_THAT(CarriedBy(selection), UnorderedElementsAre("prep", "train@b", "train@c", "train"));
  EXPECT_THAT(selection->left_out, UnorderedElementsAre("train@a"));

  StartRun start;
  start.id = "p/2";
  start.carried = selection->carried;
  start.left_out = selection->left_out;
  Fixture again(Plans(ByMae(true)), start);

  EXPECT_EQ(FindVersion(again.run, "train.model")->name, "p/train@c.model");
  again.End("package", Success({}, "package"));
  EXPECT_EQ(again.run.state, RunState::kSucceeded);
}

TEST(RetryOfAMatrix, OfARetryThatLeftTheLostCellOutChoosesAnewAsWell) {
  const auto plans = Plans(ByMae(true));
  const Fixture f = OneFailed(true);
  const auto selection = SelectForRetry(f.run, plans, RetryScope::kOnly, "package");
  StartRun start;
  start.id = "p/2";
  start.carried = selection->carried;
  start.left_out = selection->left_out;
  Fixture again(plans, start);
  again.End("package", Success({}, "package"));

  for (const auto& [scope, stage] : {std::pair(RetryScope::kFailed, ""), {RetryScope::kFrom, "package"}}) {
    EXPECT_THAT(CarriedBy(SelectForRetry(again.run, plans, scope, stage)), UnorderedElementsAre("prep", "train@b", "train@c"));
  }
  const auto only = SelectForRetry(again.run, plans, RetryScope::kOnly, "package");
  EXPECT_THAT(CarriedBy(only), UnorderedElementsAre("prep", "train@b", "train@c", "train")) << "that keeps the choice";
}

// prep → train@a, train@b (if …), train@c → train → package, and `first` before the cell with the condition.
std::vector<StagePlan> WithConditionalCell(const std::string& condition) {
  std::vector<StagePlan> plans = Plans(ByMae());
  plans[2].condition = condition;
  plans[2].needs = {"first", "prep"};
  StagePlan first;
  first.name = "first";
  plans.insert(plans.begin(), first);
  return plans;
}

TEST(RetryOfAMatrix, KeepsTheChoiceWhileACellStaysSkippedAndChoosesAnewWhenItMayNot) {
  const auto run = [](const std::vector<StagePlan>& plans, Outcome first) {
    Fixture f(plans);
    f.End("first", std::move(first));
    f.End("prep", Success({}, "data"));
    f.Train("a", 2);
    f.Train("c", 3);
    f.End("package", Failure());
    return f;
  };
  const auto never = WithConditionalCell("params.seed > 1");
  const Fixture skipped = run(never, Success({}, "first"));
  const auto later = WithConditionalCell("passed('first') and always()");
  const Fixture waits = run(later, Failure());
  ASSERT_EQ(skipped.Stage("train@b").reason, Reason::kConditionFalse);
  ASSERT_EQ(waits.Stage("train@b").reason, Reason::kConditionFalse);

  EXPECT_THAT(CarriedBy(SelectForRetry(skipped.run, never, RetryScope::kFailed, "")),
              UnorderedElementsAre("first", "prep", "train@a", "train@c", "train"));
  EXPECT_THAT(CarriedBy(SelectForRetry(skipped.run, never, RetryScope::kFailed, "", {"train@b"})),
              UnorderedElementsAre("first", "prep", "train@a", "train@c")) << "it may have become true";
  EXPECT_THAT(CarriedBy(SelectForRetry(waits.run, later, RetryScope::kFailed, "")),
              UnorderedElementsAre("prep", "train@a", "train@c")) << "what it waits for is done again";
}

TEST(RetryOfAMatrix, WithoutAnyNumberDoesTheCellsAgain) {
  Fixture f(Plans(ByMae(true)));
  f.End("prep", Success({}, "data"));
  for (const char* cell : {"a", "b", "c"}) f.Train(cell, kNan);
  ASSERT_EQ(f.Stage("train").reason, Reason::kMetricsUnreadable);

  EXPECT_THAT(CarriedBy(SelectForRetry(f.run, Plans(ByMae(true)), RetryScope::kFailed, "")), UnorderedElementsAre("prep"));
}

// --- recipes and parameters ---

TEST(RecipeOfACell, CountsItsParametersWhateverTheStageDependsOn) {
  const Value params = *ParseJson(R"({"algorithm": "none", "seed": 1})");
  const auto recipe = [&](const std::string& algorithm, std::vector<std::string> depends_on) {
    StageSpec stage;
    stage.name = "train@" + algorithm;
    stage.cell_of = "train";
    stage.cell_params = {{"algorithm", algorithm}};
    stage.params = std::move(depends_on);
    return BeginRecipe(stage, Value(Value::Map()), "code", params, "host");
  };

  EXPECT_NE(recipe("a", {"seed"}), recipe("b", {"seed"}));
  EXPECT_NE(recipe("a", {"algorithm"}), recipe("b", {"algorithm"}));
  EXPECT_NE(recipe("a", {}), recipe("b", {}));
  EXPECT_EQ(recipe("a", {}), recipe("a", {}));
}

PipelineSpec WithCell(const std::string& param, Value value) {
  PipelineSpec pipeline;
  StageSpec& cell = pipeline.stages.emplace_back();
  cell.name = "train@x";
  cell.cell_of = "train";
  cell.cell_params = {{param, std::move(value)}};
  return pipeline;
}

TEST(CheckCells, RefusesATriggerThatGivesADimension) {
  const Value params = *ParseJson(R"({"train": {"depth": 8, "seed": 1}})");
  const PipelineSpec pipeline = WithCell("train.depth", 8);

  EXPECT_TRUE(CheckCells(pipeline, params, {{"train.seed", Value(2)}}).ok());
  for (const char* given : {"train.depth", "train"}) {
    const absl::Status refused = CheckCells(pipeline, params, {{given, Value(9)}});
    EXPECT_THAT(refused.message(), HasSubstr("is a dimension of the matrix of stage \"train\""));
  }
}

TEST(CheckCells, HoldsValuesToTheTypeInTheFile) {
  const Value params = *ParseJson(R"({"depth": 8, "rate": 0.5, "name": "x", "on": true})");
  const auto check = [&](const std::string& param, Value value) { return CheckCells(WithCell(param, std::move(value)), params, {}); };

  EXPECT_TRUE(check("depth", 9).ok());
  EXPECT_TRUE(check("rate", 1).ok());
  EXPECT_TRUE(check("on", false).ok());
  EXPECT_THAT(check("depth", 0.5).message(), HasSubstr("is of type int in its file"));
  EXPECT_THAT(check("name", 1).message(), HasSubstr("is of type string in its file"));
  EXPECT_THAT(check("deepth", 1).message(), HasSubstr("is in no file of parameters"));
}

TEST(CheckCells, RefusesADimensionWithinASingleValue) {
  PipelineSpec pipeline = WithCell("opt.a.b", 1);
  pipeline.params.schema.push_back({.name = "opt", .type = ParamSchema::Type::kMap});

  EXPECT_TRUE(CheckCells(pipeline, *ParseJson(R"({"opt": {"a": {"c": 2}}})"), {}).ok());
  EXPECT_TRUE(CheckCells(pipeline, *ParseJson(R"({"opt": {}})"), {}).ok());
  EXPECT_EQ(CheckCells(pipeline, *ParseJson(R"({"opt": {"a": 1}})"), {}).message(),
            "parameter \"opt.a.b\" of the matrix of stage \"train\" lies within \"opt.a\", which is 1");
}

TEST(ParamsOfACell, KeepAFractionWhereTheRunHasOne) {
  const Value params = *ParseJson(R"({"train": {"rate": 0.5, "depth": 8}})");
  const std::map<std::string, Value> own = {{"train.depth", 1}, {"train.rate", 1}};
  const std::string expected = R"({"train":{"depth":1,"rate":1.0}})";

  Pins pins;
  pins.params = params;
  StagePlan plan;
  plan.cell_params = own;
  EXPECT_EQ(ToJson(ParamsOf(pins, plan)), expected);
  StageSpec stage;
  stage.cell_params = own;
  EXPECT_EQ(ToJson(ChosenParams(stage, params)), expected);
  const Scope run = {.name = [&](std::string_view name) { return std::optional<Value>(*params.FindPath(name.substr(7))); }};
  EXPECT_EQ(ToJson(*ScopeOfCell(run, own).name("params.train")), R"({"depth":1,"rate":1.0})");
  EXPECT_EQ(ToJson(*ScopeOfCell(run, own).name("params.train.rate")), "1.0");
  EXPECT_EQ(ToJson(*ScopeOfCell(run, own).name("params.train.depth")), "1");
}

// --- any order of events ---

// Cells end, fail, are lost and are retried in any order. In the end the stage is what its cells are.
TEST(Matrix, EveryRandomRunEndsWithTheBestCellOrNone) {
  int won = 0, failed = 0;
  for (unsigned seed = 0; seed < 3'000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](int below) { return static_cast<int>(random() % static_cast<unsigned>(below)); };
    MatrixSpec matrix = ByMae(pick(2) == 0);
    matrix.select_highest = pick(2) == 0;
    std::vector<StagePlan> plans = Plans(matrix);
    for (StagePlan& plan : plans) plan.retry.limit = pick(2);
    Fixture f(std::move(plans));
    for (int step = 0; step < 1'000 && !IsTerminal(f.run.state); ++step) {
      const std::string name = f.run.stages[static_cast<size_t>(pick(static_cast<int>(f.run.stages.size())))].plan.name;
      const StageRun& stage = f.Stage(name);
      if (pick(60) == 0) f.Do(CancelRun{"x", ""});
      if (IsTerminal(f.run.state)) break;
      if (stage.state == StageState::kReady) {
        f.Lease(name);
      } else if (stage.state == StageState::kLeased && stage.stop) {
        Outcome cancelled;
        cancelled.state = AttemptState::kCancelled;
        f.End(name, cancelled);
      } else if (stage.state == StageState::kLeased && pick(5) == 0) {
        f.End(name, Failure());
      } else if (stage.state == StageState::kLeased && pick(8) == 0) {
        f.Do(LoseLease{name, stage.latest()->number, "silent"});
      } else if (stage.state == StageState::kLeased) {
        f.End(name, Success({{"mae", pick(4) == 0 ? kNan : pick(3)}}, name));
      }
      if (testing::Test::HasFatalFailure()) return;
    }
    ASSERT_TRUE(IsTerminal(f.run.state));
    core::Run replayed;
    for (const Event& event : f.events) Apply(event, kNow, replayed);
    const StageRun& train = f.Stage("train");
    EXPECT_EQ(replayed.FindStage("train")->state, train.state);
    if (train.state != StageState::kSucceeded) {
      failed += train.state == StageState::kFailed;
      EXPECT_NE(f.State("package"), StageState::kSucceeded);
      continue;
    }
    ++won;
    const double best = train.result()->metrics.at("mae");
    bool is_before = true;   // Of the winner, in the order of the file.
    for (const char* cell : {"train@a", "train@b", "train@c"}) {
      is_before = is_before && train.carried->cell != cell;
      if (f.State(cell) != StageState::kSucceeded) {
        EXPECT_TRUE(matrix.goes_on);
        continue;
      }
      const double value = f.Stage(cell).result()->metrics.at("mae");
      EXPECT_FALSE(matrix.select_highest ? value > best : value < best);
      EXPECT_FALSE(is_before && value == best);
    }
    EXPECT_EQ(train.result()->outputs, f.Stage(train.carried->cell).result()->outputs);
  }
  EXPECT_GT(won, 500);
  EXPECT_GT(failed, 200);
}

}  // namespace
}  // namespace cd4ml::core
