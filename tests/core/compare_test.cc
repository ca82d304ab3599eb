// Only what differs is said, with where each value comes from.
#include "cd4ml/core/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace cd4ml::core {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr UtcTime kStart{1'772'452'800'000};

StageRun MakeStage(const std::string& name, std::map<std::string, double> metrics, const std::string& output,
                   Value environment) {
  StageRun stage;
  stage.plan.name = name;
  stage.state = StageState::kSucceeded;
  Attempt attempt{.number = 1, .agent = "a", .state = AttemptState::kSucceeded};
  attempt.granted = attempt.started = kStart;
  attempt.ended = kStart + Duration(4'000);
  attempt.outcome.state = AttemptState::kSucceeded;
  attempt.outcome.metrics = std::move(metrics);
  attempt.outcome.environment = std::move(environment);
  ProducedOutput made;
  made.name = made.path = "out";
  made.artifact.digest = Sha256(output);
  attempt.outcome.outputs.push_back(made);
  stage.attempts.push_back(attempt);
  return stage;
}

Run MakeRun() {
  Run run;
  run.id = "car/1";
  run.lane = "production";
  run.state = RunState::kSucceeded;
  run.created = kStart;
  run.ended = kStart + Duration(9'000);
  run.pins.repo = "/srv/car";
  run.pins.commit = std::string(40, 'a');
  run.pins.commit_subject = "Begin";
  run.pins.materials["listings"] = {VersionKind::kData, "car/listings", std::string(64, '1'), {}, "12 rows"};
  run.pins.params = Value::Map{{"depth", 6}, {"columns", Value::List{"age", "km"}}};
  run.pins.param_sources = {{"depth", "params.yaml"}, {"columns", "default"}};
  const Value host = Value::Map{{"python", "3.11.2"}, {"os", Value::Map{{"name", "linux"}}}};
  run.stages = {MakeStage("train", {{"mae", 1500}, {"r2", 0.8}}, "model", host), MakeStage("gate", {}, "report", host)};
  Reindex(run);
  return run;
}

Outcome& OutcomeOf(Run& run, const std::string& stage) { return run.FindStage(stage)->attempts.back().outcome; }

// "kind name: before (note) -> after (note)"
std::vector<std::string> Told(const Run& before, const Run& after, Compared compared = Compared::kDifferences) {
  const auto text = [](const Side& side) {
    return (side.value.is_null() ? "none" : ToText(side.value)) + (side.note.empty() ? "" : " (" + side.note + ")");
  };
  std::vector<std::string> told;
  for (const Difference& one : CompareRuns(before, after, {}, compared)) {
    told.push_back(std::string(ToText(one.kind)) + " " + one.name + ": " + text(one.before) + " -> " + text(one.after));
  }
  return told;
}

TEST(CompareRuns, SaysNothingOfRunsThatAreAlike) {
  core::Run again = MakeRun();
  again.id = "car/2";
  again.number = 2;

  EXPECT_THAT(Told(MakeRun(), again), IsEmpty());
}

TEST(CompareRuns, SaysEverythingWhenAskedTo) {
  EXPECT_THAT(Told(MakeRun(), MakeRun(), Compared::kEverything), testing::Contains("params depth: 6 (params.yaml) -> 6 (params.yaml)"));
}

TEST(CompareRuns, NamesTheSourceOfEachValue) {
  core::Run now = MakeRun();
  now.pins.commit = std::string(40, 'b');
  now.pins.commit_subject = "Prune";
  now.pins.materials["listings"].digest = std::string(64, '2');
  now.pins.materials["listings"].summary = "13 rows";
  SetPath(now.pins.params, "depth", 8);
  now.pins.param_sources["depth"] = "trigger";
  SetPath(now.pins.params, "columns", Value::List{"age"});

  EXPECT_THAT(Told(MakeRun(), now),
              ElementsAre("code commit: " + std::string(40, 'a') + " (Begin) -> " + std::string(40, 'b') + " (Prune)",
                          "data listings: " + std::string(64, '1') + " (12 rows) -> " + std::string(64, '2') + " (13 rows)",
                          "params columns: [\"age\",\"km\"] (default) -> [\"age\"] (default)",
                          "params depth: 6 (params.yaml) -> 8 (trigger)"));
}

TEST(CompareRuns, TellsWhatOnlyOneOfThemHas) {
  core::Run before = MakeRun(), now = MakeRun();
  before.pins.materials["old"] = before.pins.materials["listings"];
  SetPath(now.pins.params, "rate", 0.5);
  OutcomeOf(now, "train").metrics.erase("r2");

  EXPECT_THAT(Told(before, now), ElementsAre("data old: " + std::string(64, '1') + " (12 rows) -> none",
                                             "params rate: none -> 0.5", "metric train.r2: 0.8 -> none"));
}

TEST(CompareRuns, SaysOnceWhatHoldsForAllStages) {
  core::Run now = MakeRun();
  for (StageRun& stage : now.stages) SetPath(OutcomeOf(now, stage.plan.name).environment, "python", "3.12.1");
  SetPath(OutcomeOf(now, "gate").environment, "os.name", "freebsd");

  EXPECT_THAT(Told(MakeRun(), now), ElementsAre("environment gate os.name: linux -> freebsd",
                                                "environment python: 3.11.2 -> 3.12.1"));
}

TEST(CompareRuns, ComparesResultsAlsoWhereTheyWereTakenOver) {
  core::Run now = MakeRun();
  StageRun& train = *now.FindStage("train");
  train.carried = Carried{{"car/0", "train", 1}, OutcomeOf(now, "train"), true};
  train.carried->outcome.metrics["mae"] = 1400;
  train.carried->outcome.outputs[0].artifact.digest = Sha256("other");
  train.attempts.clear();
  now.FindStage("gate")->state = StageState::kFailed;
  now.FindStage("gate")->message = "mae: 1400";

  EXPECT_THAT(Told(MakeRun(), now),
              ElementsAre("stage gate: succeeded -> failed (mae: 1400)",
                          "output train.out: " + Sha256("model").hex() + " -> " + Sha256("other").hex(),
                          "metric train.mae: 1500.0 -> 1400.0", "time train: 4000 -> none (taken over from car/0)"));
}

TEST(CompareRuns, TakesWhatIsNoNumberForTheSameTwice) {
  core::Run before = MakeRun(), now = MakeRun();
  OutcomeOf(before, "train").metrics["mae"] = std::numeric_limits<double>::quiet_NaN();
  OutcomeOf(now, "train").metrics["mae"] = std::numeric_limits<double>::quiet_NaN();

  EXPECT_THAT(Told(before, now), IsEmpty());
}

TEST(CompareRuns, KnowsWhatIsBetterFromTheGoalsAlone) {
  core::Run now = MakeRun();
  OutcomeOf(now, "train").metrics = {{"mae", 1600}, {"r2", 0.9}};
  const auto trends = [&](const std::map<std::string, bool>& goals) {
    std::vector<Trend> found;
    for (const Difference& one : CompareRuns(MakeRun(), now, goals, Compared::kDifferences)) found.push_back(one.trend);
    return found;
  };

  EXPECT_THAT(trends({{"train.mae", false}, {"train.r2", true}}), ElementsAre(Trend::kWorse, Trend::kBetter));
  EXPECT_THAT(trends({{"gate.mae", false}}), ElementsAre(Trend::kNone, Trend::kNone));
}

TEST(CompareRuns, ComparesRunsThatGoOn) {
  core::Run now = MakeRun();
  now.state = RunState::kRunning;
  now.ended = {};
  now.FindStage("gate")->state = StageState::kRunning;
  now.FindStage("gate")->attempts.back().state = AttemptState::kStarted;
  now.FindStage("gate")->attempts.back().ended = {};

  EXPECT_THAT(Told(MakeRun(), now),
              ElementsAre("run state: passed -> running", "stage gate: succeeded -> running",
                          "output gate.out: " + Sha256("report").hex() + " -> none", "time run: 9000 -> none",
                          "time gate: 4000 -> none"));
}

}  // namespace
}  // namespace cd4ml::core
