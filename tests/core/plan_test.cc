// The order of stages.
#include "cd4ml/core/plan.h"

#include <gtest/gtest.h>

namespace cd4ml::core {
namespace {

StageSpec Stage(std::string name, std::vector<std::string> needs = {}, std::vector<InputSpec> inputs = {}) {
  StageSpec stage;
  stage.name = std::move(name);
  stage.needs = std::move(needs);
  stage.inputs = std::move(inputs);
  return stage;
}

InputSpec Input(std::string from) {
  InputSpec input;
  input.name = "x";
  input.from = std::move(from);
  return input;
}

std::vector<std::string> Names(const std::vector<StagePlan>& plan) {
  std::vector<std::string> names;
  for (const StagePlan& stage : plan) names.push_back(stage.name);
  return names;
}

TEST(MakePlan, PutsNeedsFirstAndKeepsTheFilesOrderOtherwise) {
  PipelineSpec pipeline;
  pipeline.stages = {Stage("last", {"first"}), Stage("other"), Stage("first")};

  EXPECT_EQ(Names(MakePlan(pipeline, {})), (std::vector<std::string>{"other", "first", "last"}));
}

TEST(MakePlan, AnInputIsANeed) {
  PipelineSpec pipeline;
  pipeline.stages = {Stage("use", {}, {Input("make.it")}), Stage("make")};

  const std::vector<StagePlan> plan = MakePlan(pipeline, {});

  EXPECT_EQ(Names(plan), (std::vector<std::string>{"make", "use"}));
  EXPECT_EQ(plan[1].needs, std::vector<std::string>{"make"});
  EXPECT_EQ(plan[1].references, std::vector<std::string>{"make.it"});
}

TEST(MakePlan, FillsInTheDaemonsDefaults) {
  PipelineSpec pipeline;
  pipeline.stages = {Stage("a")};

  const std::vector<StagePlan> plan =
      MakePlan(pipeline, {.timeout = Duration(5), .assign_timeout = Duration(6)});

  EXPECT_EQ(plan[0].timeout, Duration(5));
  EXPECT_EQ(plan[0].assign_timeout, Duration(6));
}

TEST(MakePlan, ListsTheBaselinesThatMustBeLookedUp) {
  const auto rule = [](RuleBody body) { return Rule{.name = "r", .blocks = true, .by = {}, .body = std::move(body), .place = {}}; };
  StageSpec gate = Stage("gate");
  gate.kind = StageKind::kModelGate;
  gate.rules = {rule(MetricRule{.metric = "mae", .versus = "last_passed"}), rule(MetricRule{.metric = "r2", .versus = "run:3"}),
                rule(MetricRule{.metric = "bias", .versus = "champion"}), rule(MetricRule{.metric = "mae"})};
  StageSpec data = Stage("data");
  data.kind = StageKind::kDataGate;
  data.rules = {rule(DriftRule{.of = "clean", .versus = "last_accepted"}), rule(DriftRule{.of = "clean", .versus = "champion.train_data"}),
                rule(StatRule{.of = "clean", .versus = "rest"}), rule(StatRule{.of = "raw", .versus = "run:car/3"}),
                rule(SegmentsRule{.of = "clean", .lost_versus = "last_accepted"})};
  PipelineSpec pipeline;
  pipeline.stages = {gate, data};

  const std::vector<StagePlan> plan = MakePlan(pipeline, {});

  EXPECT_EQ(plan[0].baselines, (std::vector<std::string>{"last_passed", "run:3"}));
  EXPECT_EQ(plan[1].baselines, (std::vector<std::string>{"last_accepted.clean", "run:car/3.raw"}));
}

}  // namespace
}  // namespace cd4ml::core
