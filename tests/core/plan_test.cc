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

}  // namespace
}  // namespace cd4ml::core
