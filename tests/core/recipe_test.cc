// When two stages would give the same result, and what is said when they would not.
#include "cd4ml/core/recipe.h"

#include <gtest/gtest.h>

#include "cd4ml/core/decide.h"

namespace cd4ml::core {
namespace {

Value Definition(const std::string& json) { return *ParseJson(json); }

StageSpec Train() {
  StageSpec stage;
  stage.name = "train";
  stage.kind = StageKind::kTrain;
  stage.outputs.push_back({.name = "model", .path = "model.bin"});
  return stage;
}

Recipe Of(const std::string& definition, const std::string& params = R"({"a": 1, "b": {"c": 2}})",
          std::vector<std::string> wanted = {}) {
  StageSpec stage = Train();
  stage.params = std::move(wanted);
  return BeginRecipe(stage, Definition(definition), "tree", Definition(params), "host");
}

TEST(Recipe, IgnoresWhereWhenAndHowOftenAStageRuns) {
  EXPECT_EQ(Of(R"({"run": "x"})"),
            Of(R"({"run": "x", "timeout": "1h", "retry": {"limit": 3}, "agent": {"labels": ["gpu"]}, "needs": ["a"]})"));
}

TEST(Recipe, CountsWhatAStageDoesAndLeavesBehind) {
  const Recipe recipe = Of(R"({"run": "x", "outputs": {"model": "m"}})");
  for (const char* other : {R"({"run": "y", "outputs": {"model": "m"}})", R"({"run": "x", "outputs": {"model": "n"}})",
                            R"({"run": "x", "outputs": {"model": "m"}, "env": {"SEED": "1"}})"}) {
    EXPECT_EQ(ChangedParts(recipe, Of(other)), std::vector<std::string>{"definition"}) << other;
  }
}

TEST(Recipe, CountsWhatAStageRunsInHoweverItIsWritten) {
  const auto of = [](const char* definition, const char* runtime, const char* seed) {
    StageSpec stage = Train();
    stage.env["SEED"] = seed;  // From `defaults`: the stage's own definition does not say it.
    return BeginRecipe(stage, Definition(definition), "tree", Value(), runtime);
  };
  const Recipe recipe = of("{}", "aa", "1");
  EXPECT_EQ(of(R"({"runtime": {"python": "3.11", "requirements": "r"}})", "aa", "1"), recipe);
  EXPECT_EQ(ChangedParts(recipe, of("{}", "bb", "1")), std::vector<std::string>{"runtime"});
  EXPECT_EQ(ChangedParts(recipe, of("{}", "aa", "2")), std::vector<std::string>{"definition"});
}

TEST(Recipe, CountsOnlyTheParametersThatAStageAsksFor) {
  const std::string before = R"({"a": 1, "b": {"c": 2}})", after = R"({"a": 9, "b": {"c": 2}})";
  EXPECT_EQ(ChangedParts(Of("{}", before), Of("{}", after)), std::vector<std::string>{"params"});
  EXPECT_EQ(Of("{}", before, {"b.c"}), Of("{}", after, {"b.c"}));
  EXPECT_NE(Of("{}", before, {"a"}), Of("{}", after, {"a"}));
  EXPECT_NE(Of("{}", R"({"a": null})", {"b"}), Of("{}", R"({"b": 0})", {"b"}));
}

TEST(Recipe, CountsHowAMaterialIsReadAndWhereItLies) {
  StageSpec gate;
  gate.kind = StageKind::kDataGate;
  gate.inputs.push_back({.name = "in", .from = "rows"});
  PipelineSpec pipeline;
  pipeline.materials.push_back({.name = "rows", .location = "rows.csv"});
  pipeline.materials.push_back({.name = "other", .csv = CsvFormat{.delimiter = ";"}, .at = "other.csv"});
  const auto of = [&] { return RecipeOfMaterials(pipeline, gate); };
  EXPECT_EQ(of(), Recipe()) << "nothing is said of it, and the others are not read";

  pipeline.materials[0].csv = CsvFormat();
  const Recipe plain = of();
  EXPECT_EQ(ChangedParts({}, plain), std::vector<std::string>{"csv of rows"});
  for (const CsvFormat& csv : {CsvFormat{.encoding = "latin-1"}, CsvFormat{.delimiter = ";"}, CsvFormat{.header = false},
                               CsvFormat{.columns = {{"price", "text"}}}}) {
    pipeline.materials[0].csv = csv;
    EXPECT_NE(of(), plain);
  }
  gate.kind = StageKind::kTrain;
  EXPECT_EQ(of(), Recipe()) << "its command is told nothing of it";
  pipeline.materials[0].at = "raw.csv";
  EXPECT_EQ(of(), (Recipe{{"place of rows", "raw.csv"}}));
  gate.inputs[0].at = "here.csv";
  EXPECT_EQ(of(), Recipe()) << "the stage's own definition says where";
}

TEST(Recipe, IsNotForWhatActsOnTheWorldOrLeavesNothing) {
  StageSpec stage = Train();
  EXPECT_TRUE(IsReusable(stage));
  stage.cache.never = true;
  EXPECT_FALSE(IsReusable(stage));
  stage = Train();
  stage.outputs.clear();
  EXPECT_FALSE(IsReusable(stage));
  for (const StageKind kind : {StageKind::kDeploy, StageKind::kMonitor}) {
    stage = Train();
    stage.kind = kind;
    EXPECT_FALSE(IsReusable(stage));
  }
}

TEST(Recipe, IsNotForRulesThatFindSomethingElseTomorrow) {
  const auto with = [](RuleBody body) {
    StageSpec stage = Train();
    stage.rules = {{.name = "rule", .body = std::move(body), .place = {}}};
    return IsReusable(stage);
  };
  EXPECT_TRUE(with(RowsRule{}));
  EXPECT_TRUE(with(StatRule{.versus = "last_accepted"}));   // What that is counts as a part of the recipe.
  EXPECT_TRUE(with(DriftRule{.versus = "champion.train_data"}));
  EXPECT_FALSE(with(FreshRule{}));
}

StagePlan PlanOf(const std::string& name, StageKind kind, std::vector<std::string> needs = {}) {
  StagePlan plan;
  plan.name = name;
  plan.kind = kind;
  plan.needs = std::move(needs);
  plan.recipe = {{"definition", "d"}, {"code", "c"}, {"params", "p"}};
  plan.reuse = true;
  return plan;
}

void Do(core::Run& run, const Command& command) {
  const auto events = Decide(run, command, UtcTime{1});
  ASSERT_TRUE(events.ok()) << events.status();
  for (const Event& event : *events) Apply(event, UtcTime{1}, run);
}

// A run of train -> gate whose train is ready.
core::Run Started() {
  StartRun start;
  start.id = "p/2";
  start.pipeline = "p";
  start.number = 2;
  start.pins.materials["data"].artifact.digest = Sha256("rows");
  start.stages = {PlanOf("train", StageKind::kTrain), PlanOf("gate", StageKind::kModelGate, {"train"})};
  start.stages[0].references = {"data"};
  start.stages[1].references = {"train.model"};
  core::Run run;
  Do(run, start);
  return run;
}

Carried Result() {
  Carried carried{{"p/1", "train", 1}, {}, true};
  carried.outcome.state = AttemptState::kSucceeded;
  carried.outcome.outputs.push_back({.name = "model", .path = "m", .artifact = {.digest = Sha256("model")}});
  return carried;
}

TEST(Recipe, NamesInputsByContentAndWhatAGateIsComparedWith) {
  core::Run run = Started();

  EXPECT_EQ(CompleteRecipe(run, *run.FindStage("train"), {}).at("input data"), Sha256("rows").hex());
  EXPECT_FALSE(CompleteRecipe(run, *run.FindStage("train"), {}).contains("champion"));

  run.FindStage("train")->carried = Result();
  const Recipe gate = CompleteRecipe(run, *run.FindStage("gate"), {{"champion", "champ"}, {"baseline last_passed", "a"}});
  EXPECT_EQ(gate.at("input train.model"), Sha256("model").hex());
  EXPECT_EQ(gate.at("place of train.model"), "m");
  EXPECT_EQ(gate.at("champion"), "champ");
  EXPECT_FALSE(gate.contains("profile of train.model"));
  run.FindStage("train")->carried->outcome.outputs[0].profile = ArtifactRef{.digest = Sha256("profile")};
  EXPECT_EQ(CompleteRecipe(run, *run.FindStage("gate"), {{"champion", "champ"}}).at("profile of train.model"), Sha256("profile").hex());
  for (const auto& other : {std::map<std::string, std::string>{{"champion", "other"}, {"baseline last_passed", "a"}},
                            {{"champion", "champ"}, {"baseline last_passed", "b"}},
                            {{"champion", "champ"}}}) {
    EXPECT_NE(KeyOf(gate), KeyOf(CompleteRecipe(run, *run.FindStage("gate"), other)));
  }
}

TEST(Recipe, AnOfferedResultEndsTheStageAndMakesTheNextOneReady) {
  core::Run run = Started();

  Do(run, OfferResult{"train", Result()});

  EXPECT_EQ(run.FindStage("train")->state, StageState::kSucceeded);
  EXPECT_EQ(run.FindStage("gate")->state, StageState::kReady);
  EXPECT_EQ(FindVersion(run, "train.model")->digest, Sha256("model").hex());
  EXPECT_FALSE(Decide(run, OfferResult{"train", Result()}, UtcTime{3}).ok()) << "it has ended";
}

TEST(Recipe, AnOfferedResultMustBeASuccessThatIsWanted) {
  core::Run run = Started();
  Carried failed = Result();
  failed.outcome.state = AttemptState::kFailed;
  EXPECT_TRUE(absl::IsFailedPrecondition(Decide(run, OfferResult{"train", failed}, UtcTime{2}).status()));
  run.FindStage("train")->plan.reuse = false;
  EXPECT_TRUE(absl::IsFailedPrecondition(Decide(run, OfferResult{"train", Result()}, UtcTime{2}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Decide(run, OfferResult{"gate", Result()}, UtcTime{2}).status()));
}

TEST(Recipe, ALastStageThatIsTakenOverEndsTheRun) {
  core::Run run = Started();
  for (const char* stage : {"train", "gate"}) Do(run, OfferResult{stage, Result()});
  EXPECT_EQ(run.state, RunState::kSucceeded);
}

}  // namespace
}  // namespace cd4ml::core
