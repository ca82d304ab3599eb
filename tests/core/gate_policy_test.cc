// Which pipelines a policy holds for, what they lack, and which rules it adds.
#include "cd4ml/core/gate_policy.h"

#include <gtest/gtest.h>

#include "cd4ml/core/override.h"

namespace cd4ml::core {
namespace {

Rule OwnRule(const std::string& name, RuleBody body, bool blocks = true) {
  return {.name = name, .blocks = blocks, .by = {}, .body = std::move(body), .place = {}};
}

StageSpec Stage(const std::string& name, StageKind kind, std::vector<std::string> needs = {},
                std::vector<std::pair<std::string, std::string>> inputs = {}) {
  StageSpec stage;
  stage.name = name;
  stage.kind = kind;
  stage.needs = std::move(needs);
  for (const auto& [input, from] : inputs) stage.inputs.push_back({.name = input, .from = from, .at = "", .place = {}});
  return stage;
}

void Makes(StageSpec& stage, const std::string& output, OutputType type) {
  stage.outputs.push_back({.name = output, .path = output, .type = type, .always = false, .place = {}});
}

// validate -> train -> judge, package -> check -> release; the deploy names its package and needs the two last gates.
PipelineSpec Cars() {
  PipelineSpec cars;
  cars.name = "car-price";
  cars.labels = {"prices", "eu"};
  StageSpec validate = Stage("validate", StageKind::kDataGate, {}, {{"listings", "listings"}});
  Makes(validate, "clean", OutputType::kDataset);
  validate.rules = {OwnRule("rows", RowsRule{.of = "clean", .rows = {5, {}}})};
  StageSpec train = Stage("train", StageKind::kTrain, {}, {{"clean", "validate.clean"}});
  Makes(train, "model", OutputType::kModel);
  StageSpec judge = Stage("judge", StageKind::kModelGate, {}, {{"model", "train.model"}});
  judge.rules = {OwnRule("mae", MetricRule{.metric = "mae", .value = {{}, 1200}})};
  StageSpec package = Stage("package", StageKind::kPackage, {}, {{"model", "train.model"}});
  Makes(package, "service", OutputType::kDeployable);
  StageSpec check = Stage("check", StageKind::kContractGate, {"judge"});
  check.package = "package.service";
  check.rules = {OwnRule("web", ContractRule{.file = "web.yaml"})};
  StageSpec release = Stage("release", StageKind::kDeploy, {"check"});
  release.package = "package.service";
  release.environment = "production";
  cars.stages = {validate, train, judge, package, check, release};
  return cars;
}

StageSpec& Find(PipelineSpec& pipeline, const std::string& name) {
  for (StageSpec& stage : pipeline.stages) {
    if (stage.name == name) return stage;
  }
  ADD_FAILURE() << name;
  return pipeline.stages.front();
}

RequiredRule Required(const std::string& name, Value::Map body, bool blocks = true) {
  return {.name = name, .body = Value(std::move(body)), .blocks = blocks};
}

GatePolicy Wants(StageKind kind, std::vector<RequiredRule> rules = {}) {
  return {.name = "safe", .labels = {}, .pipelines = {}, .gates = {{kind, std::move(rules)}}};
}

size_t Lacking(const PipelineSpec& pipeline, StageKind kind, std::vector<RequiredRule> rules = {}) {
  return CheckPolicies({Wants(kind, std::move(rules))}, pipeline).size();
}

TEST(GatePolicy, HoldsForAllOfItsLabelsAndAnyOfItsNames) {
  const PipelineSpec cars = Cars();
  const auto applies = [&](std::vector<std::string> labels, std::vector<std::string> pipelines) {
    return AppliesTo({.name = "p", .labels = std::move(labels), .pipelines = std::move(pipelines), .gates = {}}, cars);
  };

  EXPECT_TRUE(applies({}, {}));
  EXPECT_TRUE(applies({"eu"}, {}));
  EXPECT_TRUE(applies({"eu", "prices"}, {}));
  EXPECT_FALSE(applies({"eu", "credit"}, {}));
  EXPECT_TRUE(applies({}, {"truck-*", "car-*"}));
  EXPECT_FALSE(applies({}, {"truck-*"}));
  EXPECT_FALSE(applies({"credit"}, {"car-*"}));
}

TEST(GatePolicy, IsMetByGatesThatTheDeployWaitsFor) {
  const PipelineSpec cars = Cars();

  EXPECT_EQ(Lacking(cars, StageKind::kDataGate), 0U);
  EXPECT_EQ(Lacking(cars, StageKind::kModelGate), 0U);
  EXPECT_EQ(Lacking(cars, StageKind::kContractGate), 0U);
}

TEST(GatePolicy, IsNotMetByAGateThatTheDeployDoesNotWaitFor) {
  PipelineSpec cars = Cars();
  Find(cars, "check").needs.clear();

  const Diagnostics lacking = CheckPolicies({Wants(StageKind::kModelGate)}, cars);

  ASSERT_EQ(lacking.size(), 1U);
  EXPECT_EQ(lacking[0].message, "the server's gate policy \"safe\" wants a model_gate before deploy \"release\" of pipeline "
                                "\"car-price\", and it waits for none");
  EXPECT_EQ(Lacking(cars, StageKind::kContractGate), 0U);
}

TEST(GatePolicy, EveryDeployMustWait) {
  PipelineSpec cars = Cars();
  StageSpec second = Stage("staging", StageKind::kDeploy);
  second.package = "package.service";
  cars.stages.push_back(second);

  EXPECT_EQ(Lacking(cars, StageKind::kModelGate), 1U);
  EXPECT_EQ(Lacking(cars, StageKind::kDataGate), 0U) << "the package is made of what it lets through";
}

TEST(GatePolicy, AStageThatRunsAfterFailuresWaitsForNothing) {
  PipelineSpec cars = Cars();
  Find(cars, "release").condition = "always()";
  EXPECT_EQ(Lacking(cars, StageKind::kModelGate), 1U);

  cars = Cars();
  Find(cars, "check").condition = "failed('judge')";
  EXPECT_EQ(Lacking(cars, StageKind::kModelGate), 1U);
  EXPECT_EQ(Lacking(cars, StageKind::kContractGate), 0U);

  cars = Cars();
  Find(cars, "release").condition = "run.lane == 'production'";
  EXPECT_EQ(Lacking(cars, StageKind::kModelGate), 0U);
}

TEST(GatePolicy, IsNotMetByAGateThatThePackageOnlyWaitsFor) {
  PipelineSpec cars = Cars();
  Find(cars, "judge").inputs = {{.name = "other", .from = "other-data", .at = "", .place = {}}};
  Find(cars, "package").needs = {"judge"};
  EXPECT_EQ(Lacking(cars, StageKind::kModelGate), 1U);
  EXPECT_EQ(Lacking(cars, StageKind::kDataGate), 0U);
  Makes(Find(cars, "judge"), "limits", OutputType::kFile);
  Find(cars, "package").inputs.push_back({.name = "limits", .from = "judge.limits", .at = "", .place = {}});
  EXPECT_EQ(Lacking(cars, StageKind::kModelGate), 0U) << "the package is made of what the gate has made";
}

TEST(GatePolicy, IsNotMetByAGateThatLooksAtSomethingElse) {
  PipelineSpec cars = Cars();
  Find(cars, "judge").inputs = {{.name = "other", .from = "other-data", .at = "", .place = {}}};
  EXPECT_EQ(Lacking(cars, StageKind::kModelGate), 1U);

  cars = Cars();
  Find(cars, "check").package = "other.service";
  StageSpec other = Stage("other", StageKind::kPackage);
  Makes(other, "service", OutputType::kDeployable);
  cars.stages.push_back(other);
  EXPECT_EQ(Lacking(cars, StageKind::kContractGate), 1U);
}

TEST(GatePolicy, IsNotMetByAGateThatCannotBlock) {
  PipelineSpec cars = Cars();
  Find(cars, "judge").rules[0].blocks = false;

  EXPECT_EQ(Lacking(cars, StageKind::kModelGate), 1U);
  EXPECT_EQ(Lacking(cars, StageKind::kModelGate, {Required("mae", {{"metric", "mae"}, {"max", 900}})}), 0U);
  EXPECT_EQ(Lacking(cars, StageKind::kModelGate, {Required("mae", {{"metric", "mae"}, {"max", 900}}, false)}), 1U);
}

TEST(GatePolicy, APipelineThatDeploysNothingNeedsNoGate) {
  PipelineSpec cars = Cars();
  cars.stages.pop_back();
  Find(cars, "check").needs.clear();

  EXPECT_EQ(Lacking(cars, StageKind::kModelGate), 0U);
}

TEST(RequiredRules, AreAddedToEveryGateOfTheKindUnderThePolicysName) {
  const PipelineSpec cars = Cars();

  const Value rules = RequiredRules({Wants(StageKind::kModelGate, {Required("mae", {{"metric", "mae"}, {"max", 900}})})}, cars);

  EXPECT_EQ(ToJson(rules), R"({"judge":{"safe.mae":{"max":900,"metric":"mae"}}})");
}

TEST(RequiredRules, ForEveryTableAreOnesForEachThatTheGateLetsThrough) {
  PipelineSpec cars = Cars();
  const GatePolicies policies = {
      Wants(StageKind::kDataGate, {Required("many", {{"of", "*"}, {"rows", Value::Map{{"min", 9}}}})})};

  EXPECT_EQ(ToJson(RequiredRules(policies, cars)), R"({"validate":{"safe.many":{"of":"clean","rows":{"min":9}}}})");

  Makes(Find(cars, "validate"), "rejected", OutputType::kDataset);
  EXPECT_EQ(ToJson(RequiredRules(policies, cars)),
            R"({"validate":{"safe.many.clean":{"of":"clean","rows":{"min":9}},)"
            R"("safe.many.rejected":{"of":"rejected","rows":{"min":9}}}})");

  Find(cars, "validate").outputs.clear();
  Find(cars, "validate").rules.clear();
  EXPECT_TRUE(RequiredRules(policies, cars).is_null());
  const Diagnostics lacking = CheckPolicies(policies, cars);
  ASSERT_EQ(lacking.size(), 1U);
  EXPECT_EQ(lacking[0].message, "the server's gate policy \"safe\" wants rules on every table of gate \"validate\" of "
                                "pipeline \"car-price\", and it has none");
}

TEST(RequiredRules, ForEveryTableAreAboutInputsToo) {
  PipelineSpec cars = Cars();
  cars.materials.push_back({.name = "listings"});
  cars.materials.push_back({.name = "code", .kind = MaterialSpec::Kind::kGit});
  StageSpec& validate = Find(cars, "validate");
  validate.inputs.push_back({.name = "code", .from = "code", .at = "", .place = {}});
  validate.inputs.push_back({.name = "old", .from = "train.model", .at = "", .place = {}});
  validate.rules.push_back(OwnRule("raw", RowsRule{.of = "listings", .rows = {5, {}}}));
  Makes(validate, "bad", OutputType::kDataset);
  validate.outputs.back().quarantine = "clean";
  const GatePolicies policies = {
      Wants(StageKind::kDataGate, {Required("many", {{"of", "*"}, {"rows", Value::Map{{"min", 9}}}})})};

  EXPECT_EQ(ToJson(RequiredRules(policies, cars)),
            R"({"validate":{"safe.many.clean":{"of":"clean","rows":{"min":9}},)"
            R"("safe.many.listings":{"of":"listings","rows":{"min":9}}}})");

  validate.inputs = {{.name = "sold", .from = "validate.clean", .at = "", .place = {}}};
  EXPECT_EQ(RequiredRules(policies, cars).Find("validate")->map().size(), 3U) << "clean, listings and sold";
}

TEST(RequiredRules, AreNotForPipelinesThatThePolicyIsNotFor) {
  GatePolicy policy = Wants(StageKind::kModelGate, {Required("mae", {{"metric", "mae"}, {"max", 900}})});
  policy.labels = {"credit"};

  EXPECT_TRUE(RequiredRules({policy}, Cars()).is_null());
  EXPECT_TRUE(CheckPolicies({policy}, PipelineSpec()).empty());
}

TEST(OverridePeople, AreWhatTheStrictestPolicySays) {
  const PipelineSpec cars = Cars();
  const auto policy = [](int people, std::vector<std::string> labels = {}) {
    return GatePolicy{.name = "p", .labels = std::move(labels), .pipelines = {}, .gates = {}, .override_people = people};
  };

  EXPECT_EQ(OverridePeople({}, cars), 1);
  EXPECT_EQ(OverridePeople({policy(2), policy(3), policy(1)}, cars), 3);
  EXPECT_EQ(OverridePeople({policy(2), policy(kNobodyOverrides), policy(3)}, cars), kNobodyOverrides);
  EXPECT_EQ(OverridePeople({policy(kNobodyOverrides, {"credit"}), policy(2, {"eu"})}, cars), 2);
}

TEST(HasRequiredRules, TellsThemByTheDotInTheirName) {
  PipelineSpec cars = Cars();
  EXPECT_FALSE(HasRequiredRules(cars));

  Find(cars, "judge").rules.push_back(OwnRule("safe.mae", MetricRule{.metric = "mae"}));
  EXPECT_TRUE(HasRequiredRules(cars));
}

}  // namespace
}  // namespace cd4ml::core
