// The file of gate policies, labels, and the rules that a run's definition holds because of them.
#include <gtest/gtest.h>

#include "cd4ml/core/gate_policy.h"
#include "cd4ml/core/override.h"
#include "cd4ml/yaml/yaml.h"

namespace cd4ml::yaml {
namespace {

constexpr char kPolicies[] = R"(format: 1
policies:
  personal:
    labels: [eu, personal]
    pipelines: ["credit-*"]
    gates:
      data_gate:
        rules:
          many: {of: "*", rows: {min: 1000}}
          age:  {of: clean, column: age, min: 18, severity: warn}
      model_gate: {}
    overrides: {approvals: 2}
  frozen:
    overrides: forbidden
)";

absl::StatusOr<core::GatePolicies> Read(const std::string& text) {
  return MakePipelineParser()->ParseGatePolicies(text, "gates.yaml");
}

std::string Problem(const std::string& body) {
  const auto read = Read("format: 1\npolicies:\n  p:\n" + body);
  return read.ok() ? "" : std::string(read.status().message());
}

TEST(Policies, AreReadAsTheyAreWritten) {
  const auto policies = Read(kPolicies);

  ASSERT_TRUE(policies.ok()) << policies.status();
  ASSERT_EQ(policies->size(), 2u);
  const core::GatePolicy& personal = policies->at(0);
  EXPECT_EQ(personal.name, "personal");
  EXPECT_EQ(personal.labels, (std::vector<std::string>{"eu", "personal"}));
  EXPECT_EQ(personal.pipelines, std::vector<std::string>{"credit-*"});
  EXPECT_EQ(personal.override_people, 2);
  ASSERT_EQ(personal.gates.size(), 2u);
  EXPECT_EQ(personal.gates[0].kind, core::StageKind::kDataGate);
  ASSERT_EQ(personal.gates[0].rules.size(), 2u);
  EXPECT_EQ(personal.gates[0].rules[0].name, "many");
  EXPECT_TRUE(personal.gates[0].rules[0].blocks);
  EXPECT_EQ(ToJson(personal.gates[0].rules[0].body), R"({"of":"*","rows":{"min":1000}})");
  EXPECT_FALSE(personal.gates[0].rules[1].blocks);
  EXPECT_EQ(personal.gates[1].kind, core::StageKind::kModelGate);
  EXPECT_TRUE(personal.gates[1].rules.empty());
  EXPECT_EQ(policies->at(1).override_people, core::kNobodyOverrides);
}

TEST(Policies, ThatMakeNoSenseAreRefusedWithTheirPlace) {
  EXPECT_EQ(Problem("    gates: {train: {}}\n"), "gates.yaml:4:13: \"train\" is no kind of gate");
  EXPECT_EQ(Problem("    labels: [eu]\n"), "gates.yaml:4:5: policy \"p\" needs `gates` or `overrides`");
  EXPECT_NE(Problem("    overrides: maybe\n"), "");
  EXPECT_NE(Problem("    overrides: {approvals: 0}\n"), "");
  EXPECT_NE(Problem("    gates: {data_gate: {rules: {r: {of: a, rows: {}}}}}\n"), "") << "bounds nothing";
  EXPECT_NE(Problem("    gates: {data_gate: {rules: {r: {metric: mae, max: 1}}}}\n"), "") << "of another gate";
  EXPECT_NE(Problem("    gates: {data_gate: {rules: {a.b: {of: a, rows: {min: 1}}}}}\n"), "") << "no name";
  EXPECT_NE(Problem("    gates: {data_gate: {rule: {}}}\n"), "");
  EXPECT_EQ(Problem("    gates: {model_gate: {rules: {r: {metric: mae, max: \"${{ params.x }}\"}}}}\n"),
            "gates.yaml:4:33: a policy must not contain ${{ }}");
  EXPECT_FALSE(Read("policies: {}").ok());
  EXPECT_FALSE(Read("format: 1").ok());
  EXPECT_TRUE(Read("format: 1\npolicies: {}").ok()) << "nothing is required";
  EXPECT_NE(Problem("    pipelines: [\"car-[ab\"]\n    overrides: forbidden\n"), "");
  EXPECT_EQ(Problem("    pipelines: [\"car-[ab]*\"]\n    overrides: forbidden\n"), "");
  EXPECT_FALSE(Read("").ok());
  EXPECT_FALSE(Read("format: 1\npolicies: {p: {overrides: forbidden, gate: {}}}").ok());
}

constexpr char kPipeline[] = R"(format: 1
pipeline: cars
labels: [eu, prices]
materials: {listings: {data: listings.csv}}
stages:
  check:
    kind: data_gate
    rules: {few: {of: listings, rows: {min: 5}}}
)";

TEST(Labels, BelongToAPipeline) {
  const ParsedPipeline parsed = MakePipelineParser()->Parse(kPipeline, "cars.cd4ml.yaml", nullptr);

  ASSERT_FALSE(core::HasErrors(parsed.diagnostics)) << core::Brief(parsed.diagnostics.front());
  EXPECT_EQ(parsed.spec.labels, (std::vector<std::string>{"eu", "prices"}));
  EXPECT_FALSE(core::HasRequiredRules(parsed.spec));
}

TEST(RequiredRules, AreReadBackFromTheExpandedDefinitionAsRulesOfTheGate) {
  const auto parser = MakePipelineParser();
  std::string expanded = parser->Parse(kPipeline, "cars.cd4ml.yaml", nullptr).expanded;
  const std::string rules = R"(, "required": {"check": {"safe.many": {"of": "listings", "rows": {"min": 1000}}}}})";

  const ParsedPipeline parsed = parser->Parse(expanded.substr(0, expanded.size() - 1) + rules, "x", nullptr);

  ASSERT_FALSE(core::HasErrors(parsed.diagnostics)) << core::Brief(parsed.diagnostics.front());
  ASSERT_EQ(parsed.spec.stages[0].rules.size(), 2u);
  EXPECT_EQ(parsed.spec.stages[0].rules[1].name, "safe.many");
  EXPECT_EQ(std::get<core::RowsRule>(parsed.spec.stages[0].rules[1].body).rows.min, 1000);
  EXPECT_TRUE(parsed.spec.stages[0].rules[1].blocks);
  EXPECT_TRUE(core::HasRequiredRules(parsed.spec));
}

TEST(RequiredRules, OfNoGateAreAnError) {
  const std::string text = std::string(kPipeline) + "required: {other: {}}\n";

  EXPECT_TRUE(core::HasErrors(MakePipelineParser()->Parse(text, "x", nullptr).diagnostics));
}

TEST(RequiredRules, ARuleOfAFileHasNoDotInItsName) {
  const std::string text = std::string(kPipeline) + "  two:\n    kind: data_gate\n    rules: {safe.many: {of: listings, rows: {min: 1}}}\n";

  EXPECT_TRUE(core::HasErrors(MakePipelineParser()->Parse(text, "x", nullptr).diagnostics));
}

}  // namespace
}  // namespace cd4ml::yaml
